"""Options of static files, and the conversions of their values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from appserver.options import BadValue, octets, option, path, regex

if TYPE_CHECKING:
    import re

_MODES = {
    "direct": "direct", "x-sendfile": "x-sendfile", "xsendfile": "x-sendfile",
    "x-accel-redirect": "x-accel-redirect", "xaccelredirect": "x-accel-redirect", "nginx": "x-accel-redirect",
}  # fmt: skip


def mapping(text: str) -> tuple[str, str]:
    """Convert ``static-map``: ``/prefix=path``."""
    prefix, equals, target = text.partition("=")
    if not equals or not prefix.startswith("/") or not target.strip():
        raise BadValue("/prefix=directory, or /path=file")
    return prefix.strip().rstrip("/"), target.strip()


def expiry(text: str) -> tuple[re.Pattern[str], int]:
    """Convert ``static-expires``: a regular expression and seconds."""
    matched, _, count = text.rpartition(" ")
    if not matched.strip() or not (count.isascii() and count.isdigit()):
        raise BadValue("a regular expression, a blank and a number of seconds")
    return regex(matched.strip()), int(count)


def expiry_of_request(text: str) -> tuple[re.Pattern[str], int]:
    """Convert ``static-expires-path-info`` and ``-uri``: as `expiry`, for texts as WSGI has them."""
    return expiry(octets(text))


def expiry_of_type(text: str) -> tuple[str, int]:
    """Convert ``static-expires-type``: ``type=seconds``."""
    kind, _, count = text.partition("=")
    if "/" not in kind or not (count.isascii() and count.isdigit()):
        raise BadValue("type/subtype=seconds")
    return kind.strip().lower(), int(count)


def serve_mode(text: str) -> str:
    """Convert ``file-serve-mode``: the name of a field, or uWSGI's other words for it, in any case."""
    mode = _MODES.get(text.lower())
    if mode is None:
        raise BadValue("direct, x-sendfile or x-accel-redirect")
    return mode


def suffix(text: str) -> str:
    """Convert the end of a file's name."""
    if not text:
        raise BadValue("the end of a file's name, such as .php")
    return text


@dataclass(frozen=True)
class StaticOptions:
    """Static files."""

    static_map: tuple[tuple[str, str], ...] = option(
        (), "Serve the files below this directory for the paths below this prefix.", convert=mapping,
        expects="/prefix=directory", example="/static=/srv/mysite/static",
        note="The prefix ends at a slash: /static is not /staticfoo.",
    )  # fmt: skip
    static_map2: tuple[tuple[str, str], ...] = option(
        (), "As static-map, but with the prefix as a part of the file's path.", convert=mapping,
        expects="/prefix=directory", example="/static=/srv/mysite",
    )  # fmt: skip
    check_static: tuple[str, ...] = option(
        (), "Serve a file below this directory whenever there is one at the request's path.",
        aliases=("static-check",), expects="directory", convert=path,
    )  # fmt: skip
    static_index: tuple[str, ...] = option(
        (), "Serve the file of this name for its directory.", expects="file", example="index.html",
        note="Rules of `route` see the path of that file, as in uWSGI. A POST is the application's: its"
        " path stays that of the directory.",
    )  # fmt: skip
    static_safe: tuple[str, ...] = option(
        (), "Symbolic links may lead below this directory, too.", expects="directory", convert=path,
        example="/srv/shared",
    )  # fmt: skip
    static_skip_ext: tuple[str, ...] = option(
        (), "Serve no files whose names end so.", convert=suffix, expects="suffix", example=".php"
    )
    static_hidden: bool = option(
        False, "Serve files whose names begin with a dot, and .py, .pyc and .ini files, too.",
        note="own; uWSGI serves all files. What is below /.well-known is served in any case.",
    )  # fmt: skip
    static_expires: tuple[tuple[re.Pattern[str], int], ...] = option(
        (), "Let files whose names match expire so many seconds after the answer.", convert=expiry,
        expects="regex seconds", example="\\.css$ 86400",
        note="One Expires for an answer: of the file's name, else of the path, the target, or the type.",
    )  # fmt: skip
    static_expires_mtime: tuple[tuple[re.Pattern[str], int], ...] = option(
        (), "As static-expires, but so many seconds after the file's last change.", convert=expiry,
        expects="regex seconds", example="\\.css$ 86400",
    )  # fmt: skip
    static_expires_path_info: tuple[tuple[re.Pattern[str], int], ...] = option(
        (), "Let files expire by the request's path, so many seconds after the answer.",
        convert=expiry_of_request, expects="regex seconds", example="^/static/ 86400",
    )  # fmt: skip
    static_expires_path_info_mtime: tuple[tuple[re.Pattern[str], int], ...] = option(
        (), "As static-expires-path-info, but so many seconds after the file's last change.",
        convert=expiry_of_request, expects="regex seconds", example="^/static/ 86400",
    )  # fmt: skip
    static_expires_uri: tuple[tuple[re.Pattern[str], int], ...] = option(
        (), "Let files expire by the request's target, so many seconds after the answer.",
        convert=expiry_of_request, expects="regex seconds", example="^/static/.*\\?v= 86400",
    )  # fmt: skip
    static_expires_uri_mtime: tuple[tuple[re.Pattern[str], int], ...] = option(
        (), "As static-expires-uri, but so many seconds after the file's last change.",
        convert=expiry_of_request, expects="regex seconds", example="^/static/.*\\?v= 86400",
    )  # fmt: skip
    static_expires_type: tuple[tuple[str, int], ...] = option(
        (), "Let files expire by their type, so many seconds after the answer.", convert=expiry_of_type,
        expects="type=seconds", example="text/css=86400",
    )  # fmt: skip
    static_expires_type_mtime: tuple[tuple[str, int], ...] = option(
        (), "As static-expires-type, but so many seconds after the file's last change.",
        convert=expiry_of_type,
        expects="type=seconds", example="text/css=86400",
    )  # fmt: skip
    static_gzip: tuple[re.Pattern[str], ...] = option(
        (), "Serve file.br or file.gz in the place of files whose names match, where the client takes it.",
        convert=regex, expects="regex", example="\\.js$",
    )  # fmt: skip
    static_gzip_all: bool = option(False, "Serve file.br or file.gz in the place of every file that has one.")
    static_gzip_dir: tuple[str, ...] = option(
        (), "Serve file.br or file.gz in the place of files below this directory.",
        aliases=("static-gzip-prefix",), expects="directory", convert=path,
    )  # fmt: skip
    static_gzip_ext: tuple[str, ...] = option(
        (), "Serve file.br or file.gz in the place of files whose names end so.",
        aliases=("static-gzip-suffix",), convert=suffix, expects="suffix", example=".css",
    )  # fmt: skip
    mimefile: tuple[str, ...] = option(
        (), "Take the types of static files from this file, too.", aliases=("mime-file",), expects="file",
        example="/etc/mime.types",
    )  # fmt: skip
    file_serve_mode: str = option(
        "direct", "Who sends the files: this server, or the front end that is told the path.",
        aliases=("fileserve-mode",), expects="direct, x-sendfile or x-accel-redirect",
        convert=serve_mode, example="x-accel-redirect",
        note="X-Accel-Redirect has the path escaped, as nginx wants it; what not all front ends read alike "
        "in X-Sendfile, such as a name with a %, is sent by this server.",
    )  # fmt: skip
