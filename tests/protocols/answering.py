"""Drive an exchange without a server: what would go on the wire is kept."""

from __future__ import annotations

from appserver.exchange import Exchange
from appserver.protocols.fastcgi import FastcgiCodec
from appserver.protocols.http import HttpCodec
from appserver.protocols.mongrel2 import Mongrel2Codec
from appserver.protocols.readers import h11_fields
from appserver.protocols.scgi import ScgiCodec
from appserver.protocols.uwsgi import UwsgiCodec

CODECS = {
    "http": lambda: HttpCodec({}, h11_fields),
    "mongrel2": lambda: Mongrel2Codec({}),
    "uwsgi": lambda: UwsgiCodec({}),
    "scgi": lambda: ScgiCodec({}),
    "fastcgi": lambda: FastcgiCodec({}),
}


class Recorder:
    """A channel that keeps what it is given."""

    def __init__(self):
        self.gone = False
        self.sends = []

    def send(self, pieces, more):
        assert all(type(piece) in (bytes, memoryview) for piece in pieces)
        assert all(map(len, pieces))  # an empty one closes a Mongrel2 client
        self.sends.append((b"".join(pieces), more))

    @property
    def wire(self):
        return b"".join(data for data, _ in self.sends)


def exchange(protocol="http", method="GET", version="HTTP/1.1", keep_alive=True):
    """Return an exchange of *protocol* with a recorder as its channel."""
    codec = CODECS[protocol]()
    environ = {"REQUEST_METHOD": method, "SERVER_PROTOCOL": version, "REQUEST_URI": "/"}
    if protocol == "fastcgi":
        codec.request = 1
    x = Exchange(environ, codec, keep_alive)
    x.channel = Recorder()
    return x


def answer(x, status, headers, *body, total=None):
    """Send a whole answer and return the wire without its Date."""
    date = [("Date", "now")] if x.codec.dated else []
    x.start_response(status, [*date, *headers])
    for piece in body[:-1]:
        x.write(piece)
    x.send(b"".join(body[-1:]), False, total)
    return x.channel.wire.replace(b"Date: now\r\n", b"")
