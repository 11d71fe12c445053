"""Binary uwsgi for nginx's ``uwsgi_pass`` and Apache's mod_proxy_uwsgi."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from appserver.address import checked
from appserver.listeners.stream import StreamListener
from appserver.options import option
from appserver.protocols.uwsgi import UwsgiCodec


@dataclass(frozen=True)
class UwsgiOptions:
    """Binary uwsgi."""

    socket: tuple[str, ...] = option(
        (), "Serve the uwsgi protocol on this address.", short="s", aliases=("uwsgi-socket",),
        convert=checked, expects="address", mounts=True,
        note="Nothing that a request says loads code; HTTP that comes here by mistake is named.",
    )  # fmt: skip


class UwsgiListener(StreamListener):
    """Listen for uwsgi packets."""

    name: ClassVar[str] = "uwsgi"
    Options: ClassVar[type] = UwsgiOptions

    def codec(self, peer: Any) -> UwsgiCodec:
        return UwsgiCodec(self.base, self.options.buffer_size)
