"""Ports for servers that are told one before they listen, or that come again on the same one."""

from __future__ import annotations

import random
import socket
from collections import deque

_claims = deque()  # what says that a port is ours, for as long as we may want it
_MOST = 200


def free_port():
    """Return a TCP port that nobody uses and that no other process that runs tests is given.

    It is below those that the kernel gives to clients, so that nobody gets it by chance before the server
    listens.
    """
    while True:
        port = random.randrange(10000, 32000)
        claim = socket.socket(socket.AF_UNIX)
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                claim.bind(f"\0appserver-tests-port-{port}")
                sock.bind(("127.0.0.1", port))
            except OSError:
                claim.close()
                continue
        _claims.append(claim)
        if len(_claims) > _MOST:
            _claims.popleft().close()
        return port
