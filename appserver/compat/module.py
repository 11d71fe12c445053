"""The module ``uwsgi``: what an application may ask of its server."""

from __future__ import annotations

import logging
import os
import signal as unix
import socket
import sys
import time
from contextvars import ContextVar
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

from setproctitle import setproctitle

from appserver import __version__, forks, stacks, wsgi
from appserver.clock import Clock
from appserver.compat import websockets
from appserver.compat.features import ABSENT, REFUSED, refuse
from appserver.compat.locks import LOCKS, LockOptions
from appserver.compat.signals import SIGNALS, Alarm, Timer
from appserver.identity import generation, worker_id
from appserver.listeners.options import StreamOptions
from appserver.log.access import LOGVARS
from appserver.memory import memory
from appserver.options import Kind
from appserver.plan import ConcurrencyOptions
from appserver.wsgi import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from appserver.options import Settings
    from appserver.plan import Plan
    from appserver.wsgi import Application

log = logging.getLogger("appserver.application")

# The uWSGI that this is like: libraries ask before they use something, or warn of what older ones did wrong.
_LIKE = (2, 0, 31, 0, b"")

_logvars: ContextVar[dict[str, str] | None] = ContextVar("logvars", default=None)


class WithLogvars:
    """Call *app* so that ``uwsgi.set_logvar`` knows of which request it is."""

    def __init__(self, app: Application) -> None:
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        variables: dict[str, str] = {}
        environ[LOGVARS] = variables
        _logvars.set(variables)
        return self._app(environ, start_response)


def _variables() -> dict[str, str] | None:
    """Return the variables of the request that this is called in, None where it is called in none.

    Where the module was imported first after the application was loaded, `WithLogvars` is not around it.
    """
    variables = _logvars.get()
    if variables is None:
        call = stacks.call_on(sys._getframe())  # noqa: SLF001  (there is no other way)
        if call is not None:
            variables = call.x.environ.setdefault(LOGVARS, {})
            _logvars.set(variables)
    return variables


def _after_request(hook: Callable[[], object]) -> None:
    """Call what the application wants called after each request; what it raises is not the request's."""
    try:
        hook()
    except Interrupted:
        raise
    except BaseException as error:  # sys.exit() as in a request
        forks.leave(error)
        log.exception("uwsgi.after_req_hook failed")
    else:
        forks.leave()


