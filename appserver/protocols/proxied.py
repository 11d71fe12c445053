"""HTTP behind a balancer that names the client first: the PROXY protocol, version 1 (proxy-protocol.txt)."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Any

from appserver.protocols.codec import ProtocolError
from appserver.protocols.framing import BAD_REQUEST
from appserver.protocols.http import HttpCodec

if TYPE_CHECKING:
    from appserver.exchange import Exchange
    from appserver.protocols.http import Reader, RequestLimits

_LONGEST = 107  # bytes of the line with its end (section 2.1)
_LINE = re.compile(
    rb"PROXY (?:UNKNOWN(?: [\x21-\x7e ]*)?|TCP([46]) ([0-9a-fA-F:.]+) [0-9a-fA-F:.]+ ([0-9]{1,5}) [0-9]{1,5})"
)
_MISSING = "This port wants the PROXY protocol, version 1, in front of a connection's first request."


class ProxiedHttpCodec(HttpCodec):
    """Read the client's address from the first line of a connection, then requests."""

    __slots__ = ("named",)

    def __init__(self, base: dict[str, Any], reader: Reader, *limits: RequestLimits) -> None:
        super().__init__(base, reader, *limits)
        self.named = False

    def receive(self, data: bytes) -> Exchange | None:
        if self.named:
            return super().receive(data)
        data = self.buffer + data if self.buffer else data
        line, end, _ = data[:_LONGEST].partition(b"\r\n")
        if not end:
            if len(data) >= _LONGEST or not data.startswith(b"PROXY "[: len(data)]):
                raise ProtocolError(BAD_REQUEST, _MISSING)
            self.buffer = data
            return None
        self._name(line)
        self.named = True
        self.buffer = b""
        rest = data[len(line) + 2 :]
        return super().receive(rest) if rest else None

    def _name(self, line: bytes) -> None:
        match = _LINE.fullmatch(line)
        if match is None:
            raise ProtocolError(BAD_REQUEST, _MISSING)
        if match[1] is None:  # UNKNOWN: the balancer itself asks
            return
        try:
            address = ipaddress.ip_address(match[2].decode())
        except ValueError:
            raise ProtocolError(BAD_REQUEST, "The address of the PROXY line is none.") from None
        if address.version != int(match[1]) or int(match[3]) > 65535:
            raise ProtocolError(BAD_REQUEST, "The address of the PROXY line is not of its kind.")
        self.base = self.base | {"REMOTE_ADDR": match[2].decode(), "REMOTE_PORT": match[3].decode()}
