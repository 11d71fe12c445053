"""Several applications in one server: each is mounted where its requests' paths begin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from appserver.options import BadValue, octets, option

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from appserver.wsgi import Application

# In the environ: where the application is mounted that was given the request, for those who count.
MOUNT = "appserver.mount"
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
        note="Every application is loaded as `module` and `wsgi-file` are, all into one interpreter; a"
        " file that is mounted twice is run once. What is mounted nowhere goes to the application that has no"
        " mount, or to that of `/`. Where there is neither it goes to the first one, as in uWSGI, but"
        " in `[appserver]` and on the command line it is answered 404.",
    )  # fmt: skip
    no_default_app: bool = option(
        False, "Answer 404 to what is mounted nowhere, instead of giving it to the first application.",
        note="uWSGI answers 500. True is the default where `mount` comes from `[appserver]`, the command line"
        " or `APPSERVER_MOUNT`; set it to false there to fall back to the first application.",
    )  # fmt: skip
    manage_script_name: bool = option(
        False, "Choose among mounts by the path, and move the prefix from PATH_INFO to SCRIPT_NAME.",
        note="As in uWSGI it is moved first: rules of `route` and `static-map` see the path behind it.",
    )  # fmt: skip


class Managed:
    """Move the longest of the prefixes that the path has, up to a slash, to SCRIPT_NAME, and call *app*."""

    def __init__(self, prefixes: Iterable[str], app: Application) -> None:
        self._longest_first = sorted(map(octets, filter(None, prefixes)), key=len, reverse=True)
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        for prefix in self._longest_first:
            if path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in {"", "/"}:
                environ["SCRIPT_NAME"] = prefix
                environ["PATH_INFO"] = path[len(prefix) :]
                break
        return self._app(environ, start_response)


class Mounts:
    """Give each request to the application that is mounted at its SCRIPT_NAME, or to *default*.

    *apps* are the applications by prefix, which has no slash at its end. Without a default it is that of the
    root, without one of those that at *instead*. In a *strict* one only what names no mount goes there.
    """

    def __init__(
        self,
        apps: dict[str, Application],
        default: Application | None,
        instead: str = "",
        *,
        strict: bool = False,
    ) -> None:
        named = {"": None, **apps}
        if default is not None:
            named[""] = default
        self._apps = {octets(prefix): (prefix, app) for prefix, app in named.items()}
        if named[""] is None:
            self._apps[""] = self._apps[octets(instead)]
        self._default = ("", None) if strict else self._apps[""]

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        prefix, app = self._apps.get(environ.get("SCRIPT_NAME", "").rstrip("/"), self._default)
        if app is None:
            start_response("404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
            return [_NOTHING]
        environ[MOUNT] = prefix
        return app(environ, start_response)
