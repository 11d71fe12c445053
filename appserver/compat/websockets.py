"""uWSGI's calls for WebSocket, over ``environ["wsgi.websocket"]``.

They mean the request that they are called in. Greenlets and threads that the application has started are in
none; they take what `request_context` has returned in the request, as in uWSGI 2.1.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from appserver import stacks
from appserver.errors import BodyError
from appserver.protocols.upgrade import asks
from appserver.websocket.socket import KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from appserver.websocket.socket import WebSocket


class NoWebSocket(BodyError):
    """Say that a request has no WebSocket; where the application lets it through, it is the answer."""


def request_context() -> WebSocket:
    """Return what the other calls take where they are made outside of the request."""
    call = stacks.call_on(sys._getframe())  # noqa: SLF001  (there is no other way)
    if call is None:
        raise OSError("there is no request here: pass on what uwsgi.request_context() returns in it")
    return of_request(call.x.environ)


def of_request(environ: Mapping[str, Any]) -> WebSocket:
    """Return a request's WebSocket; raise `NoWebSocket` where there is none."""
    found: WebSocket | None = environ.get(KEY)
    if found is not None:
        return found
    if asks(environ):
        raise NoWebSocket(
            "501 Not Implemented",
            "WebSocket comes neither over FastCGI nor through Apache's uwsgi or SCGI: see docs/websocket.md",
        )
    raise NoWebSocket("400 Bad Request", "this is a WebSocket, and the request asks for none")


def websocket_handshake(
    key: str | bytes | None = None,  # noqa: ARG001  (the arguments are uWSGI's)
    origin: str | bytes | None = None,  # noqa: ARG001  (likewise)
    proto: str | bytes | None = None,
    request_context: WebSocket | None = None,
) -> None:
    """Accept, with the subprotocol *proto* or the one that the client likes best; all else is the server's.

    uWSGI answers with all that the client offers, which is right where that is one.
    """
    socket = _of(request_context)
    wanted = proto.decode("latin-1") if isinstance(proto, bytes) else proto or ""
    offered = [wanted.partition(",")[0].strip()] if wanted else socket.subprotocols
    socket.accept(offered[0] if offered else None)


def websocket_recv(request_context: WebSocket | None = None) -> bytes:
    """Return the next message, text as its UTF-8; raise `OSError` after the last one."""
    return _received(request_context, None)


def websocket_recv_nb(request_context: WebSocket | None = None) -> bytes:
    """Return the next message, empty where there is none yet; raise `OSError` after the last one."""
    try:
        return _received(request_context, 0)
    except TimeoutError:
        return b""


def websocket_send(message: str | bytes, request_context: WebSocket | None = None) -> None:
    """Send text, which may be given as its UTF-8; raise `OSError` after the end."""
    try:
        text = message if isinstance(message, str) else bytes(message).decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"text is UTF-8: {error}; uwsgi.websocket_send_binary sends other bytes") from None
    _of(request_context).send(text)


def websocket_send_binary(message: str | bytes, request_context: WebSocket | None = None) -> None:
    """Send bytes; raise `OSError` after the end."""
    _of(request_context).send(message.encode() if isinstance(message, str) else bytes(message))


def connection_fd() -> int:
    """Return a descriptor that is readable while a message waits, or the end: to select, and not to read."""
    return request_context().fileno()


def disconnect() -> None:
    """End the WebSocket; before it is accepted, refuse it."""
    request_context().close()


def _of(context: WebSocket | None) -> WebSocket:
    return request_context() if context is None else context


def _received(context: WebSocket | None, timeout: float | None) -> bytes:
    socket = _of(context)
    while (message := socket.receive(timeout)) is None:
        pass  # it is raised to who asks again
    return message.encode() if isinstance(message, str) else message


CALLS: tuple[Callable[..., Any], ...] = (
    request_context,
    websocket_handshake,
    websocket_recv,
    websocket_recv_nb,
    websocket_send,
    websocket_send_binary,
    connection_fd,
    disconnect,
)
