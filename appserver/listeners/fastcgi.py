"""FastCGI for nginx's ``fastcgi_pass``, Apache's mod_proxy_fcgi, lighttpd and Caddy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TextIO

from appserver.listeners.stream import StreamListener
from appserver.options import option
from appserver.protocols.fastcgi import FastcgiCodec
from appserver.spec import checked, relative

if TYPE_CHECKING:
    from collections.abc import Iterable

    from appserver.exchange import Exchange
    from appserver.listeners.connection import Connection
    from appserver.listeners.service import Service


@dataclass(frozen=True)
class FastcgiOptions:
    """FastCGI."""

    fastcgi_socket: tuple[str, ...] = option(
        (), "Serve FastCGI on this address.", convert=checked, expects="address", mounts=True,
        relative=relative, example="127.0.0.1:9000",
    )  # fmt: skip
    fastcgi_stderr: bool = option(
        False, "Send wsgi.errors to the front end's error log, instead of to ours.", note="own"
    )


class FastcgiListener(StreamListener):
    """Listen for FastCGI."""

    name: ClassVar[str] = "fastcgi"
    Options: ClassVar[type] = FastcgiOptions
    Spoken: ClassVar[type] = FastcgiCodec

    def start(self, service: Service) -> None:
        super().start(service)
        self._stderr = self.settings.of(FastcgiOptions).fastcgi_stderr

    def prepare(self, connection: Connection, x: Exchange) -> None:
        if self._stderr:
            x.environ["wsgi.errors"] = StderrRecords(connection, x)


class StderrRecords:
    """A text stream (``wsgi.errors``) each of whose writes goes to the front end at once.

    What is written behind the answer, in the iterable's ``close``, goes to our log: the front end has
    END_REQUEST by then, and takes no more of this request.
    """

    def __init__(self, connection: Connection, x: Exchange) -> None:
        self._connection = connection
        self._x = x
        self._log: TextIO = x.environ["wsgi.errors"]

    def write(self, text: str) -> int:
        """Send *text*; raise `ClientGone` where nobody reads it."""
        if self._x.ended:
            self._log.write(text)
        elif text:
            codec = self._x.codec
            assert isinstance(codec, FastcgiCodec)
            self._connection.send([codec.errors(text.encode("utf-8", "replace"))], False)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Send several pieces of text."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Have a line that is not ended logged; what is sent is not held back."""
        if self._x.ended:
            self._log.flush()
