"""CGI variables, as uwsgi, FastCGI and SCGI carry them, made into a request."""

from __future__ import annotations

import re
from posixpath import normpath
from typing import TYPE_CHECKING, Any, Final

from appserver.exchange import Exchange
from appserver.protocols.codec import Codec, ProtocolError
from appserver.protocols.fields import (
    DROPPED,
    HOSTS,
    USUAL_METHODS,
    check_host,
    check_method,
    check_value,
    content_length,
    decoded,
    is_pem,
    joined,
    server_of,
)
from appserver.protocols.framing import BAD_REQUEST
from appserver.protocols.upgrade import Upgrade, asks
from appserver.protocols.variables import Variables

if TYPE_CHECKING:
    from collections.abc import Iterable

    from appserver.protocols.repeated import Entry

_DROPPED: Final = DROPPED - {"HTTP_TRANSFER_ENCODING", "HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE"} | {""}
_ONCE: Final = {"CONTENT_LENGTH": "0", "REQUEST_METHOD": ""}  # and what an empty one is before another
_OURS: Final = ("wsgi.", "appserver.")
_NOT_NAME = re.compile(r"[\x00-\x1f\x7f]").search
_CERTIFICATE = re.compile(r"(?!HTTP_).*CERT", re.IGNORECASE).match  # a client can set none of those names
_AUTHORITY = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?]*").match
_SLASH = re.compile("%(2[Ff])")  # an escaped one, which Apache can leave as it is


class CgiVariables(Variables):
    """Variables of a request, in one protocol's notation."""

    def key(self, name: str) -> str | None:
        if not name.isprintable():
            return None
        return "" if name in _DROPPED or name.startswith(_OURS) else name

    def unusual(self, data: bytes, at: int, end: int) -> dict[str, Any]:
        return merged(self.every(data, at, end))


def exchange(environ: dict[str, Any], codec: Codec) -> Exchange:
    """Return the request that a front end's variables describe.

    *environ* is what `CgiVariables` or `merged` make of them, with what is the server's own, and becomes the
    request's.
    Variables are data: none of them loads code, opens a file or sets this process's environment,
    and ``wsgi.*`` and ``appserver.*`` are this server's own to set.
    ``body_left`` is the Content-Length, or -1 for a chunked body (nginx decodes those and sends
    their length beside Transfer-Encoding, which then says nothing any more).
    Raise `ProtocolError` for what no request may carry.
    """
    # nginx sends these beside those without HTTP_; most requests have none, and to look costs least.
    if "HTTP_CONTENT_LENGTH" in environ:
        del environ["HTTP_CONTENT_LENGTH"]  # noqa: RUF051  (pop costs more, where there is nothing as well)
    if "HTTP_CONTENT_TYPE" in environ:
        del environ["HTTP_CONTENT_TYPE"]  # noqa: RUF051  (likewise)
    method = environ.get("REQUEST_METHOD")
    host = environ.get("HTTP_HOST")
    uri = environ.get("REQUEST_URI")
    if method not in USUAL_METHODS:
        environ["REQUEST_METHOD"] = _method(method, uri, host)
    if host and host not in HOSTS:
        check_host(host)
    if not environ.get("SERVER_PROTOCOL"):
        environ["SERVER_PROTOCOL"] = "HTTP/1.1"
    environ["wsgi.url_scheme"] = _scheme(environ)
    script = environ.get("SCRIPT_NAME")
    environ["SCRIPT_NAME"] = script.rstrip("/") if script else ""
    if "PATH_INFO" not in environ:
        _find_path(environ, script or "", uri or "")
    if "QUERY_STRING" not in environ:
        environ["QUERY_STRING"] = (uri or "").partition("?")[2]
    if not uri:
        path = environ["SCRIPT_NAME"] + environ["PATH_INFO"]
        environ["REQUEST_URI"] = f"{path}?{environ['QUERY_STRING']}".rstrip("?")
    if not environ.get("SERVER_NAME"):
        environ["SERVER_NAME"] = server_of(environ)[0]
    if not environ.get("SERVER_PORT"):
        environ["SERVER_PORT"] = server_of(environ)[1]
    if codec.trust is not None:
        codec.trust.apply(environ)
    if "HTTP_UPGRADE" in environ and _upgrades(environ, codec):
        x: Exchange = Upgrade(environ, codec)
    else:
        x = Exchange(environ, codec)
    length = environ.get("CONTENT_LENGTH")
    if length == "-1" and codec.multiplexed:  # Caddy's word for one that it does not know
        length = ""
    if "HTTP_TRANSFER_ENCODING" in environ:
        coding = environ.pop("HTTP_TRANSFER_ENCODING")
        if coding and not length:
            if coding.lower() != "chunked":
                raise ProtocolError(BAD_REQUEST, f"Transfer-Encoding {coding[:40]!r} is not served.")
            x.body_left = -1
    if length:
        x.body_left = content_length(length)
    elif length is not None:
        del environ["CONTENT_LENGTH"]
    if not environ.get("CONTENT_TYPE", "-"):
        del environ["CONTENT_TYPE"]
    return x


