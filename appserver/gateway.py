"""The gateway of PEP 3333: from a request to the end of its answer."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from greenlet import getcurrent
from mypy_extensions import mypyc_attr

from appserver import wsgi
from appserver.answer import log_error
from appserver.wsgi import Application, call

if TYPE_CHECKING:
    from collections.abc import Callable

    from appserver.exchange import Channel, Exchange
    from appserver.protocols.codec import ProtocolError


class AccessLog(Protocol):
    """Who is told of each request that has ended."""

    def line(self, x: Exchange, status: str, seconds: float) -> None:
        """Note that *x* ended with *status* after *seconds* in the application."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Gateway:
    """An application, and the access log of its requests."""

    def __init__(self, app: Application, access: AccessLog | None) -> None:
        self.app = app
        self.access = access

    def respond(self, x: Exchange, channel: Channel, app: Application | None = None) -> None:
        """Call the application for *x* and send all of its answer to *channel*; nothing escapes.

        An answer that cannot be finished is aborted, never ended. The iterable's ``close`` is called
        once on every path. The access log gets one line. To be called in a core; *app* is called in the
        place of the application, and the application's hook is not told of it.
        """
        access = self.access
        started = monotonic() if access is not None else 0.0
        x.channel = channel
        x.core = getcurrent()
        call(self.app if app is None else app, x.environ, x.start_response, x, channel)
        x.core = None
        if x.over is not None:
            x.over()
        x.channel = None  # they know each other; and an application that keeps ``write`` is done with it
        if x.excess:
            log_error(x, f"the body is at least {x.excess} bytes longer than its Content-Length and was cut")
        if access is not None and not x.logged:
            access.line(x, "499" if channel.gone and not x.switched else x.status[:3], monotonic() - started)
        if app is None and wsgi.after is not None:
            wsgi.after()

    def refuse(self, x: Exchange, channel: Channel, error: ProtocolError) -> None:
        """Answer *x* with *error* in the place of the application, and otherwise as `respond` does."""
        Gateway.respond(self, x, channel, _refusal(error))


def _refusal(error: ProtocolError) -> Application:
    """Return an application that answers with *error*."""
    headers = [("Content-Type", "text/plain; charset=utf-8"), *error.fields]
    if error.retry_after:
        headers.append(("Retry-After", str(error.retry_after)))

    def app(_: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response(error.status, headers)
        return [f"{error.reason}\n".encode()]

    return app
