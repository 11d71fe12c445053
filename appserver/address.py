"""Addresses of stream listeners, as options and logs write them."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

from appserver.ip import address_of
from appserver.options import BadValue

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

_FORMS = "host:port, :port, /path.sock, ./path.sock, @abstract or fd://N"
_Socket = socket.socket  # the real one, also where gevent replaces it later
_LAST_FD = 2**31 - 1  # what the kernel's type holds


def number(text: str, last: int) -> int:
    """Return a number from 0 to *last*; raise `ValueError` for anything else."""
    if not (text.isascii() and text.isdigit() and int(text) <= last):
        raise ValueError(text)
    return int(text)


class AddressError(Exception):
    """Say why an address cannot be listened on, and what to try.

    ``address`` is the option's value, where one value is to blame.
    """

    def __init__(self, reason: str, address: str = "") -> None:
        super().__init__(reason)
        self.address = address


def parse(text: str) -> tuple[str, int] | str | int:
    """Return a host and port, a path (abstract with a leading NUL) or an inherited descriptor.

    Raise `BadValue` for anything else.
    """
    text = text.strip()
    if text.startswith("fd://"):
        try:
            return number(text[5:], _LAST_FD)
        except ValueError:
            raise BadValue("fd:// and the number of an inherited socket") from None
    if text.startswith("@") and len(text) > 1:
        return _socket_name("\0" + text[1:])
    scheme, _, rest = text.partition(":")
    if rest.startswith("//") or (scheme == "unix" and rest.startswith("/")):
        raise BadValue(f"an address without {scheme}: in front: {_FORMS}")
    host, colon, port = text.rpartition(":")
    if colon and "/" not in text:
        try:
            found = number(port, 65535)
        except ValueError:
            raise BadValue("host:port with a port from 0 to 65535") from None
        if host.startswith("[") != host.endswith("]") or (":" in host and host[0] != "["):
            raise BadValue("[address]:port for IPv6")
        return host.strip("[]"), found
    if "/" not in text and not text.endswith((".sock", ".socket")):
        raise BadValue(_FORMS)
    return _socket_name(text)


def _socket_name(name: str) -> str:
    """Return the name of a Unix socket, checked; an abstract one begins with NUL."""
    if "\0" in name[1:]:
        raise BadValue("a path without NUL")
    if len(os.fsencode(name)) > 107:
        raise BadValue("a path of 107 bytes at most, the kernel's limit")
    return name


def checked(text: str) -> str:
    """Convert an address: checked, and kept as it is written."""
    parse(text)
    return text.strip()


def relative(text: str) -> bool:
    """Tell whether an address is a relative path."""
    try:
        found = parse(text)
    except BadValue:
        return False
    return isinstance(found, str) and found[0] not in {"/", "\0"}


def public(text: str) -> bool:
    """Tell whether others than this machine and private networks may reach an address as it is written."""
    found = over_ip(text)
    if found is None:
        return False
    host, _ = found
    return host.is_unspecified or not (host.is_private or host.is_link_local)


def over_ip(text: str) -> tuple[IPv4Address | IPv6Address, int] | None:
    """Return the IP address and port that an address means as it is written; None where it means none."""
    try:
        address = parse(text)
        if isinstance(address, str):
            return None
        if isinstance(address, int):
            with _Socket(fileno=os.dup(address)) as sock:
                if sock.family == socket.AF_UNIX:
                    return None
                host, port = sock.getsockname()[:2]
        else:
            port = address[1]
            host = resolved(*address)[1][0]
        return address_of(str(host).partition("%")[0]), port
    except (BadValue, OSError, UnicodeError):  # binding it will tell, if it is one for us
        return None


def resolved(host: str, port: int) -> tuple[int, tuple[Any, ...]]:
    """Return the family and the address to be bound of a host, of IPv4 where its name has both, as in uWSGI.

    Raise `OSError` or `UnicodeError` where there is none.
    """
    found = socket.getaddrinfo(
        host or "0.0.0.0",  # noqa: S104  (`:port` means every IPv4 address, as in uWSGI)
        port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE,
    )  # fmt: skip
    family, _, _, _, where = min(found, key=lambda each: each[0] != socket.AF_INET)
    return family, where


def name_of(sock: socket.socket) -> str:
    """Return the address that a socket really has, as an ini file would write it."""
    return _written(sock.family, sock.getsockname())


def peer_of(sock: socket.socket) -> str:
    """Return the address that a socket is connected to in the same form, "" for one without a name."""
    return _written(sock.family, sock.getpeername())


def _written(family: int, name: Any) -> str:
    if family == socket.AF_UNIX:
        if isinstance(name, bytes):
            name = name.decode("utf-8", "surrogateescape")
        return f"@{name[1:]}" if name.startswith("\0") else str(name)
    host, port = name[:2]
    return f"[{host}]:{port}" if family == socket.AF_INET6 else f"{host}:{port}"
