"""How a listening socket is shut without losing whom the kernel has let in already."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress

_SO_ATTACH_FILTER = 26
# The kernel's packet filter (socket(7)): load the byte of flags; if it has SYN drop the packet, else take it.
_STEPS = ((0x30, 0, 0, 13), (0x45, 0, 1, 2), (6, 0, 0, 0), (6, 0, 0, 0xFFFFFFFF))
_NO_SYN = b"".join(struct.pack("@HBBI", *step) for step in _STEPS)


def shut(listening: socket.socket) -> None:
    """Have no more connections come, while those that wait can still be accepted.

    The kernel refuses them for a Unix socket (unix(7)). It would reset those that wait for a TCP
    socket, as it does when that is closed; so there it drops the first packet of new ones, which
    their clients send again after a second.
    """
    with suppress(OSError):
        if listening.family == socket.AF_UNIX:
            listening.shutdown(socket.SHUT_RD)
            return
        from ctypes import addressof, create_string_buffer  # noqa: PLC0415  (only at the end)

        program = create_string_buffer(_NO_SYN)
        filtering = struct.pack("@HP", len(_STEPS), addressof(program))
        listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filtering)
