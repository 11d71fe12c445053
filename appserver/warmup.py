"""One request before all others: it shows that the application answers, and fills its caches."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

from appserver.exchange import Exchange
from appserver.gateway import Gateway
from appserver.protocols.codec import ProtocolError
from appserver.protocols.http import HttpCodec
from appserver.protocols.readers import h11_fields

if TYPE_CHECKING:
    from appserver.log.access import Access
    from appserver.protocols.codec import Piece
    from appserver.wsgi import Application


class _Nobody:
    """The channel of an answer that nobody reads."""

    gone = False

    def send(self, pieces: list[Piece], more: bool) -> None:
        pass

    def send_file(self, fd: int, offset: int, count: int) -> bool:
        return False

    def abort(self) -> None:
        pass

    def refused(self, what: str) -> None:
        pass

    def give_up(self, direct: bool = False) -> None:
        pass


def warm_up(app: Application, target: str, environ: dict[str, Any], access: Access | None) -> str:
    """Request *target* of the application and return the answer's status; nothing escapes.

    *environ* is what every environ of this server starts from.
    """
    base = environ | {
        "appserver.listener": "warm-up",
        "REMOTE_ADDR": "127.0.0.1",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SCRIPT_NAME": "",
        "wsgi.url_scheme": "http",
    }
    head = f"GET {target} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: appserver (warm-up)\r\n\r\n"
    try:
        x = HttpCodec(base, h11_fields).receive(head.encode())
    except (ProtocolError, UnicodeError) as error:
        return f"400 {error}"
    assert isinstance(x, Exchange)
    x.environ["wsgi.input"] = BytesIO()
    Gateway(app, access).respond(x, _Nobody(), app)  # in its own place: no hook is told of it
    return x.status
