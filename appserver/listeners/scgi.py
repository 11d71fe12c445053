"""SCGI for nginx's ``scgi_pass``, lighttpd and Apache's mod_proxy_scgi."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from appserver.listeners.stream import StreamListener
from appserver.options import option
from appserver.protocols.scgi import ScgiCodec
from appserver.spec import checked, relative


@dataclass(frozen=True)
class ScgiOptions:
    """SCGI."""

    scgi_socket: tuple[str, ...] = option(
        (), "Serve SCGI on this address.", convert=checked, expects="address", mounts=True,
        relative=relative, example="127.0.0.1:4000",
    )  # fmt: skip


class ScgiListener(StreamListener):
    """Listen for SCGI."""

    name: ClassVar[str] = "scgi"
    Options: ClassVar[type] = ScgiOptions
    Spoken: ClassVar[type] = ScgiCodec
