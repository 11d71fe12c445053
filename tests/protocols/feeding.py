"""Drive a codec as a connection does, without a connection."""

from __future__ import annotations

from appserver.protocols.codec import ProtocolError
from appserver.protocols.fastcgi import FastcgiCodec
from appserver.protocols.http import HttpCodec, RequestLimits
from appserver.protocols.mongrel2 import Mongrel2Codec, parse
from appserver.protocols.readers import HttptoolsFields, h11_fields
from appserver.protocols.scgi import ScgiCodec
from appserver.protocols.uwsgi import UwsgiCodec

READERS = {"auto": None, "h11": h11_fields, "httptools": HttptoolsFields()}
BASE = {
    "SERVER_NAME": "localhost", "SERVER_PORT": "80", "SCRIPT_NAME": "",
    "REMOTE_ADDR": "192.0.2.1", "wsgi.url_scheme": "http",
}  # fmt: skip
CUTS = ["whole", "bytes"]


def cut(data, how):
    """Return *data* in one piece or byte by byte."""
    if how == "whole":
        return [data]
    return [data[at : at + 1] for at in range(len(data))]


def refused(codec, error):
    """Return the status of a refusal, which can be put in words whatever it is about."""
    assert codec.refuse(error)
    return error.status[:3]


class Reading:
    """What has come of the bytes of a connection so far.

    In `found` are pairs of environ and body, and a refusal's status last. After a request that does not keep its
    connection, and after a refusal, nothing is read.
    """

    def __init__(self, codec):
        self.codec = codec
        self.found = []
        self.closed = False  # by a request that does not keep it
        self._x, self._body = None, bytearray()

    def take(self, data):
        """Take a piece of what is said."""
        if self.closed or self.refused:
            return
        try:
            while self._go_on(data):
                data = b""
        except ProtocolError as error:
            self.found.append(refused(self.codec, error))

    @property
    def refused(self):
        """Whether the last that has come of it is a refusal."""
        return bool(self.found) and isinstance(self.found[-1], str)

    def _go_on(self, data):
        """Take bytes up to the end of a request; tell whether there may be another one."""
        if self._x is None:
            self._x = self.codec.receive(data)
            data = b""
            if self._x is None:
                return self.codec.behind
        if self._x.body_left:
            self._body += b"".join(self.codec.receive_body(self._x, data))
            if self._x.body_left:
                return self.codec.behind
        self.found.append((self._x.environ, bytes(self._body)))
        self.closed = not self._x.keep_alive
        self._x, self._body = None, bytearray()
        return not self.closed and self.codec.buffer != b""


def feed(codec, chunks):
    """Return what *codec* makes of *chunks*, as a `Reading` finds it."""
    reading = Reading(codec)
    for chunk in chunks:
        reading.take(chunk)
    return reading.found


def http(data, reader="auto", how="whole", limit=65536):
    """Return what the HTTP codec makes of *data*."""
    return feed(HttpCodec(BASE, READERS[reader], RequestLimits(limit)), cut(data, how))


def uwsgi(data, how="whole", limit=65536):
    """Return what the uwsgi codec makes of *data*."""
    return feed(UwsgiCodec({}, limit), cut(data, how))


def scgi(data, how="whole", limit=65536):
    """Return what the SCGI codec makes of *data*."""
    return feed(ScgiCodec({}, limit), cut(data, how))


def fastcgi(data, how="whole", limit=65536):
    """Return what the FastCGI codec makes of *data*."""
    return feed(FastcgiCodec({}, limit), cut(data, how))


def mongrel2(message, script_name=False):
    """Return the environ and body of a message, or a refusal's status."""
    codec = Mongrel2Codec({}, script_name)
    try:
        parsed = parse(message)
        return codec.exchange(parsed).environ, parsed.body
    except ProtocolError as error:
        return refused(codec, error)


def summary(found):
    """Return what `feed` found as method, path and body of each request."""
    return [
        item
        if isinstance(item, str)
        else " ".join(
            filter(None, [item[0]["REQUEST_METHOD"], item[0]["PATH_INFO"], item[1].decode("latin-1")])
        )
        for item in found
    ]
