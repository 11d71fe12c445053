"""A driver for python-engineio where calls are native threads: its mode ``threading``, with our WebSockets.

The library's own waits for a socket from the environ. Behind Mongrel2 the call would hold up the loop that
has to fill it, and over FastCGI there is none. (engineio/async_drivers in the library has the form.)
"""

from __future__ import annotations

import queue
import threading
import time
from types import ModuleType
from typing import TYPE_CHECKING, Any

from gevent import getcurrent
from gevent.event import Event
from gevent.hub import Hub

from appserver.compat.websockets import of_request
from appserver.errors import ConnectionClosed

if TYPE_CHECKING:
    from collections.abc import Callable


class Thread(threading.Thread):
    """Have the loop of a thread turn that waits for this one: it may have something to send there."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options, daemon=True)
        self._ends = Event()

    def run(self) -> None:
        """Run what it was made for."""
        try:
            super().run()
        finally:
            self._ends.set()

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end."""
        if isinstance(getcurrent().parent, Hub):
            self._ends.wait(timeout)
        else:
            super().join(timeout)


class Transport:
    """Be the WebSocket that *handler* is called with, by the request and by threads of the library."""

    def __init__(self, handler: Callable[[Transport], Any], _: object) -> None:
        self._handler = handler

    def __call__(self, environ: dict[str, Any], _: object) -> Any:
        self._socket = of_request(environ)
        self._socket.accept()
        return self._handler(self)

    def send(self, message: str | bytes) -> None:
        """Send a message; raise `OSError` after the end."""
        self._socket.send(message)

    def wait(self) -> str | bytes | None:
        """Return the next message, None after the last one."""
        try:
            return self._socket.receive()
        except ConnectionClosed:
            return None

    def close(self) -> None:
        """End it; safe twice."""
        self._socket.close()


def driver(name: str) -> ModuleType:
    """Return the module in the place of the library's."""
    made = ModuleType(name, __doc__)
    made._async = {  # type: ignore[attr-defined]  # noqa: SLF001  (the name is the library's)
        "thread": Thread,
        "queue": queue.Queue,
        "queue_empty": queue.Empty,
        "event": threading.Event,
        "websocket": Transport,
        "sleep": time.sleep,
    }
    return made
