"""Which listeners exist: those that the entry-point group ``appserver.listeners`` names."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from appserver.entrypoints import EntryPoint, entry_points
from appserver.options import options_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from appserver.listeners.listener import Listener

GROUP = "appserver.listeners"
# Of `Listener`, which gives those that derive from it most of them; an address may be the instance's.
_PARTS = (
    "name", "Options", "subscribes", "dangers", "bind", "follows", "take_over", "adapt", "attendant",
    "refuse", "abandon", "sever", "waiting", "start", "stop", "in_hand", "busy", "close",
)  # fmt: skip


class RegistryError(Exception):
    """Say which plug-in cannot be used, and why."""


def listeners(found: Iterable[EntryPoint] | None = None) -> dict[str, type[Listener]]:
    """Return the registered listener classes by name; raise `RegistryError` for a bad one.

    *found* are the entry points to look at, by default all that are installed.
    """
    classes: dict[str, type[Listener]] = {}
    sources: dict[str, str] = {}
    points = entry_points(GROUP) if found is None else found
    for point in sorted(points, key=lambda point: point.name):
        source = f"{point.value} ({point.distribution})" if point.distribution else point.value
        if point.name in classes:
            if sources[point.name] == source:
                continue  # one distribution, seen twice on sys.path
            raise RegistryError(
                f"the listener {point.name} is provided twice, by {sources[point.name]} and by"
                f" {source}; uninstall one of them"
            )
        try:
            listener = point.load()
        except Exception as error:
            raise RegistryError(
                f"the listener {point.name} of {source} cannot be loaded: {type(error).__name__}: {error}"
            ) from error
        _check(point.name, listener, source)
        classes[point.name] = listener
        sources[point.name] = source
    if not classes:
        raise RegistryError("no listener is registered; run pip install . in the checkout of appserver")
    return classes


def _check(name: str, listener: object, source: str) -> None:
    missing = [part for part in _PARTS if not hasattr(listener, part)]
    missing += sorted(getattr(listener, "__abstractmethods__", ()))
    if not isinstance(listener, type) or missing:
        raise RegistryError(
            f"the listener {name} of {source} is malformed: it lacks {', '.join(missing) or 'a class'}"
        )
    declared = listener.Options  # type: ignore[attr-defined]
    if not (isinstance(declared, type) and dataclasses.is_dataclass(declared)):
        raise RegistryError(f"the listener {name} of {source} is malformed: Options is no dataclass")
    try:
        mounts = [option for option in options_of(declared) if option.mounts]
    except KeyError:
        raise RegistryError(
            f"the listener {name} of {source} is malformed: its Options are not declared by option()"
        ) from None
    except ValueError as error:
        raise RegistryError(f"the listener {name} of {source} is malformed: {error}") from None
    if len(mounts) != 1 or not mounts[0].repeats:
        raise RegistryError(
            f"the listener {name} of {source} is malformed: exactly one of its Options must mount"
            " listeners and be repeatable"
        )
    if listener.name != name:  # type: ignore[attr-defined]
        raise RegistryError(
            f"the listener {name} of {source} is malformed: it calls itself {listener.name!r}"  # type: ignore[attr-defined]
        )
