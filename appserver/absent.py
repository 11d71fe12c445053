"""Files and directories that are only read, and that are not there: a server starts without them."""

from __future__ import annotations

import os
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
        where = os.path.join(below, path)
        if not os.path.lexists(where):
            found.append(Missing(f"there is no {where}: {without}", option, value))
        elif not os.access(where, os.R_OK):
            found.append(Missing(f"{where} cannot be read by this user: {without}", option, value))
    return found


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