def _upgrades(environ: dict[str, Any], codec: Codec) -> bool:
    """Tell whether this is the first half of a handshake (RFC 6455 section 4.1), over what can carry frames.

    nginx makes a tunnel of the connection behind a 101, as of one to an HTTP server. Apache (2.4.71) does
    not, but passes the handshake on: its client would have a 101 without frames, and the call wait for some.
    """
    return (
        not codec.multiplexed
        and not environ.get("SERVER_SOFTWARE", "").startswith("Apache")
        and environ["REQUEST_METHOD"] == "GET"
        and environ["SERVER_PROTOCOL"] == "HTTP/1.1"
        and environ.get("CONTENT_LENGTH", "0") in {"", "0"}
        and not environ.get("HTTP_TRANSFER_ENCODING")
        and asks(environ)
    )


def merged(entries: Iterable[Entry]) -> dict[str, Any]:
    """Return variables among which something is repeated, not ours to take, or not to be printed.

    A repeated HTTP_* variable is a repeated header (nginx before 1.23 sends it so); of any other,
    and of HTTP_HOST, which Debian's lists set, the last one counts, because front ends append the
    operator's own to a standard list. So an empty CONTENT_LENGTH behind a client's says that no body is
    passed on; two that differ leave open where a body ends, and two methods, one of which may be empty, what
    was allowed. A value of several lines is a certificate in a variable for one.
    Raise `ProtocolError` for what no request may carry.
    """
    given: dict[str, Any] = {}
    for name, value in entries:
        if not name.isprintable() and _NOT_NAME(name):
            raise ProtocolError(BAD_REQUEST, f"{name[:80]!r} is no name of a variable.")
        if name.startswith(_OURS):
            continue
        if not (_CERTIFICATE(name) and is_pem(value)):
            check_value(name, value)
        if name in given:
            if name.startswith("HTTP_") and name != "HTTP_HOST":
                value = joined(name, given[name], value)  # noqa: PLW2901
            elif (
                name in _ONCE
                and value != (given[name] or _ONCE[name])
                and (value or name != "CONTENT_LENGTH")
            ):
                both = f"{given[name][:40]!r} and {value[:40]!r}"
                raise ProtocolError(BAD_REQUEST, f"{name} is given twice, as {both}.")
        given[name] = value
    for name in _DROPPED:
        given.pop(name, None)
    return given


def _method(method: str | None, uri: str | None, host: str | None) -> str:
    """Return a method that is less usual, or GET where a front end leaves it out."""
    if method:
        check_method(method)
        return method
    if uri is None and host is None:
        raise ProtocolError(BAD_REQUEST, "The request has no REQUEST_METHOD, REQUEST_URI or HTTP_HOST.")
    return "GET"


def _scheme(environ: dict[str, Any]) -> str:
    """Return the client's scheme: a stock REQUEST_SCHEME is plain behind whatever ends TLS."""
    scheme: str | None = environ.get("UWSGI_SCHEME")
    if scheme == "http" or scheme == "https":
        return scheme
    if environ.get("REQUEST_SCHEME") == "https":
        return "https"
    https: str | None = environ.get("HTTPS")
    return "https" if https and https.lower() in {"on", "1"} else "http"


def _find_path(environ: dict[str, Any], script: str, uri: str) -> None:
    """Add PATH_INFO where the front end has not split the path.

    What the front end's rules were about counts: the path that it has normalised and rewritten. nginx tells
    it as DOCUMENT_URI, and its stock fastcgi_params once more as SCRIPT_NAME: for WSGI that is an application
    mounted at the root. Any other SCRIPT_NAME is the mount, also of a path from which a rule has taken it.
    """
    path: str | None = environ.get("DOCUMENT_URI")
    if not path:
        _find_path_in_uri(environ, script, uri)
        return
    if path == script:
        environ["SCRIPT_NAME"] = ""
    elif path.startswith(environ["SCRIPT_NAME"] + "/"):
        path = path[len(environ["SCRIPT_NAME"]) :]
    environ["PATH_INFO"] = path


def _find_path_in_uri(environ: dict[str, Any], script: str, uri: str) -> None:
    """Add PATH_INFO where only the URI and perhaps SCRIPT_NAME tell the path.

    Apache's SCRIPT_NAME is the whole path, normalised, which a client can make the beginning of its URI: with
    /pub/secret/.. the first is /pub/, and no mount. With AllowEncodedSlashes NoDecode %2F is left in it.
    """
    authority = _AUTHORITY(uri)
    if authority is not None:
        uri = uri[authority.end() :]
        if uri[:1] != "/":
            uri = f"/{uri}"
    raw = uri.partition("?")[0]
    path = decoded(raw)
    check_value("The path", path)
    mount: str = environ["SCRIPT_NAME"]
    if path == script or not script:
        mount = ""
    elif not path.startswith(f"{mount}/") or (path != f"{mount}/" and mount in _normal_forms(raw)):
        mount = ""
        if _SLASH.sub("/", script) != path:
            path = script
    environ["SCRIPT_NAME"] = mount
    environ["PATH_INFO"] = path[len(mount) :]


def _normal_forms(raw: str) -> tuple[str, str]:
    """Return what a front end can make of an escaped path, less a slash at the end: %2F kept, and decoded."""
    path = normpath("/" + decoded(_SLASH.sub(r"%25\1", raw)).lstrip("/")).rstrip("/")
    return path, _SLASH.sub("/", path)
