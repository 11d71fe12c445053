"""Whom a listener believes, and whom it lets connect at all."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from appserver.options import BadValue, option
from appserver.peers import Peers, everybody, peers
from appserver.protocols.forwarded import FIELDS, STANDARD, Forwarded

if TYPE_CHECKING:
    from collections.abc import Callable


def fields(text: str) -> str:
    """Convert ``trusted-headers``: names of the fields in which proxies tell of their clients."""
    names = _names(text)
    if not names <= FIELDS.keys() | {STANDARD}:
        raise BadValue(f"{STANDARD}, or some of {', '.join(FIELDS)}")
    if STANDARD in names and len(names) > 1:
        raise BadValue(
            f"either {STANDARD} or the others: a proxy writes one kind, and passes on what a client writes"
            " in the other"
        )
    return ", ".join(sorted(names))


def _names(text: str) -> frozenset[str]:
    return frozenset(re.split(r"[\s,]+", text.strip().lower()))


@dataclass(frozen=True)
class TrustOptions:
    """Trust."""

    allow: Peers | None = option(
        None, "Peers that may connect to TCP sockets; the connections of all others are closed unread.",
        convert=peers, expects="addresses", example="10.0.0.0/8, 192.0.2.7",
        note="own; none given = everybody, with a warning where the socket is public and speaks uwsgi,"
        " FastCGI or SCGI.",
    )  # fmt: skip
    trusted_proxies: Peers | None = option(
        None, "Proxies whose word about their clients, in trusted-headers, is believed.",
        aliases=("forwarded-allow-ips",), convert=peers, expects="addresses", danger=everybody,
        example="10.0.0.0/8, unix",
        note="own; nobody is believed by default, also not over Unix sockets: those are `unix`.",
    )  # fmt: skip
    trusted_headers: str = option(
        "x-forwarded-for, x-forwarded-proto",
        "What counts of trusted-proxies: x-forwarded-for, -proto, -host, -port, or forwarded (RFC 7239).",
        convert=fields, expects="names", example="x-forwarded-for, x-forwarded-proto, x-forwarded-host",
        note="own; name what the proxies set themselves, for the rest is the client's.",
    )  # fmt: skip
    enable_proxy_protocol: bool = option(
        False, "Take HTTP clients' addresses from the PROXY protocol (1 or 2) in front of each connection.",
        aliases=("http-enable-proxy-protocol",),
        note="A connection without it is refused, as the protocol's text demands; uWSGI serves it, and"
        " does not know version 2.",
    )  # fmt: skip

    def forwarded(self, note: Callable[[str, str], None]) -> Forwarded | None:
        """Return what changes environs to what proxies say, None where none is trusted; see `Forwarded`."""
        if self.trusted_proxies is None:
            return None
        return Forwarded(self.trusted_proxies, _names(self.trusted_headers), note)
