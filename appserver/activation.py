"""Sockets that systemd has bound and passes to us (sd_listen_fds(3))."""

from __future__ import annotations

import os
import socket

from appserver.address import AddressError, name_of, number

_Socket = socket.socket  # the real one, also where gevent replaces it later
_FIRST = 3  # the first descriptor


def passed_fds(environ: dict[str, str] | None = None) -> list[int]:
    """Return the descriptors that systemd passes (sd_listen_fds), and mark them as taken."""
    env = os.environ if environ is None else environ
    if env.get("LISTEN_PID") != str(os.getpid()):
        return []
    try:
        count = number(env.get("LISTEN_FDS", ""), 65535)
    except ValueError:
        return []
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        env.pop(name, None)
    return list(range(_FIRST, _FIRST + count))


def names_of_passed() -> dict[str, int]:
    """Return systemd's sockets by address; no program that is started inherits them."""
    found = {}
    for fd in passed_fds():
        try:
            os.set_inheritable(fd, False)
            with _Socket(fileno=os.dup(fd)) as sock:
                found[name_of(sock)] = fd
        except OSError as error:
            raise AddressError(f"LISTEN_FDS names descriptor {fd}: {error.strerror}") from None
    return found


def same(name: str, text: str) -> bool:
    """Tell whether a passed socket of this name is meant by an address as it is written."""
    if name == text or name == os.path.abspath(text):
        return True
    every = (f"0.0.0.0{text}", f"[::]{text}")  # noqa: S104  (a name to compare)
    return text.startswith(":") and name in every
