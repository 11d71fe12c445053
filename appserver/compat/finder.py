"""Find ``uwsgi`` and ``uwsgidecorators`` when an application imports them; begin what they were asked."""

from __future__ import annotations

import atexit
import os
import sys
from importlib.machinery import ModuleSpec
from time import time
from typing import TYPE_CHECKING, Any

from appserver import forks
from appserver.compat.decorators import Decorators
from appserver.compat.drivers import Drivers
from appserver.compat.module import Uwsgi
from appserver.compat.signals import SIGNALS

if TYPE_CHECKING:
    from types import ModuleType

    from appserver.options import Settings
    from appserver.plan import Plan


class Finder:
    """Make the two modules when they are imported, and not before: nobody else is to believe in uWSGI."""

    def __init__(self, settings: Settings, plan: Plan | None, *, supervised: bool) -> None:
        self._settings = settings
        self._plan = plan
        self._drivers = Drivers(plan)
        self._supervised = supervised
        self._server = os.getppid() if supervised else os.getpid()
        self._started = int(time())

    def find_spec(
        self, fullname: str, path: Any = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the specification of what is made here; raise `ImportError` for what hangs here."""
        self._drivers.check(fullname)
        if fullname not in {"uwsgi", "uwsgidecorators"} and not self._drivers.makes(fullname):
            return None
        return ModuleSpec(fullname, self)  # type: ignore[arg-type]  # importlib.abc would import tempfile and more

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Make a module."""
        if spec.name == "uwsgi":
            return Uwsgi(
                self._settings, self._plan, supervised=self._supervised, server=self._server,
                started=self._started,
            )  # fmt: skip
        if self._drivers.makes(spec.name):
            return self._drivers.made()
        return Decorators()

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: it is complete."""


def install(settings: Settings, plan: Plan | None = None, *, supervised: bool) -> None:
    """Let the application find the modules from now on; without a *plan* nothing will be served."""
    sys.meta_path[:] = [each for each in sys.meta_path if not isinstance(each, Finder)]
    sys.meta_path.insert(0, Finder(settings, plan, supervised=supervised))


def begin() -> None:
    """Do in a worker what the application has asked the modules for while it was loaded."""
    module = sys.modules.get("uwsgi")
    hook = vars(module).get("post_fork_hook") if module is not None else None
    if callable(hook):
        hook()
    decorators = sys.modules.get("uwsgidecorators")
    if isinstance(decorators, Decorators):
        decorators.begin()
    atexit.register(_end)
    SIGNALS.begin()
    forks.leave()


def _end() -> None:
    """Do at the end of a worker what the application has asked for by then."""
    module = sys.modules.get("uwsgi")
    hook = vars(module).get("atexit") if module is not None else None
    if callable(hook):
        hook()
