"""Peers by address: the networks that an option names, and Unix sockets."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from appserver.ip import address_of, network_of
from appserver.options import BadValue

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

UNIX = frozenset({"", "unix:"})  # how a peer without an address is written; the second is nginx's
_MOST = 4096  # addresses that are remembered
_EVERY = 3  # an IPv4 prefix up to this length is nearly everybody


@dataclass(frozen=True)
class Peers:
    """Tell by ``in`` whether an address is one of those meant; what is no address is none of them."""

    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    unix: bool = False
    _known: dict[str, bool] = field(default_factory=dict, compare=False, repr=False)

    def __contains__(self, address: object) -> bool:
        if not isinstance(address, str):
            return False
        known = self._known.get(address)
        if known is None:
            known = self._find(address)
            if len(self._known) < _MOST:
                self._known[address] = known
        return known

    def _find(self, text: str) -> bool:
        if text in UNIX:
            return self.unix
        try:
            address = address_of(text.partition("%")[0])
        except ValueError:
            return False
        return any(address in network for network in self.networks)


def peers(text: str) -> Peers:
    """Convert a list of peers: addresses, networks, ``unix``, or ``none`` alone."""
    words = re.split(r"[\s,]+", text.strip())
    if words == ["none"]:
        return Peers()
    networks = []
    for word in words:
        if word == "unix":
            continue
        try:
            networks.append(network_of(word))
        except ValueError as error:
            told = f"; {error}" if "host bits" in str(error) else ""
            raise BadValue(f"addresses, networks such as 10.0.0.0/8, unix, or none{told}") from None
    return Peers(tuple(networks), "unix" in words)


def everybody(text: str) -> str:
    """Return what is dangerous in a list of peers that are believed."""
    if any(network.prefixlen <= _EVERY for network in peers(text).networks):
        return "Everybody is believed: any client may claim any address. Name the addresses of the proxies."
    return ""
