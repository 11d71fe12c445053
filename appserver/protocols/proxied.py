"""HTTP behind a balancer that names the client first: the PROXY protocol, versions 1 and 2.

Source: "The PROXY protocol, Versions 1 & 2", W. Tarreau (proxy-protocol.txt). It stands in front of a
connection's first request, and nowhere else.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Any

from appserver.ip import unmapped
from appserver.protocols.codec import ProtocolError
from appserver.protocols.framing import BAD_REQUEST
from appserver.protocols.http import USUAL, HttpCodec

if TYPE_CHECKING:
    from appserver.exchange import Exchange
    from appserver.protocols.http import Reader, RequestLimits

Named = tuple[str, str] | None  # the client's address and port, None where the balancer tells none

_LONGEST = 107  # bytes of version 1 with its end (section 2.1)
_LINE = re.compile(
    rb"PROXY (?:UNKNOWN(?: [\x21-\x7e ]*)?|TCP([46]) ([0-9a-fA-F:.]+) [0-9a-fA-F:.]+ ([0-9]{1,5}) [0-9]{1,5})"
)
_LINE_START = b"PROXY "
_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"  # of version 2 (section 2.2)
_HEAD = 16  # bytes before the addresses of version 2
_MOST = 4096  # bytes of addresses and further values in it
_LOCAL, _PROXY = 0x20, 0x21
# Bytes that the addresses of each family take: AF_UNSPEC, and streams over IPv4, IPv6 and Unix sockets.
_FAMILIES = {0x00: 0, 0x11: 12, 0x21: 36, 0x31: 216}
_MISSING = "This port wants the PROXY protocol, version 1 or 2, in front of a connection's first request."


class ProxiedHttpCodec(HttpCodec):
    """Read the client's address from the first bytes of a connection, then requests."""

    __slots__ = ("named",)

    def __init__(
        self,
        base: dict[str, Any],
        reader: Reader | None = None,
        limits: RequestLimits = USUAL,
        client: dict[str, str] | None = None,
    ) -> None:
        super().__init__(base, reader, limits, client)
        self.named = False

    def receive(self, data: bytes) -> Exchange | None:
        if self.named:
            return super().receive(data)
        data = self.buffer + data if self.buffer else data
        size, client = header(data)
        if not size:
            self.buffer = data
            return None
        self.named = True
        if client is not None:
            self.client = {"REMOTE_ADDR": client[0], "REMOTE_PORT": client[1]}
        self.buffer = b""
        rest = data[size:]
        return super().receive(rest) if rest else None


def header(data: bytes) -> tuple[int, Named]:
    """Return the length of the header that *data* begins with, 0 where more is needed, and the client.

    Raise `ProtocolError` for what is no such header.
    """
    if data.startswith(_SIGNATURE[: len(data)]):
        return _binary(data)
    if data.startswith(_LINE_START[: len(data)]):
        return _text(data)
    raise ProtocolError(BAD_REQUEST, _MISSING)


def _text(data: bytes) -> tuple[int, Named]:
    line, end, _ = data[:_LONGEST].partition(b"\r\n")
    if not end:
        if len(data) >= _LONGEST:
            raise ProtocolError(BAD_REQUEST, _MISSING)
        return 0, None
    match = _LINE.fullmatch(line)
    if match is None:
        raise ProtocolError(BAD_REQUEST, _MISSING)
    size = len(line) + 2
    if match[1] is None:  # UNKNOWN: the balancer itself asks
        return size, None
    try:
        address = ip_address(match[2].decode())
    except ValueError:
        raise ProtocolError(BAD_REQUEST, "The address of the PROXY line is none.") from None
    if address.version != int(match[1]) or int(match[3]) > 65535:
        raise ProtocolError(BAD_REQUEST, "The address of the PROXY line is not of its kind.")
    return size, (str(unmapped(address)), match[3].decode())


def _binary(data: bytes) -> tuple[int, Named]:
    """Read version 2; what stands behind the addresses (TLVs) is skipped."""
    if len(data) < _HEAD:
        return 0, None
    command, family, length = data[12], data[13], int.from_bytes(data[14:16], "big")
    if command not in {_LOCAL, _PROXY}:
        raise ProtocolError(BAD_REQUEST, f"{command:#04x} is no version and command of the PROXY protocol.")
    if length > _MOST:
        raise ProtocolError(BAD_REQUEST, f"The PROXY header has {length} bytes, {_MOST} at most are read.")
    if command == _PROXY and (family not in _FAMILIES or length < _FAMILIES[family]):
        raise ProtocolError(
            BAD_REQUEST,
            f"The addresses of the PROXY header, {length} bytes of family {family:#04x}, are none.",
        )
    size = _HEAD + length
    if len(data) < size:
        return 0, None
    if command == _LOCAL:  # the balancer itself asks
        return size, None
    if family == 0x11:
        return size, (str(IPv4Address(data[16:20])), str(int.from_bytes(data[24:26], "big")))
    if family == 0x21:
        return size, (str(unmapped(IPv6Address(data[16:32]))), str(int.from_bytes(data[48:50], "big")))
    return size, None  # a client on a Unix socket of the balancer's machine has no address to tell
