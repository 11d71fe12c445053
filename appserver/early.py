"""What was imported before the standard library was patched, and has kept parts of it as they were.

What this server itself has kept is meant so.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_BLOCKS = "what waits in it holds up all other requests"
_LOCKS = "a request that waits for it holds up the one that would let it go, for ever"
_SHARES = "what one request leaves in it is seen by the others"
LOOPS = "a request that runs asyncio makes the others fail that do, too"

# What matters of all that gevent replaces, and why. The rest looks these up when it is called.
_PARTS = {
    "time": {"sleep": _BLOCKS},
    "socket": dict.fromkeys(
        ("socket", "SocketType", "getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr",
         "getnameinfo"), _BLOCKS,
    ),
    "select": dict.fromkeys(("select", "poll", "epoll"), _BLOCKS),
    "selectors": dict.fromkeys(("DefaultSelector", "EpollSelector"), _BLOCKS),
    "ssl": dict.fromkeys(("SSLContext", "SSLSocket", "wrap_socket"), _BLOCKS),
    "subprocess": {"Popen": _BLOCKS},
    "os": {"waitpid": _BLOCKS},
    "queue": {"SimpleQueue": _LOCKS},
    "threading": {"Lock": _LOCKS, "_allocate_lock": _LOCKS, "_CRLock": _LOCKS, "local": _SHARES},
    "_thread": {"allocate_lock": _LOCKS, "start_new_thread": _BLOCKS, "_local": _SHARES},
}  # fmt: skip

# Whose modules are not looked at: the standard library's and gevent's, which gevent takes care of, and ours.
_NOT_THEIRS = sys.stdlib_module_names | {
    "gevent", "greenlet", "zope", "appserver", "zmq", "h11", "httptools", "msgspec", "setproctitle",
    "_distutils_hack",
}  # fmt: skip

_SHOWN = 3  # parts of a module that are named
_DEPTH = 2  # objects within an object that are looked into, as a lock is in a queue's condition


class _Part(NamedTuple):
    """A part of the standard library as it was."""

    name: str
    value: Any
    why: str


def _of_asyncio() -> Iterator[_Part]:
    """Yield what asyncio gives to whoever imports it."""
    module = sys.modules.get("asyncio")
    if module is not None:
        yield _Part("asyncio", module, LOOPS)
        for name in module.__all__:
            value = getattr(module, name)
            if getattr(value, "__module__", "").partition(".")[0] in {"asyncio", "_asyncio"}:
                yield _Part(f"asyncio.{name}", value, LOOPS)


class Originals:
    """What is replaced: parts of the standard library that gevent has *saved*, and asyncio."""

    def __init__(self, saved: Mapping[str, Mapping[str, Any]]) -> None:
        parts = [
            _Part(f"{module}.{name}", saved[module][name], why)
            for module, names in _PARTS.items()
            for name, why in names.items()
            if saved.get(module, {}).get(name) is not None
        ]
        parts += [
            _Part("threading.Lock", type(each.value()), each.why)
            for each in parts
            if each.name == "threading.Lock" and not isinstance(each.value, type)
        ]
        parts += _of_asyncio()
        self._by_identity = {id(each.value): each for each in reversed(parts)}
        self._types = {each.value: each for each in reversed(parts) if isinstance(each.value, type)}

    def kept_by(self, module: ModuleType) -> Iterator[tuple[str, str]]:
        """Yield what *module* has of them at its top, as a description, and the consequence."""
        for name, value in list(vars(module).items()):
            part = self._by_identity.get(id(value))
            if part is not None:
                yield part.name, part.why
            elif isinstance(value, type):
                part = self._behind(value) if value.__module__ == module.__name__ else None
                if part is not None:
                    yield f"{name}, which is made of {part.name}", part.why
            else:
                part = self._within(value, _DEPTH)
                if part is not None:
                    yield f"{name}, which has a {part.name}", part.why

    def _behind(self, kind: type) -> _Part | None:
        """Return which of them a class is, or is derived from."""
        return next((self._types[base] for base in kind.__mro__ if base in self._types), None)

    def _within(self, value: object, depth: int) -> _Part | None:
        """Return which of them an object is, or has."""
        part = self._behind(type(value))
        if part is not None or not depth:
            return part
        try:
            inside = vars(value)
        except Exception:  # noqa: BLE001  (it may be a property, as proxies have)
            return None
        if type(inside) is not dict or type(value) is ModuleType:
            return None
        return next(
            (found for each in list(inside.values()) if (found := self._within(each, depth - 1)) is not None),
            None,
        )


def kept(names: Iterable[str], saved: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Return what modules of *names* have kept of `Originals`, each with the consequence.

    *names* are those of the modules that there were when the standard library was patched.
    """
    originals = Originals(saved)
    found = {}
    for name in names:
        module = sys.modules.get(name)
        if name.partition(".")[0] in _NOT_THEIRS or type(module) is not ModuleType:
            continue
        if has := dict(originals.kept_by(module)):
            found[name] = has
    return found


def warnings(kept: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return a warning for each module that has *kept* something."""
    found = []
    for name, has in kept.items():
        more = f" and {len(has) - _SHOWN} more" if len(has) > _SHOWN else ""
        what = ", ".join(list(has)[:_SHOWN])
        found.append(
            f"{name} was imported before the standard library was patched, and has kept {what}{more}: "
            f"{'; '.join(dict.fromkeys(has.values()))}; have the application import it, "
            "and no .pth file, sitecustomize or plug-in"
        )
    return found
