"""HTTP/1.1 and 1.0 for nginx's ``proxy_pass``, for browsers and for curl."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from appserver.ip import address_of
from appserver.listeners.stream import StreamListener
from appserver.options import BadValue, boolean, one_of, option, seconds
from appserver.protocols.http import HttpCodec, RequestLimits
from appserver.protocols.proxied import ProxiedHttpCodec
from appserver.protocols.readers import reader_named
from appserver.spec import Spec, checked, relative

if TYPE_CHECKING:
    from appserver.listeners.options import StreamOptions
    from appserver.listeners.patience import Limits
    from appserver.listeners.service import Service

_ANY = 1 << 62


def served(text: str) -> str:
    """Convert an address; in uWSGI's ``http`` one of a server for its router may stand behind it."""
    address, comma, backend = Spec(text).address.partition(",")
    try:
        return checked(text)
    except BadValue:
        if not comma:
            raise
        checked(address)
        told = f"no router passes requests on to {backend.strip()}, so leave out what follows {address}"
        raise BadValue(f"one address: {told}") from None


def kept(text: str) -> float | None:
    """Convert ``http-keepalive``: seconds, None where it is only on, or 0 where it is off."""
    try:
        return None if boolean(text) else 0.0
    except BadValue:
        return seconds(text)


@dataclass(frozen=True)
class HttpOptions:
    """HTTP."""

    http_socket: tuple[str, ...] = option(
        (), "Serve HTTP on this address.", aliases=("http", "http11-socket", "httprouter"), convert=served,
        expects="address", mounts=True, relative=relative,
        note="`http` and `http11-socket` are the same here: no router, and connections are kept.",
    )  # fmt: skip
    http_timeout: float | None = option(
        None, "The same as socket-timeout, for HTTP alone.", convert=seconds, expects="seconds",
        note="How long a client may be idle in a request or an answer.",
    )  # fmt: skip
    http_headers_timeout: float | None = option(
        None, "The same as header-timeout, for HTTP alone.", convert=seconds, expects="seconds",
    )  # fmt: skip
    http_keepalive: float | None = option(
        None, "The same as keepalive-timeout, for HTTP alone; 1 and true mean keepalive-timeout itself, 0 and"
        " false end each connection behind its answer.",
        convert=kept, expects="seconds", bare=True, example="30",
        note="Off in uWSGI until it is set. There, too, 1 is on, and not a second; but true is off.",
    )  # fmt: skip
    limit_request_line: int = option(
        8192, "Bytes that a request line may have, with its end; 0 = as many as buffer-size.",
        note="own; what is longer is answered 414.",
    )  # fmt: skip
    limit_request_fields: int = option(
        100, "Header fields that a request may have; 0 = any number that buffer-size has room for.",
        note="own; more are answered 431.",
    )  # fmt: skip
    limit_request_field_size: int = option(
        8190, "Bytes that a header field may have, with its name and end; 0 = as many as buffer-size.",
        note="own; what is longer is answered 431.",
    )  # fmt: skip
    limit_request_chunks: int = option(
        1_000_000, "Chunks of fewer than 256 bytes that a body may have; 0 = no limit.",
        note="own; more are answered 413.",
    )  # fmt: skip
    limit_request_trailers: int = option(
        64, "Trailer fields that a chunked body may have; they are checked and dropped.",
        note="own; more are answered 431.",
    )  # fmt: skip
    keepalive_requests: int = option(
        10_000, "Requests that are answered on one connection before it is closed; 0 = no limit.",
        note="own",
    )  # fmt: skip
    http_parser: str = option(
        "auto", "What reads request heads: auto means the server itself; all give the same verdicts.",
        convert=one_of("auto", "httptools", "h11"), expects="auto, httptools or h11",
        example="h11",
        note="own",
    )  # fmt: skip


class HttpListener(StreamListener):
    """Listen for HTTP."""

    name: ClassVar[str] = "http"
    Options: ClassVar[type] = HttpOptions
    speaks_for_clients: ClassVar[bool] = False

    def _limits(self, options: StreamOptions) -> Limits:
        limits = super()._limits(options)
        own = self.settings.of(HttpOptions)
        pause = limits.pause if own.http_timeout is None else own.http_timeout
        head = limits.head if own.http_headers_timeout is None else own.http_headers_timeout
        return replace(limits, pause=pause, head=head, idle=own.http_keepalive or limits.idle)

    def start(self, service: Service) -> None:
        super().start(service)
        own = self.settings.of(HttpOptions)
        self._reader = reader_named(own.http_parser)
        self._codec = ProxiedHttpCodec if self.trust.enable_proxy_protocol else HttpCodec
        size = self.options.buffer_size
        most = 1 if own.http_keepalive == 0 else own.keepalive_requests or _ANY
        self._request_limits = RequestLimits(
            size, own.limit_request_line or size, own.limit_request_fields or size,
            own.limit_request_field_size or size, own.limit_request_chunks or _ANY,
            own.limit_request_trailers, most,
        )  # fmt: skip
        host, _, port = self.address.rpartition(":") if self.tcp else ("localhost", "", "80")
        self.base |= {
            "SERVER_NAME": host, "SERVER_PORT": port, "SCRIPT_NAME": "",
            "REMOTE_ADDR": "", "wsgi.url_scheme": "http",
        }  # fmt: skip

    def codec(self, peer: Any) -> HttpCodec:
        client = None
        if self.tcp:
            host = peer[0]
            if host.startswith("::ffff:"):  # of IPv4, at a socket for both
                host = str(address_of(host))
            client = {"REMOTE_ADDR": host, "REMOTE_PORT": str(peer[1])}
        return self._codec(self.base, self._reader, self._request_limits, client)
