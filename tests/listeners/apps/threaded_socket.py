"""A library that speaks WebSocket by itself, in a thread that goes on after the application's call."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha1
from threading import Event, Thread

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEPT = []


def app(environ, start_response):
    """Return with the client's first frame; answer the second, and close unless the query says ``open``."""
    if "werkzeug.socket" not in environ:  # the warm-up
        start_response("200 OK", [])
        return []
    sock = environ["werkzeug.socket"]
    heard = Event()
    accept = b64encode(sha1((environ["HTTP_SEC_WEBSOCKET_KEY"] + GUID).encode()).digest())
    sock.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept
    )

    def speak():
        assert sock.recv(65536)
        heard.set()
        if sock.recv(65536):
            sock.sendall(b"\x81\x04last")
        if environ["QUERY_STRING"] != "open":
            sock.close()

    KEPT.append(sock)
    Thread(target=speak, daemon=True).start()
    heard.wait()
    return []
