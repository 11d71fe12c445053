"""Answer requests for static files, and leave all others to the application."""

from __future__ import annotations

import mimetypes
import os
import re
from time import time
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote

from appserver.dates import http_date
from appserver.exchange import ANSWERED_BY
from appserver.options import octets
from appserver.static.conditions import Unsatisfiable, changed, part, takes, unchanged
from appserver.static.files import Found, Roots

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from appserver.static.options import StaticOptions
    from appserver.wsgi import Application

_BLOCK = 65536
# In the environ, while rules are tried: the file that is served unless one of them answers.
_FOUND = "appserver.found"
_CODINGS = (("br", ".br"), ("gzip", ".gz"))  # the first that the client takes, and that there is
_UNKNOWN = "application/octet-stream"
# Paths that mean the same to all front ends: lighttpd unescapes an X-Sendfile, and so does mod_xsendfile 1,
# but 0.12 does not.
_UNAMBIGUOUS = re.compile(r"[^%\x00-\x1f\x7f]*(?<! )").fullmatch

Headers = list[tuple[str, str]]


class _Part:
    """Iterate over a part of a file; ``close`` closes it."""

    def __init__(self, file: BinaryIO, first: int, end: int) -> None:
        self._file = file
        self._left = end - first
        self.close = file.close
        file.seek(first)

    def __iter__(self) -> Iterator[bytes]:
        while self._left and (data := self._file.read(min(self._left, _BLOCK))):
            self._left -= len(data)
            yield data


class Static:
    """Serve the files that the options name, and call *app* where there is none.

    *ruled* puts the rules of ``route`` around an application. They see the path of the file that is served,
    which for a directory is that of its index, as in uWSGI.
    """

    def __init__(
        self,
        options: StaticOptions,
        app: Application,
        ruled: Callable[[Application], Application] | None = None,
    ) -> None:
        self._options = options
        self._app = ruled(app) if ruled else app
        self._file = ruled(self._answer) if ruled else self._answer
        self._roots = Roots(options)
        self._gzip_directories = tuple(
            os.path.realpath(each).rstrip("/") + "/" for each in options.static_gzip_dir
        )
        self._types = mimetypes.MimeTypes()
        self._own = mimetypes.MimeTypes()
        self._own.types_map[True].clear()
        for path in (*mimetypes.knownfiles, *options.mimefile):
            if os.path.isfile(path):
                self._types.read(path)
                if path in options.mimefile:
                    self._own.read(path)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] not in {"GET", "HEAD"}:
            return self._app(environ, start_response)
        path = environ.get("PATH_INFO", "")
        found = self._roots.find(path)
        if found is None:
            return self._app(environ, start_response)
        if found.index:
            environ["PATH_INFO"] = f"{path}{'' if path.endswith('/') else '/'}{octets(found.index)}"
        environ[_FOUND] = found
        try:
            return self._file(environ, start_response)
        finally:
            if _FOUND in environ:  # a rule has answered
                os.close(environ.pop(_FOUND).fd)

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        found: Found = environ.pop(_FOUND)
        environ[ANSWERED_BY] = "static"
        kind, coding = self._types.guess_type(found.path)
        if coding and (own := self._own_type(found.path)):
            kind, coding = own, None
        headers = [("Content-Type", _UNKNOWN if coding or kind is None else kind)]
        self._expire(headers, found, kind or "", environ)
        if passed := self._passed(found):
            os.close(found.fd)
            start_response("200 OK", [*headers, passed])
            return []
        if self._may_be_zipped(found):
            headers.append(("Vary", "Accept-Encoding"))
            accepted = environ.get("HTTP_ACCEPT_ENCODING")
            for coding, ending in _CODINGS:
                if takes(coding, accepted) and (zipped := self._roots.beside(found, ending)):
                    os.close(found.fd)
                    found = zipped
                    headers.append(("Content-Encoding", coding))
                    break
        return _answer(found, headers, environ, start_response)

    def _own_type(self, path: str) -> str | None:
        """Return the operator's own type for an ending that tells a coding else, None where there is none."""
        types, ending = self._own.types_map[True], os.path.splitext(path)[1]
        return types.get(ending) or types.get(ending.lower())

    def _passed(self, found: Found) -> tuple[str, str] | None:
        """Return the field by which the front end is told to send a file; None where it is sent here."""
        mode = self._options.file_serve_mode
        if mode == "x-accel-redirect":  # a URI to nginx
            return "X-Accel-Redirect", quote(os.fsencode(found.path))
        if mode == "x-sendfile" and _UNAMBIGUOUS(found.path):
            return "X-Sendfile", os.fsencode(found.path).decode("latin-1")
        return None

    def _may_be_zipped(self, found: Found) -> bool:
        options = self._options
        return (
            options.static_gzip_all
            or found.path.endswith(options.static_gzip_ext)
            or found.path.startswith(self._gzip_directories)
            or any(regex.search(found.path) for regex in options.static_gzip)
        )

    def _expire(self, headers: Headers, found: Found, kind: str, environ: dict[str, Any]) -> None:
        mine = self._options
        path, uri = environ.get("PATH_INFO", ""), environ.get("REQUEST_URI", "")
        for subject, after_answer, after_change in (
            (found.path, mine.static_expires, mine.static_expires_mtime),
            (path, mine.static_expires_path_info, mine.static_expires_path_info_mtime),
            (uri, mine.static_expires_uri, mine.static_expires_uri_mtime),
            (kind, mine.static_expires_type, mine.static_expires_type_mtime),
        ):
            for rules, since in ((after_answer, time()), (after_change, found.status.st_mtime)):
                for rule, seconds in rules:
                    if rule == subject if isinstance(rule, str) else rule.search(subject):
                        headers.append(("Expires", http_date(int(since) + seconds)))
                        return


