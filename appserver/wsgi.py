"""Call the application for one request and send its answer: the gateway of PEP 3333."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from os import fstat, pread
from stat import S_ISREG
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from greenlet import getcurrent

from appserver.errors import ApplicationError, BodyError, ClientGone
from appserver.exchange import FAILED, Channel, Exchange

if TYPE_CHECKING:
    from appserver.access import Access

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

log = logging.getLogger("appserver.wsgi")

_BLOCK = 65536
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


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class FileWrapper:
    """Iterate over a file in blocks (``wsgi.file_wrapper``); the transport may send it whole.

    ``close`` closes the file.
    """

    def __init__(self, file: _Readable, block_size: int = _BLOCK) -> None:
        self.file = file
        self.block_size = block_size
        if hasattr(file, "close"):
            self.close = file.close

    def __iter__(self) -> Iterator[bytes]:
        while data := self.file.read(self.block_size):
            yield data


def respond(app: Application, x: Exchange, channel: Channel, access: Access | None) -> None:
    """Call *app* for *x* and send all of its answer to *channel*; nothing escapes.

    An answer that cannot be finished is aborted, never ended. The iterable's ``close`` is called
    once on every path. *access* gets one line.
    """
    started = monotonic() if access is not None else 0.0
    x.channel = channel
    x.core = getcurrent()
    try:
        _answer(app, x, channel)
        x.core = None
    except BaseException as error:  # noqa: BLE001  (sys.exit() of an application is no reason to stop)
        x.core = None
        if x.switched:
            _fail_switched(x, channel, error)
        elif not channel.gone:
            _fail(x, channel, error)
    x.channel = None  # they know each other; and an application that keeps ``write`` is done with it
    if x.excess:
        _log_error(x, f"the body is {x.excess} bytes longer than its Content-Length and was cut")
    if access is not None and not x.logged:
        access.line(x, "499" if channel.gone and not x.switched else x.status[:3], monotonic() - started)


def _answer(app: Application, x: Exchange, channel: Channel) -> None:
    result: Any = app(x.environ, x.start_response)
    kind = type(result)
    if kind is list or kind is tuple:  # which have no close
        body = b"".join(result)
        x.send(body, False, None if x.begun else len(body))
        return
    try:
        if kind is FileWrapper:
            _send_file(x, result, channel)
        elif kind is bytes:  # iterating it would yield numbers
            x.send(result, False, None if x.begun else len(result))
        elif result is not None or not x.switched:  # a call that has had a WebSocket need not return anything
            _stream(x, result)
    finally:
        close = getattr(result, "close", None)
        if close is not None:
            _close(x, close)


def _close(x: Exchange, close: Callable[[], object]) -> None:
    """Call the iterable's ``close``; its failure does not spoil an answer that is sent."""
    x.closing = True
    try:
        close()
    except BaseException as error:  # noqa: BLE001  (as in respond)
        _log_error(x, f"close() of the application's iterable raised {type(error).__name__}", error)


def _stream(x: Exchange, result: Iterable[object]) -> None:
    """Send each piece when the application yields it."""
    for data in result:
        if data:
            x.write(data)
            if x.bodiless:
                break
    x.send(b"", False, 0)


def _send_file(x: Exchange, wrapper: FileWrapper, channel: Channel) -> None:
    """Let the kernel send the rest of a real file where the transport can; else read it."""
    try:
        fd: int = wrapper.file.fileno()  # type: ignore[attr-defined]
        status = fstat(fd)
        offset: int = wrapper.file.tell()  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):  # no file of the system
        _stream(x, wrapper)
        return
    count = status.st_size - offset
    if not S_ISREG(status.st_mode) or x.begun or count <= 0:
        _stream(x, wrapper)
        return
    if count <= _BLOCK:  # one send costs less than the kernel's help
        x.send(pread(fd, count, offset), False, count)
        return
    if not x.codec.verbatim:
        x.send(wrapper.file.read(_BLOCK), True, count)
        _stream(x, wrapper)
        return
    head = x.begin(count)
    if x.bodiless or x.length is None:
        channel.send([head], True)
        _stream(x, wrapper)
        return
    channel.send([head], True)
    wanted = min(count, x.length)
    if not channel.send_file(fd, offset, wanted):
        _stream(x, wrapper)
        return
    x.sent += wanted
    x.excess += count - wanted
    x.send(b"", False)


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
        _log_error(x, str(error))
    elif isinstance(error, ApplicationError):
        _log_error(x, str(error), error.__cause__)
    else:
        _log_error(x, f"the application raised {type(error).__name__}", error)
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
    """Log what went wrong in a call that has a WebSocket, unless it is only that this has ended."""
    if not isinstance(error, (ClientGone, Interrupted)):
        _log_error(x, f"the application raised {type(error).__name__}", error)
    if not isinstance(error, (ClientGone, Cancelled, Ended)):
        channel.abort()


def _log_error(x: Exchange, what: str, error: BaseException | None = None) -> None:
    environ = x.environ
    request = ascii(f"{x.method} {x.uri}")[1:-1]  # a front end may pass on what moves a terminal's cursor
    log.error("%s: %s: %s", environ.get("appserver.listener", "-"), request, what, exc_info=error)
