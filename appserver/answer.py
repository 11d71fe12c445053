"""What the application returns, sent as its kind allows: at once, in pieces or by the kernel."""

from __future__ import annotations

import logging
from io import FileIO, IOBase
from os import fstat, pread
from stat import S_ISREG
from typing import TYPE_CHECKING, Any

from appserver.errors import ApplicationError
from appserver.file_wrapper import BLOCK, FileWrapper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from appserver.exchange import Channel, Exchange

log = logging.getLogger("appserver.wsgi")

# Where a file is that another only wraps: of Django, around one of tempfile; a text; a buffer.
_LAYERS = ("file", "file", "buffer", "raw")


def answer(result: Any, x: Exchange, channel: Channel) -> None:
    """Send all that the application has returned for *x*.

    Its ``close`` is called once on every path; what it raises otherwise escapes.
    """
    kind = type(result)
    if kind is list or kind is tuple:  # which have no close
        try:
            body = b"".join(result)
        except TypeError:
            raise _no_bytes(result) from None
        x.send(body, False, None if x.begun else len(body))
        return
    try:
        if kind is FileWrapper:
            _send_file(x, result, channel)
        elif kind is bytes:  # iterating it would yield numbers
            x.send(result, False, None if x.begun else len(result))
        elif result is not None or not (x.switched or x.refused):  # who has had a WebSocket may return None
            _stream(x, result)
    finally:
        close = getattr(result, "close", None)
        if close is not None:
            _close(x, close)


def _close(x: Exchange, close: Callable[[], object]) -> None:
    """Call the iterable's ``close``; its failure does not spoil an answer that is sent."""
    x.spared = True
    try:
        close()
    except BaseException as error:  # noqa: BLE001  (as in respond)
        log_error(x, f"close() of the application's iterable raised {type(error).__name__}", error)


def _stream(x: Exchange, result: Iterable[object]) -> None:
    """Send each piece when the application yields it, until it is one too many (PEP 3333).

    What stands behind the piece that completes the Content-Length is still run.
    """
    try:
        for data in result:
            if data:
                x.write(data)
                if x.bodiless or x.excess:
                    break
    except TypeError:
        kind = type(result)
        if hasattr(kind, "__iter__") or hasattr(kind, "__getitem__"):
            raise
        raise ApplicationError(f"the application returned {kind.__name__}, which is no iterable") from None
    x.send(b"", False, 0)


def _no_bytes(pieces: Iterable[object]) -> ApplicationError:
    kinds = [type(each).__name__ for each in pieces if not isinstance(each, (bytes, bytearray, memoryview))]
    return ApplicationError(f"a piece of the body is {kinds[0]}, not bytes")


def _stream_file(x: Exchange, blocks: Iterable[Any]) -> None:
    """Send each block when it is read, up to the Content-Length; a file may be longer (PEP 3333)."""
    for data in blocks:
        length = x.length
        x.write(data if length is None else data[: length - x.sent])
        if x.ended:
            break
    x.send(b"", False, 0)


def _send_file(x: Exchange, wrapper: FileWrapper, channel: Channel) -> None:
    """Let the kernel send the rest of a real file where the transport can; else read it."""
    try:
        fd: int = wrapper.file.fileno()  # type: ignore[attr-defined]
        status = fstat(fd)
        offset: int = wrapper.file.tell()  # type: ignore[attr-defined]
        plain = _is_plain(wrapper.file)
    except (AttributeError, OSError, ValueError):  # no file of the system
        _stream_file(x, wrapper)
        return
    count = status.st_size - offset
    if x.length is not None:
        count = min(count, x.length)
    if not plain or not S_ISREG(status.st_mode) or x.begun or count <= 0:
        _stream_file(x, wrapper)
        return
    if count <= BLOCK:  # one send costs less than the kernel's help
        x.send(pread(fd, count, offset), False, count)
        return
    if not x.codec.verbatim:
        x.send(wrapper.file.read(BLOCK), True, count)
        _stream_file(x, wrapper)
        return
    head = x.begin(count)
    channel.send([head], True)
    if x.bodiless or x.length is None or not channel.send_file(fd, offset, count):
        _stream_file(x, wrapper)
        return
    x.sent += count
    x.send(b"", False)
    channel.send([], False)


def _is_plain(file: object) -> bool:
    """Tell whether a file's descriptor gives what is read of it; that of a gzip file has it compressed."""
    for name in _LAYERS:
        file = getattr(file, name, file)
    return isinstance(file, FileIO) or not isinstance(file, IOBase)


def log_error(x: Exchange, what: str, error: BaseException | None = None) -> None:
    """Log what went wrong in the application's call for *x*."""
    log.error("%s: %s: %s", x.environ.get("appserver.listener", "-"), request_of(x), what, exc_info=error)


def request_of(x: Exchange) -> str:
    """Return what names a request in the log, without what would move a terminal's cursor."""
    return ascii(f"{x.method} {x.uri}")[1:-1]
