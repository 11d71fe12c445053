"""Addresses of TCP that this machine cannot give a server, whoever else has them now."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

from appserver.address import parse, resolved
from appserver.binding import explained
from appserver.directories import Missing, mounted

if TYPE_CHECKING:
    from appserver.options import Catalogue, Settings


def unavailable(settings: Settings, catalogue: Catalogue) -> list[Missing]:
    """Return those that cannot be bound, and why; nothing listens on the others meanwhile."""
    found = []
    for option, spec in mounted(settings, catalogue):
        address = parse(spec.address)
        if isinstance(address, tuple) and (why := _refused(*address)):
            found.append(Missing(f"cannot listen on {spec.address} here: {why}", option, spec.address))
    return found


def _refused(host: str, port: int) -> str:
    try:
        family, where = resolved(host, port)
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(where)
    except OSError as error:
        return "" if error.errno == errno.EADDRINUSE else explained(error)
    except UnicodeError:  # of the idna codec
        return "that is no host name"
    return ""
