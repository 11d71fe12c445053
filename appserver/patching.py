"""Patch the standard library for greenlets, before anything of the application is imported."""

from __future__ import annotations

import logging
import sys
import warnings
from functools import wraps
from typing import TYPE_CHECKING, Any

from gevent import monkey

from appserver import early
from appserver.application import LoadError

if TYPE_CHECKING:
    from collections.abc import Callable

    from appserver.plan import ConcurrencyOptions, Plan

log = logging.getLogger("appserver")

_NOT_DONE = {"patch_module", "patch_sys"}  # what an application may well want besides


class Patching:
    """Patch where the options say so, and notice where the application does so by itself.

    ``warnings`` are all so far. *plan* is None where the options have none; then nothing will be served.
    """

    def __init__(self, options: ConcurrencyOptions, plan: Plan | None) -> None:
        self.warnings: list[str] = []
        self._options = options
        self._native = plan is not None and (plan.native or plan.loops > 1)
        self._live = False  # warnings go to the log as they come
        self._places: set[str] = set()
        if options.gevent and not options.gevent_monkey_patch:
            return  # it is the application's business
        if options.gevent:
            before = list(sys.modules)
            _quietly(monkey.patch_all)
            kept = early.kept(before, monkey.saved)
            self.warnings += early.warnings(kept)
            if not any(early.LOOPS in each.values() for each in kept.values()):
                _renew_asyncio()
        for name in monkey.__all__:
            if name.startswith("patch_") and name not in _NOT_DONE:
                setattr(monkey, name, self._noting(name, getattr(monkey, name)))

    def tell(self) -> None:
        """Write the warnings to the log, and those that are still to come at once."""
        self._live = True
        for warning in self.warnings:
            log.warning("%s", warning)

    def _noting(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function of gevent's that we are told of when it is called by others."""

        @wraps(original)
        def call(*args: Any, **options: Any) -> Any:
            caller = sys._getframe(1)  # noqa: SLF001  (there is no other way)
            if caller.f_globals.get("__name__", "").partition(".")[0] == "gevent":
                return original(*args, **options)
            given = ", ".join([*map(repr, args), *(f"{key}={value!r}" for key, value in options.items())])
            self._note(f"{caller.f_code.co_filename}:{caller.f_lineno}", f"gevent.monkey.{name}({given})")
            return _quietly(original, *args, **options)

        return call

    def _note(self, place: str, call: str) -> None:
        """Judge a call of gevent's at some place of the application; raise `LoadError` where it ends all."""
        if self._native:
            raise LoadError(
                "threads",
                f"{place} calls {call}: threads would be greenlets of one thread; set gevent = N instead",
            )
        if place in self._places:
            return
        self._places.add(place)
        if self._options.gevent:
            text = (
                f"{place} calls {call}, but the server has patched the standard library already, and what "
                "the call leaves out stays patched: remove it, or set gevent-monkey-patch = false"
            )
        else:
            text = f"{place} calls {call}, but requests run one at a time without gevent: set gevent = N"
        self.warnings.append(text)
        if self._live:
            log.warning("%s", text)


def _renew_asyncio() -> None:
    """Have asyncio imported anew, in Python, where it keeps the running loop in a `threading.local`.

    That is one for each greenlet now. In C it is one for each native thread.
    """
    for name in list(sys.modules):
        if name.partition(".")[0] == "asyncio":  # a master's
            del sys.modules[name]
    sys.modules["_asyncio"] = None  # type: ignore[assignment]  # None: there is none to import


def _quietly(patch: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Patch without gevent's warnings, which name what it takes care of, and fail under ``-W error``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", monkey.MonkeyPatchWarning)
        return patch(*args, **options)
