"""Files and directories that are only read, and that are not there: a server starts without them."""

from __future__ import annotations

import os
from stat import S_ISDIR
from typing import TYPE_CHECKING

from appserver.application import ApplicationOptions
from appserver.directories import Missing
from appserver.hooks import HookOptions, wanted
from appserver.listeners.options import Mongrel2ServerOptions
from appserver.spec import Spec
from appserver.static.options import StaticOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from appserver.options import Catalogue, Settings


_BEFORE = ("asap", "as-root", "as-user", "pre-app")  # stages of hooks


def absent(settings: Settings, catalogue: Catalogue, current: str) -> list[Missing]:
    """Return those that are not there; relative ones are below *current*, or below ``chdir``.

    What is run before the application is loaded may make them, so then nothing is known of them.
    """
    if any(wanted(settings.of(HookOptions), stage) for stage in _BEFORE):
        return []
    below = os.path.join(current, settings.of(ApplicationOptions).chdir)
    found = []
    for option, value, path, without in (*_static(settings), *_uploads(settings, catalogue)):
        if why := _wrong(os.path.join(below, path)):
            found.append(Missing(f"{why}: {without}", option, value))
    return found


def _wrong(path: str) -> str:
    """Return why nothing can be read at a path, or below it where it is a directory; empty where it can."""
    try:
        right = os.X_OK if S_ISDIR(os.stat(path).st_mode) else os.R_OK  # to be listed is not needed
        usable = os.access(path, right, effective_ids=True)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a name with NUL
        return f"there is no {path}"
    except OSError:
        usable = False
    return "" if usable else f"{path} cannot be read by this user"


def _static(settings: Settings) -> Iterator[tuple[str, str, str, str]]:
    """Yield option, value, path, and what becomes of requests without it."""
    options = settings.of(StaticOptions)
    for option, mappings in (("static-map", options.static_map), ("static-map2", options.static_map2)):
        for prefix, path in mappings:
            yield option, path, path, f"the application gets what begins with {prefix or '/'}"
    for option, paths, without in (
        ("check-static", options.check_static, "the application gets all requests"),
        ("static-safe", options.static_safe, "no link can lead there"),
        ("static-gzip-dir", options.static_gzip_dir, "no file can be below it"),
        ("mimefile", options.mimefile, "it gives no types"),
    ):
        for path in paths:
            yield option, path, path, without


def _uploads(settings: Settings, catalogue: Catalogue) -> Iterator[tuple[str, str, str, str]]:
    """Yield the same of what is read behind Mongrel2."""
    for _, each in settings.mounts:
        if catalogue.by_name[each.name].expects == "address":
            continue
        spec = Spec(each.value or "")
        options = spec.of(settings, Mongrel2ServerOptions)
        for field, path in (
            ("mongrel2_upload_dir", options.mongrel2_upload_dir),
            ("mongrel2_chroot", options.mongrel2_chroot),
        ):
            if path:
                option = each.name if spec.has(field) else field.replace("_", "-")
                yield option, path, path, "large bodies are refused"
