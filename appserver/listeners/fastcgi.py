"""FastCGI for nginx's ``fastcgi_pass``, Apache's mod_proxy_fcgi, lighttpd and Caddy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from appserver.listeners.stream import StreamListener
from appserver.options import option
from appserver.protocols.fastcgi import FastcgiCodec
from appserver.spec import checked

if TYPE_CHECKING:
    from collections.abc import Iterable

    from appserver.exchange import Exchange
    from appserver.listeners.connection import Connection


@dataclass(frozen=True)
class FastcgiOptions:
    """FastCGI."""

    fastcgi_socket: tuple[str, ...] = option(
        (), "Serve FastCGI on this address.", convert=checked, expects="address", mounts=True
    )
    fastcgi_stderr: bool = option(
        False, "Send wsgi.errors to the front end's error log, instead of to ours.", note="own"
    )


class FastcgiListener(StreamListener):
    """Listen for FastCGI."""

    name: ClassVar[str] = "fastcgi"
    Options: ClassVar[type] = FastcgiOptions

    def codec(self, peer: Any) -> FastcgiCodec:
        return FastcgiCodec(self.base, self.options.buffer_size)

    def prepare(self, connection: Connection, x: Exchange) -> None:
        if self.settings.of(FastcgiOptions).fastcgi_stderr and isinstance(x.codec, FastcgiCodec):
            x.environ["wsgi.errors"] = StderrRecords(connection, x.codec)


class StderrRecords:
    """A text stream (``wsgi.errors``) each of whose writes goes to the front end at once."""

    def __init__(self, connection: Connection, codec: FastcgiCodec) -> None:
        self._connection = connection
        self._codec = codec

    def write(self, text: str) -> int:
        """Send *text*; raise `ClientGone` where nobody reads it."""
        if text:
            self._connection.send([self._codec.errors(text.encode("utf-8", "replace"))], False)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Send several pieces of text."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Do nothing: nothing is held back."""
