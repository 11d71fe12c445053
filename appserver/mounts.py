"""Several applications in one server: each is mounted where its requests' paths begin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from appserver.options import BadValue, option

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from appserver.wsgi import Application

_NOTHING = b"Not Found: no application is mounted here\n"


def mount(text: str) -> tuple[str, str]:
    """Convert ``mount``: ``/prefix=module:callable`` or ``/prefix=file.py``."""
    prefix, equals, what = text.partition("=")
    prefix, what = prefix.strip(), what.strip()
    if not equals or not prefix.startswith("/") or not what:
        raise BadValue("/prefix=module:callable or /prefix=file.py")
    return prefix.rstrip("/"), what


@dataclass(frozen=True)
class MountOptions:
    """Mounts."""

    mount: tuple[tuple[str, str], ...] = option(
        (), "An application for the requests whose SCRIPT_NAME is this prefix.", aliases=("worker-mount",),
        convert=mount, expects="/prefix=application", example="/blog=blog.wsgi:application",
        note="Every application is loaded as `module` and `wsgi-file` are.",
    )  # fmt: skip
    manage_script_name: bool = option(
        False, "Choose by the path instead, and move the prefix from PATH_INFO to SCRIPT_NAME.",
    )  # fmt: skip


class Mounts:
    """Give each request to the application that is mounted where it goes, or to *default*.

    *apps* are the applications by prefix, which has no slash at its end. Without *manage* the front
    end has set SCRIPT_NAME; with it the longest prefix of the path counts, up to a slash.
    """

    def __init__(self, apps: dict[str, Application], default: Application | None, *, manage: bool) -> None:
        self._apps = {prefix: app for prefix, app in apps.items() if prefix}
        self._default = apps.get("", default)
        self._manage = manage
        self._longest_first = sorted(self._apps, key=len, reverse=True)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        app = self._managed(environ) if self._manage else self._chosen(environ)
        if app is None:
            start_response("404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
            return [_NOTHING]
        return app(environ, start_response)

    def _managed(self, environ: dict[str, Any]) -> Application | None:
        path = environ["PATH_INFO"]
        for prefix in self._longest_first:
            if path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in {"", "/"}:
                environ["SCRIPT_NAME"] = prefix
                environ["PATH_INFO"] = path[len(prefix) :]
                return self._apps[prefix]
        return self._default

    def _chosen(self, environ: dict[str, Any]) -> Application | None:
        """Return the application that the front end has named by SCRIPT_NAME."""
        return self._apps.get(environ.get("SCRIPT_NAME", "").rstrip("/"), self._default)
