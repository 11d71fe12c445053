"""Addresses of stream listeners, as options and logs write them."""

from __future__ import annotations

import os
import socket
from ipaddress import ip_address

from appserver.options import BadValue

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
        return socket_name("\0" + text[1:])
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
    return socket_name(text)


def socket_name(name: str) -> str:
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
    address = parse(text)
    if isinstance(address, str):
        return False
    try:
        if isinstance(address, int):
            with _Socket(fileno=os.dup(address)) as sock:
                if sock.family == socket.AF_UNIX:
                    return False
                host = sock.getsockname()[0]
        else:
            host = socket.getaddrinfo(address[0] or "0.0.0.0", None)[0][4][0]  # noqa: S104
        found = ip_address(str(host).partition("%")[0])
    except (OSError, UnicodeError):  # binding it will tell
        return False
    return found.is_unspecified or not (found.is_private or found.is_link_local)


def name_of(sock: socket.socket) -> str:
    """Return the address that a socket really has, as an ini file would write it."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        if isinstance(name, bytes):
            name = name.decode("utf-8", "surrogateescape")
        return f"@{name[1:]}" if name.startswith("\0") else str(name)
    host, port = name[:2]
    return f"[{host}]:{port}" if sock.family == socket.AF_INET6 else f"{host}:{port}"
