"""ZeroMQ endpoints that this server connects to: Mongrel2's and log collectors' (zmq_tcp(7), zmq_ipc(7))."""

from __future__ import annotations

import os
import re
from ipaddress import ip_address

from appserver.options import BadValue

_FORMS = "a ZeroMQ endpoint, such as tcp://127.0.0.1:9292 or ipc:///run/mysite.ipc"
_TCP = re.compile(r"(?:[^;/]+;)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})").fullmatch
_LONGEST = 107  # bytes of a Unix socket's name


def endpoint(text: str) -> str:
    """Convert an endpoint; raise `BadValue` for one that nothing can be connected to."""
    scheme, mark, where = text.partition("://")
    if not mark or not where or not text.isprintable() or " " in text:
        raise BadValue(_FORMS)
    if scheme == "ipc":
        if len(os.fsencode(where)) > _LONGEST:
            raise BadValue(f"a path of {_LONGEST} bytes at most, the kernel's limit")
    elif scheme == "tcp":
        if where.startswith("*"):
            raise BadValue("a host to connect to; the other end binds")
        match = _TCP(where)
        if match is None or not 0 < int(match[2]) < 65536:
            raise BadValue("tcp://host:port with a port from 1 to 65535")
    elif scheme == "inproc":
        raise BadValue("tcp:// or ipc://; inproc:// reaches nothing outside of this process")
    else:
        raise BadValue(f"tcp:// or ipc://; {scheme}:// is not served here")
    return text


def absolute(text: str) -> str:
    """Return an endpoint that is good in any working directory; as it is, where that is too long."""
    scheme, _, where = text.partition("://")
    if scheme != "ipc" or where.startswith("@"):
        return text
    path = os.path.abspath(where)
    return f"ipc://{path}" if len(os.fsencode(path)) <= _LONGEST else text


def over_ipv6(text: str) -> bool:
    """Tell whether an endpoint is an address of IPv6, which a socket has to be told before it connects.

    Not where it is a name: libzmq would not look for its address of IPv4 any more.
    """
    match = _TCP(text.removeprefix("tcp://"))
    return match is not None and match[1].startswith("[")


def exposed(text: str) -> str:
    """Return what is dangerous in an endpoint: who else can reach it, or listen."""
    scheme, _, where = text.partition("://")
    if scheme == "ipc":
        return _open_to_all(where)
    match = _TCP(where)
    host = match[1].strip("[]") if match else ""
    try:
        inside = ip_address(host).is_loopback
    except ValueError:
        inside = host == "localhost"
    if inside:
        return ""
    return f"What goes to {host} can be read and changed on its way; use a tunnel, or loopback."


def _open_to_all(path: str) -> str:
    if path.startswith("@"):
        return f"ipc://{path} has no permissions: everybody on this machine may connect."
    try:
        mode = os.stat(path).st_mode
    except OSError:  # the other end has not made it yet
        return ""
    if not mode & 0o002:
        return ""
    return f"Everybody on this machine may connect to ipc://{path}; try umask 007 where it is made."
