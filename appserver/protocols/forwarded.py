"""What proxies say of their clients: ``X-Forwarded-...``, and ``Forwarded`` (RFC 7239).

Nothing of it is believed but what a trusted proxy says of who connected to it. So the chain is followed
from its right end, from one trusted proxy to the next, and the first address that is none of theirs is the
client; what stands to the left of it is the client's own.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from appserver.ip import address_of
from appserver.protocols.codec import ProtocolError
from appserver.protocols.fields import check_host, server_of
from appserver.protocols.framing import BAD_REQUEST

if TYPE_CHECKING:
    from collections.abc import Callable, Container

STANDARD = "forwarded"
FIELDS = {
    "x-forwarded-for": "HTTP_X_FORWARDED_FOR",
    "x-forwarded-proto": "HTTP_X_FORWARDED_PROTO",
    "x-forwarded-host": "HTTP_X_FORWARDED_HOST",
    "x-forwarded-port": "HTTP_X_FORWARDED_PORT",
}
_HANDSHAKES = {"ws": "http", "wss": "https"}  # as Traefik tells them; each begins as a request of HTTP
_KEYS = {**FIELDS, STANDARD: "HTTP_FORWARDED"}

# One `name=value` of a Forwarded element, or what separates them.
_PAIR = re.compile(r'\s*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s",;]+))\s*(?:([,;])|$)')
_NODE = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::([0-9]{1,5}))?").fullmatch
# An address with its zone (RFC 4007), such as the name of an interface; `address_of` takes any text for one.
_ZONED = re.compile(r"[0-9A-Fa-f:.]+%[0-9A-Za-z._~-]{1,15}").fullmatch


class Forwarded:
    """Change the environs of requests to what trusted proxies say; *names* are the fields that count.

    *note* is told of each value that is ignored because it is malformed: the field and the value.
    """

    def __init__(
        self, trusted: Container[str], names: frozenset[str], note: Callable[[str, str], None]
    ) -> None:
        self.trusted = trusted
        self.names = names
        self.note = note
        self.ignored: Counter[str] = Counter()  # values, by field

    def apply(self, environ: dict[str, Any]) -> None:
        """Set REMOTE_ADDR, the scheme, the host and the port of *environ* as far as they are told.

        ``REMOTE_ADDR`` is the peer before, and the client after it. What nobody trusted has written is
        taken away, lest the application believe it. Raise `ProtocolError` where a proxy contradicts itself.
        """
        trusted = environ.get("REMOTE_ADDR", "") in self.trusted
        told = {}
        for name, key in _KEYS.items():
            value = environ.get(key)
            if value is not None and trusted and name in self.names:
                told[name] = value
            elif value is not None:
                del environ[key]
        if STANDARD in told:
            told = self._standard(environ, told[STANDARD])
        if "x-forwarded-for" in told:
            self._follow(environ, told["x-forwarded-for"].split(","), "X-Forwarded-For")
        if "x-forwarded-proto" in told:
            self._scheme(environ, _one("X-Forwarded-Proto", told["x-forwarded-proto"]))
        if "x-forwarded-host" in told:
            self._host(environ, _one("X-Forwarded-Host", told["x-forwarded-host"]))
        if "x-forwarded-port" in told:
            self._port(environ, _one("X-Forwarded-Port", told["x-forwarded-port"]))

    def _ignore(self, name: str, value: str) -> None:
        self.ignored[name] += 1
        self.note(name, value)

    def _follow(self, environ: dict[str, Any], hops: list[str], name: str) -> int:
        """Go from hop to hop, the last first, as far as proxies are trusted; set the address found.

        Return how many hops count: 0 where the list is malformed, and ignored.
        """
        address, port = environ.get("REMOTE_ADDR", ""), environ.get("REMOTE_PORT", "")
        before, count = address, 0
        for text in reversed(hops):
            hop = text.strip()
            count += 1
            if hop.lower() == "unknown" or hop[:1] == "_":  # a proxy may keep its client to itself
                break
            node = _node(hop)
            if node is None:
                self._ignore(name, hop)
                return 0
            address, port = node
            if address not in self.trusted:
                break
        if address != before:
            environ["REMOTE_ADDR"] = address
            environ.pop("REMOTE_PORT", None)
            if port:
                environ["REMOTE_PORT"] = port
        return count

    def _scheme(self, environ: dict[str, Any], scheme: str) -> None:
        scheme = _HANDSHAKES.get(scheme, scheme)
        if scheme not in {"http", "https"}:
            self._ignore("X-Forwarded-Proto", scheme)
            return
        environ["wsgi.url_scheme"] = scheme
        environ.pop("HTTPS", None)
        if scheme == "https":
            environ["HTTPS"] = "on"
        if "REQUEST_SCHEME" in environ:
            environ["REQUEST_SCHEME"] = scheme

    def _host(self, environ: dict[str, Any], host: str) -> None:
        try:
            check_host(host)
        except ProtocolError:
            self._ignore("X-Forwarded-Host", host)
            return
        environ["HTTP_HOST"] = host
        environ["SERVER_NAME"], environ["SERVER_PORT"] = server_of(environ)

    def _port(self, environ: dict[str, Any], port: str) -> None:
        if not (port.isascii() and port.isdigit() and 0 < len(port) < 6 and 0 < int(port) < 65536):
            self._ignore("X-Forwarded-Port", port)
            return
        environ["SERVER_PORT"] = port

    def _standard(self, environ: dict[str, Any], value: str) -> dict[str, str]:
        """Take the client from ``Forwarded``; return what its hop says else, by the other fields' names."""
        elements = _elements(value)
        if elements is None:
            self._ignore("Forwarded", value)
            return {}
        count = self._follow(environ, [each.get("for", "unknown") for each in elements], "Forwarded")
        hop = elements[-count] if count else {}
        return {f"x-forwarded-{name}": hop[name] for name in ("proto", "host") if name in hop}


def _one(name: str, value: str) -> str:
    """Return the value that a field has, be it repeated."""
    values = {each.strip().lower() for each in value.split(",")}
    if len(values) > 1:
        raise ProtocolError(BAD_REQUEST, f"{name} says several things: {value[:80]!r}.")
    return values.pop()


def _node(text: str) -> tuple[str, str] | None:
    """Return the address and port that an element names; the port is "" where it is not told."""
    bare = _NODE(text)
    host, port = (bare[1] or bare[2], bare[3] or "") if bare else (text, "")
    if "%" in host and not _ZONED(host):
        return None
    try:
        if port and int(port) > 65535:
            return None
        return str(address_of(host)), port
    except ValueError:
        return None


def _elements(value: str) -> list[dict[str, str]] | None:
    """Return the pairs of each element of a Forwarded field, None for what is no such field."""
    elements: list[dict[str, str]] = [{}]
    at = 0
    while at < len(value):
        match = _PAIR.match(value, at)
        if match is None:
            return None
        name = match[1].lower()
        if name in elements[-1]:
            return None
        elements[-1][name] = re.sub(r"\\(.)", r"\1", match[2]) if match[3] is None else match[3]
        if match[4] == ",":
            elements.append({})
        at = match.end()
        if match[4] is None and at < len(value):
            return None
    return elements if all(elements) else None
