"""Addresses of one server that overlap: it would have the first of them, and fail at the second."""

from __future__ import annotations

import os
import socket
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from appserver.address import parse, resolved
from appserver.binding import BindOptions, socket_name
from appserver.ip import address_of
from appserver.lifecycle.options import ControlOptions
from appserver.options import Kind
from appserver.spec import Spec
from appserver.stats.options import StatsOptions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from ipaddress import IPv4Address, IPv6Address

    from appserver.listeners.listener import Listener
    from appserver.options import Catalogue, Setting, Settings


class _Claim(NamedTuple):
    """What somebody wants for himself: the place that says so, the address as written, and what it means."""

    place: str
    text: str
    does: str
    where: object  # a path, a host and port, or what a listener connects to
    shared: bool = False  # by SO_REUSEPORT
    mounted: bool = True  # so that one of IPv6 leaves IPv4 to another one


class _Ip(NamedTuple):
    """An address of TCP; its host is text where that has no address."""

    host: IPv4Address | IPv6Address | str
    port: int
    scope: int = 0


def overlaps(
    listeners: Sequence[Listener], settings: Settings, catalogue: Catalogue, directory: str
) -> list[str]:
    """Return a problem for each address that another setting has, too; *directory* has the relative paths."""
    found: list[str] = []
    before: list[_Claim] = []
    claims = [*_mounted(listeners, settings, catalogue), *_beside(settings, catalogue)]
    for claim in _located(claims, directory):
        other = next((each for each in before if _meet(each, claim)), None)
        if other is None:
            before.append(claim)
            continue
        written = f", as {other.text}" if claim.does == "listen on" and other.text != claim.text else ""
        found.append(
            f"{claim.place}: cannot {claim.does} {claim.text} twice: {other.place} has it, too{written};"
            " remove one, or choose another address"
        )
    return found


def _mounted(listeners: Sequence[Listener], settings: Settings, catalogue: Catalogue) -> Iterator[_Claim]:
    for listener, (_, setting) in zip(listeners, settings.mounts, strict=True):
        spec = Spec(setting.value or "")
        if catalogue.by_name[setting.name].expects != "address":
            yield _Claim(setting.place, spec.address, "connect to", listener.address)
            continue
        options = spec.of(settings, BindOptions)
        where = parse(socket_name(spec.address, options))
        yield _Claim(setting.place, spec.address, "listen on", where, options.reuse_port)


def _beside(settings: Settings, catalogue: Catalogue) -> Iterator[_Claim]:
    """Yield the addresses that are no listener's."""
    options = settings.of(BindOptions)
    if stats := settings.of(StatsOptions).stats:
        place, where = _place(settings.given, catalogue, "stats"), parse(socket_name(stats, options))
        yield _Claim(place, stats, "listen on", where, options.reuse_port, mounted=False)
    if control := settings.of(ControlOptions).control_socket:
        place = _place(settings.given, catalogue, "control-socket")
        yield _Claim(place, control, "listen on", control, mounted=False)


def _place(given: Sequence[Setting], catalogue: Catalogue, name: str) -> str:
    """Return where an option was last given; its name where that was before a reload."""
    declared = catalogue.by_name[name]
    options = [each for each in given if each.kind is Kind.OPTION]
    return next(
        (each.place for each in reversed(options) if catalogue.by_name.get(each.name) is declared), name
    )


def _located(claims: Sequence[_Claim], directory: str) -> Iterator[_Claim]:
    """Yield what others may not have, with what it means; names are looked up where they matter."""
    ports = Counter(each.where[1] for each in claims if isinstance(each.where, tuple))
    for claim in claims:
        where = claim.where
        if isinstance(where, int) or (isinstance(where, tuple) and not where[1]):
            continue
        if isinstance(where, tuple) and ports[where[1]] > 1:
            where = _ip(*where)
        elif isinstance(where, str) and where[0] != "\0" and claim.does == "listen on":
            above, name = os.path.split(os.path.join(directory, where))
            where = os.path.join(os.path.realpath(above), name)  # bind() follows no link at the end
        yield claim._replace(where=where)


def _ip(host: str, port: int) -> _Ip:
    try:
        _, where = resolved(host, port)
        scope = where[3] if len(where) > 2 else 0
        return _Ip(address_of(where[0].partition("%")[0]), port, scope)
    except (OSError, UnicodeError):  # binding it will tell
        return _Ip(host, port)


def _meet(one: _Claim, other: _Claim) -> bool:
    """Tell whether only one of two claims can be had."""
    mine, theirs = one.where, other.where
    if not isinstance(mine, _Ip) or not isinstance(theirs, _Ip):
        return one.does == other.does and mine == theirs
    if mine.port != theirs.port or (one.shared and other.shared):
        return False
    if mine == theirs:
        return True
    if isinstance(mine.host, str) or isinstance(theirs.host, str):
        return False
    if mine.host.version == theirs.host.version:
        return mine.host.is_unspecified or theirs.host.is_unspecified
    six = mine.host if mine.host.version == 6 else theirs.host
    return six.is_unspecified and not (one.mounted and other.mounted) and not _apart_by_default()


def _apart_by_default() -> bool:
    """Tell whether every address of IPv6 is none of IPv4 (net.ipv6.bindv6only)."""
    try:
        with socket.socket(socket.AF_INET6) as sock:
            return bool(sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))
    except OSError:
        return True
