"""Where a server is reached in a run: addresses that nobody else uses, for one protocol."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from tests.support.ports import free_port

DOORS = ("http", "uwsgi", "fastcgi", "scgi", "mongrel2")


@dataclass(frozen=True)
class Place:
    """A door, and its addresses: TCP for HTTP and ZeroMQ, a Unix socket for what nginx is a neighbour of."""

    door: str
    directory: str
    port: int
    push: str  # of Mongrel2, which binds both
    sub: str

    @property
    def address(self) -> str:
        """The address as ini files write it."""
        return f"127.0.0.1:{self.port}" if self.door == "http" else f"{self.directory}/{self.door}.sock"

    def connect(self) -> socket.socket:
        """Return a new connection."""
        if self.door == "http":
            return socket.create_connection(("127.0.0.1", self.port), 10)
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.settimeout(10)
            sock.connect(self.address)
        except BaseException:
            sock.close()
            raise
        return sock


def free_place(door: str, directory: str) -> Place:
    """Return a place for a door; sockets and files of the run stand in the directory."""
    ports = [f"tcp://127.0.0.1:{free_port()}" for _ in range(2)]
    return Place(door, directory, free_port(), *ports)