class Uwsgi(ModuleType):
    """Its functions have uWSGI's names and arguments; what is not here raises an error that tells why."""

    SPOOL_RETRY, SPOOL_IGNORE, SPOOL_OK = -1, 0, -2

    def __init__(
        self, settings: Settings, plan: Plan | None, *, supervised: bool, server: int, started: int
    ) -> None:
        super().__init__("uwsgi", __doc__)
        self._supervised = supervised
        self._server = server  # the pid that signals are for; what the application forks has other parents
        self._locks = settings.of(LockOptions).locks
        concurrency = settings.of(ConcurrencyOptions)
        self.version = f"appserver {__version__}".encode()
        self.hostname = socket.gethostname().encode()
        self.numproc = concurrency.processes
        self.cores = max(concurrency.threads, concurrency.gevent, 1)
        self.opt = _options(settings)
        self.buffer_size = settings.of(StreamOptions).buffer_size
        self.version_info = _LIKE
        self.started_on = started
        self.is_a_reload = generation() > 1
        self.has_threads = 1
        self.loop = b"gevent" if concurrency.gevent else None
        self.applications: dict[str, Application] | None = None
        self.magic_table: dict[str, str] = {}
        self.unbit = False
        if plan is not None and plan.threaded:
            for call in websockets.CALLS:
                setattr(self, call.__name__, call)

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name == "after_req_hook":  # a request that finds no such hook pays nothing for it
            wsgi.after = partial(_after_request, value) if callable(value) else None

    def __getattr__(self, name: str) -> Any:
        if name in ABSENT:
            raise AttributeError(f"uwsgi.{name}: {ABSENT[name]}")
        if name not in REFUSED:
            raise AttributeError(f"module 'uwsgi' has no attribute {name!r}")

        def absent(*_: object, **__: object) -> None:
            raise refuse(f"uwsgi.{name}")

        absent.__name__ = name
        return absent

    # Processes

    def worker_id(self) -> int:
        """Return this worker's number, from 1."""
        return worker_id()

    def mule_id(self) -> int:
        """Return 0: this is no mule."""
        return 0

    def in_farm(self, _: str = "") -> bool:
        """Return False: this is no mule."""
        return False

    def i_am_the_spooler(self) -> bool:
        """Return False."""
        return False

    def masterpid(self) -> int:
        """Return the master's pid, 0 where there is none."""
        return self._server if self._supervised else 0

    def ready(self) -> bool | None:
        """Return True in a worker that has begun."""
        return SIGNALS.begun or None

    def accepting(self) -> None:
        """Do nothing: a worker accepts as soon as it serves."""

    def setprocname(self, name: str) -> None:
        """Give this process a title."""
        setproctitle(name)

    def mem(self) -> tuple[int, int]:
        """Return the bytes of memory that are resident, and all."""
        return memory()

    def reload(self) -> bool:
        """Have the master reload."""
        if not self._supervised:
            raise NotImplementedError("uwsgi.reload: nothing is reloaded without a master; set master = true")
        return self._send(unix.SIGHUP)

    def stop(self) -> None:
        """Have the server stop."""
        self._send(unix.SIGTERM)

    def _send(self, number: int) -> bool:
        """Send a signal to the server; tell whether it is still there."""
        try:
            os.kill(self._server, number)
        except ProcessLookupError:
            return False
        return True

    # Locks

    def lock(self, number: int = 0) -> None:
        """Wait for a lock that all workers share, and take it; a process that ends releases its own."""
        LOCKS.acquire(self._lock_number(number))

    def unlock(self, number: int = 0) -> None:
        """Release a lock that this process has."""
        LOCKS.release(self._lock_number(number))

    def is_locked(self, number: int = 0) -> bool:
        """Tell whether a process has a lock."""
        return LOCKS.holder(self._lock_number(number)) != 0

    def _lock_number(self, number: int) -> int:
        if not 0 <= number <= self._locks:
            raise ValueError(f"{number} is no lock: expected 0 to {self._locks}; set locks = {number}")
        return number

    # Requests

    def cl(self) -> int:
        """Return how many bytes the body of this request has, 0 where that is not known."""
        call = stacks.call_on(sys._getframe())  # noqa: SLF001  (there is no other way)
        return int(call.x.environ.get("CONTENT_LENGTH") or 0) if call is not None else 0

    def micros(self) -> int:
        """Return the time in microseconds."""
        return time.time_ns() // 1000

    # Logs

    def log(self, text: str | bytes) -> bool:
        """Write a line to the log."""
        log.info("%s", text.decode("utf-8", "backslashreplace") if isinstance(text, bytes) else text)
        return True

    def set_logvar(self, name: str, value: str | bytes) -> None:
        """Set what %(name) in log-format stands for in the line about this request."""
        variables = _variables()
        if variables is not None:
            text = value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)
            variables[name] = text

    def get_logvar(self, name: str) -> bytes | None:
        """Return what was set; None for nothing."""
        value = (_variables() or {}).get(name)
        return None if value is None else value.encode("utf-8", "surrogateescape")

    # Signals

    def register_signal(self, number: int, target: str, handler: Callable[[int], object]) -> None:
        """Have *handler* called with the number of a signal."""
        SIGNALS.register(number, target, handler)

    def signal_registered(self, number: int) -> bool:
        """Tell whether a signal has a handler."""
        return SIGNALS.registered(number)

    def signal(self, number: int, _: object = None) -> None:
        """Have the handler of a signal called: in this worker, or where its target says."""
        SIGNALS.raise_(number)

    def add_timer(self, number: int, seconds: float) -> None:
        """Raise a signal every so many seconds, in the first worker."""
        SIGNALS.add(Timer(number, seconds))

    def add_rb_timer(self, number: int, seconds: float, times: int = 0) -> None:
        """Raise a signal every so many seconds, so many times."""
        SIGNALS.add(Timer(number, seconds, times))

    def add_cron(  # noqa: PLR0917  (the arguments are uWSGI's)
        self, number: int, minute: int, hour: int, day: int, month: int, weekday: int
    ) -> None:
        """Raise a signal in the minutes that match; -1 is any, -5 every fifth."""
        SIGNALS.add(Alarm(number, Clock(minute, hour, day, month, weekday)))


def _options(settings: Settings) -> dict[str, Any]:
    """Return ``uwsgi.opt``: bytes by name, True for a flag without a value, lists for what repeats.

    Variables are in it as they are written, and so are settings of the application's own.
    """
    # What is so here anyway, and asked for by libraries.
    found: dict[str, Any] = {"enable-threads": True, "master": True, "py-call-uwsgi-fork-hooks": True}
    seen: set[str] = set()
    for each in settings.given:
        if each.kind not in {Kind.OPTION, Kind.VARIABLE}:
            continue
        value = each.value.encode("utf-8", "surrogateescape") if each.value else True
        if each.name in seen:
            before = found[each.name]
            found[each.name] = [*(before if isinstance(before, list) else [before]), value]
        else:
            found[each.name] = value
        seen.add(each.name)
    return found
