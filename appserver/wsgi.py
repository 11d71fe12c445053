"""Call the application for one request; answer in its place if it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from appserver.answer import answer, log_error, request_of
from appserver.errors import ApplicationError, BodyError, ClientGone, ConnectionClosed
from appserver.exchange import FAILED

if TYPE_CHECKING:
    from appserver.exchange import Channel, Exchange

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

# Ends a process that the application has forked, and which shall not serve; None in all others.
end: Callable[[BaseException | None], object] | None = None
# Called in the core after each request; None where the application wants nothing then.
after: Callable[[], object] | None = None

_ERROR = b"Internal Server Error\n"
_TOO_LONG = b"Gateway Timeout\n"
_ERROR_HEADERS = [("Content-Type", "text/plain; charset=utf-8")]


class Interrupted(BaseException):
    """End a call of the application from outside; raised where it is."""


class Harakiri(Interrupted):
    """End a call of the application that takes too long."""


class Ended(Interrupted):
    """End an answer without a known end, as its worker stops."""


class Cancelled(Interrupted):
    """End a call of the application whose client has gone."""


def call(
    app: Application,
    environ: dict[str, Any],
    start_response: Callable[..., Any],
    x: Exchange,
    channel: Channel,
) -> None:
    """Call *app* for *x* and send what it returns; nothing escapes.

    `stacks` finds a running call by this frame, and in it *x* and *channel*. That is why it is not compiled,
    and given what is known in a place that is.
    """
    try:
        answer(app(environ, start_response), x, channel)
    except BaseException as error:  # noqa: BLE001  (sys.exit() of an application is no reason to stop)
        x.core = None
        if end is not None:
            end(error)
        if x.switched:
            _fail_switched(x, channel, error)
        elif not channel.gone:
            _fail(x, channel, error)
    if end is not None:
        end(None)


def _fail(x: Exchange, channel: Channel, error: BaseException) -> None:
    """Log what went wrong and answer 500, or give up an answer that has begun."""
    x.environ[FAILED] = type(error)
    status, text = "500 Internal Server Error", _ERROR
    if isinstance(error, Harakiri):  # whoever raised it has told why
        status, text = "504 Gateway Timeout", _TOO_LONG
    elif isinstance(error, Ended):
        pass
    elif isinstance(error, BodyError):
        status, text = error.status, f"{error}\n".encode("latin-1", "replace")
        channel.refused(f"{request_of(x)}: {error}")
    elif isinstance(error, ApplicationError):
        log_error(x, str(error), error.__cause__)
    else:
        log_error(x, f"the application raised {type(error).__name__}", error)
    if x.ended:  # nothing of the answer is missing
        return
    if x.begun:
        channel.abort()
        return
    x.reset()
    x.start_response(status, list(_ERROR_HEADERS))
    with suppress(ClientGone):
        x.send(text, False, len(text))


def _fail_switched(x: Exchange, channel: Channel, error: BaseException) -> None:
    """Log what went wrong in a call that has a WebSocket, unless it is only that this has ended.

    A bare ConnectionError tells of no failed connection, as each kind of those has a class of its own. By it
    libraries end a call without an answer where they are served by Werkzeug, whose socket they have found.
    """
    if type(error) is ConnectionError and not error.args:
        return
    gone = isinstance(error, ClientGone)
    if isinstance(error, ConnectionClosed) and error.x is not x:  # another call's, which was sent something
        gone = False
    if not gone and not isinstance(error, Interrupted):
        log_error(x, f"the application raised {type(error).__name__}", error)
    if not gone and not isinstance(error, (Cancelled, Ended)):
        channel.abort()