def _answer(
    found: Found, headers: Headers, environ: dict[str, Any], start_response: Callable[..., Any]
) -> Iterable[bytes]:
    """Answer with the file, a part of it, that the client has it, or that it is not the one that it wants."""
    size, modified = found.status.st_size, found.status.st_mtime
    tag = f'"{found.status.st_mtime_ns:x}-{size:x}"'
    headers += [
        ("ETag", tag), ("Last-Modified", http_date(int(modified))), ("Accept-Ranges", "bytes"),
    ]  # fmt: skip
    get = environ.get
    if changed(tag, modified, get("HTTP_IF_MATCH"), get("HTTP_IF_UNMODIFIED_SINCE")):
        os.close(found.fd)
        start_response("412 Precondition Failed", [("Content-Length", "0")])
        return []
    if unchanged(tag, modified, get("HTTP_IF_NONE_MATCH"), get("HTTP_IF_MODIFIED_SINCE")):
        os.close(found.fd)
        start_response("304 Not Modified", [each for each in headers if each[0] != "Content-Type"])
        return []
    try:
        asked = get("HTTP_RANGE") if environ["REQUEST_METHOD"] == "GET" else None
        wanted = part(size, tag, modified, asked, get("HTTP_IF_RANGE"))
    except Unsatisfiable:
        os.close(found.fd)
        start_response(
            "416 Range Not Satisfiable", [("Content-Range", f"bytes */{size}"), ("Content-Length", "0")]
        )
        return []
    file = os.fdopen(found.fd, "rb")
    if wanted is not None:
        first, end = wanted
        headers += [
            ("Content-Length", str(end - first)),
            ("Content-Range", f"bytes {first}-{end - 1}/{size}"),
        ]
        start_response("206 Partial Content", headers)
        return _Part(file, first, end)
    start_response("200 OK", [*headers, ("Content-Length", str(size))])
    if environ["REQUEST_METHOD"] == "HEAD" or not size:
        file.close()
        return []
    served: Iterable[bytes] = environ["wsgi.file_wrapper"](file)
    return served
