"""IP addresses, each in one form: IPv6 can write one of IPv4, too, as ``::ffff:192.0.2.1`` (RFC 4291)."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

_BITS = 96  # that stand in IPv6 before an address of IPv4


def unmapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the address of IPv4 that *address* stands for; itself where it stands for none."""
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def address_of(text: str) -> IPv4Address | IPv6Address:
    """Return the address that is written; raise `ValueError` where it is none."""
    return unmapped(ip_address(text))


def network_of(text: str, *, strict: bool = True) -> IPv4Network | IPv6Network:
    """Return the network that is written; raise `ValueError` where it is none.

    With *strict* no bits of hosts may be set.
    """
    network = ip_network(text, strict=strict)
    first = unmapped(network.network_address)
    if first.version == network.version or network.prefixlen < _BITS:
        return network
    return IPv4Network((int(first), network.prefixlen - _BITS))
