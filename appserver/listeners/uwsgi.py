"""Binary uwsgi for nginx's ``uwsgi_pass`` and Apache's mod_proxy_uwsgi."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from appserver.listeners.stream import StreamListener
from appserver.options import BadValue, UnsupportedValue, option
from appserver.protocols.uwsgi import UwsgiCodec
from appserver.spec import checked, relative

# Those that uWSGI speaks, and this server does not.
_OTHERS = {"https", "suwsgi", "puwsgi", "raw", "fastcgi-nph", "scgi-nph", "zmq", "mongrel2"}


def protocol(text: str) -> str:
    """Convert ``protocol``: the name of a listener."""
    name = {"http11": "http"}.get(text, text)
    if name in {"uwsgi", "http", "fastcgi", "scgi"}:
        return name
    raise (UnsupportedValue if text in _OTHERS else BadValue)("uwsgi, http, fastcgi or scgi")


@dataclass(frozen=True)
class UwsgiOptions:
    """Binary uwsgi."""

    socket: tuple[str, ...] = option(
        (), "Serve the uwsgi protocol on this address.", short="s", aliases=("uwsgi-socket",),
        convert=checked, expects="address", mounts=True, relative=relative, example="127.0.0.1:3031",
        note="Nothing that a request says loads code; HTTP that comes here by mistake is named.",
    )  # fmt: skip
    protocol: str = option(
        "uwsgi", "What is spoken on the addresses of the option socket.", aliases=("socket-protocol",),
        convert=protocol, expects="uwsgi, http, fastcgi or scgi", example="http",
    )  # fmt: skip


class UwsgiListener(StreamListener):
    """Listen for uwsgi packets."""

    name: ClassVar[str] = "uwsgi"
    Options: ClassVar[type] = UwsgiOptions
    Spoken: ClassVar[type] = UwsgiCodec
