"""The module ``uwsgidecorators``: functions that are run after the fork, by time, or in threads."""

from __future__ import annotations

import functools
import logging
import threading
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from appserver.clock import Clock
from appserver.compat.locks import LOCKS
from appserver.compat.signals import SIGNALS, Alarm, Timer
from appserver.identity import worker_id

if TYPE_CHECKING:
    from collections.abc import Callable

    F = TypeVar("F", bound=Callable[..., Any])

log = logging.getLogger("appserver.compat")

# What cannot be decorated into being here: the decorated functions are, and say so when they are used.
_ABSENT = {
    "spool": "there is no spooler; use a task queue", "spoolforever": "there is no spooler; use a task queue",
    "spoolraw": "there is no spooler; use a task queue", "mulefunc": "there are no mules; use a task queue",
    "mulemsg": "there are no mules; use a task queue", "mule": "there are no mules; use a task queue",
    "mule_brain": "there are no mules", "mule_loop": "there are no mules",
    "mulemsg_loop": "there are no mules",
    "erlang": "Erlang is not spoken", "rpc": "there is no remote procedure call; use HTTP",
    "spool_decorate": "there is no spooler; use a task queue",
    "farm": "there are no mules; use a task queue", "farm_loop": "there are no mules",
    "muleloop": "there are no mules", "mule_brainloop": "there are no mules",
    "harakiri": "the limit of a request is that of the option harakiri",
    "filemon": "files are not watched for the application; use touch-reload",
}  # fmt: skip


_ABSENT_FUNCTIONS = {
    "manage_spool_request": "there is no spooler", "mule_msg_dispatcher": "there are no mules"
}  # fmt: skip


class _Absent:
    """A function whose decorator is not here: it can be called, and nothing else of it."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self._name = name
        self._function = function

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        if self._name == "mulefunc":
            self.spool()
        return self._function(*arguments, **named)

    def spool(self, *_: Any, **__: Any) -> None:
        raise NotImplementedError(f"uwsgidecorators.{self._name}: {_ABSENT[self._name]}")


class Decorators(ModuleType):
    """Its decorators have uWSGI's names and arguments."""

    def __init__(self) -> None:
        super().__init__("uwsgidecorators", __doc__)
        self.postfork_chain: list[tuple[int, Callable[[], Any]]] = []
        self.spooler_functions: dict[str, Any] = {}
        self.mule_functions: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        if name in _ABSENT_FUNCTIONS:
            return functools.partial(_refuse, name)
        if name not in _ABSENT:
            raise AttributeError(f"module 'uwsgidecorators' has no attribute {name!r}")
        return functools.partial(_absent, name)

    def postfork(self, function: F | int | None = None, wid: int = 0) -> Any:
        """Run a function in each worker, or in the one of that number, before it serves."""
        if not callable(function):
            return functools.partial(self.postfork, wid=function or wid)
        self.postfork_chain.append((wid, function))
        return function

    def begin(self) -> None:
        """Run what is wanted in this worker."""
        for wid, function in self.postfork_chain:
            if wid in {0, worker_id()}:
                function()

    def postfork_chain_hook(self) -> None:
        """Do nothing: the functions run beside ``uwsgi.post_fork_hook``, whatever that is."""

    def get_free_signal(self) -> int:
        """Return the number of a signal that has no handler."""
        return SIGNALS.free()

    def timer(self, seconds: float, target: str = "", **more: Any) -> Callable[[F], F]:
        """Run a function every so many seconds."""
        return self._raised(lambda number: Timer(number, seconds), target, more)

    def rbtimer(self, seconds: float, target: str = "", **more: Any) -> Callable[[F], F]:
        """Run a function every so many seconds."""
        return self._raised(lambda number: Timer(number, seconds), target, more)

    def cron(  # noqa: PLR0917  (the arguments are uWSGI's)
        self, minute: int, hour: int, day: int, month: int, dayweek: int, target: str = "", **more: Any
    ) -> Callable[[F], F]:
        """Run a function in the minutes that match; -1 is any, -5 every fifth."""
        return self._raised(
            lambda number: Alarm(number, Clock(minute, hour, day, month, dayweek)), target, more
        )

    def signal(self, number: int, target: str = "", **_: Any) -> Callable[[F], F]:
        """Make a function the handler of a signal."""

        def decorate(function: F) -> F:
            SIGNALS.register(number, target, function)
            return function

        return decorate

    def lock(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Let one process at a time call a function: the one that has the lock number 0."""

        @functools.wraps(function)
        def alone(*arguments: Any, **named: Any) -> Any:
            LOCKS.acquire(0)
            try:
                return function(*arguments, **named)
            finally:
                LOCKS.release(0)

        return alone

    def thread(self, function: Callable[..., Any]) -> Callable[..., threading.Thread]:
        """Run each call of a function in a thread of its own."""

        @functools.wraps(function)
        def begin(*arguments: Any) -> threading.Thread:
            thread = threading.Thread(target=function, args=arguments, daemon=True)
            thread.start()
            return thread

        return begin

    def _raised(
        self, make: Callable[[int], Timer | Alarm], target: str, more: dict[str, Any]
    ) -> Callable[[F], F]:
        def decorate(function: F) -> F:
            number = more.get("signum", SIGNALS.free())
            SIGNALS.register(number, target, function)
            SIGNALS.add(make(number))
            return function

        return decorate


def _refuse(name: str, *_: Any, **__: Any) -> None:
    raise NotImplementedError(f"uwsgidecorators.{name}: {_ABSENT_FUNCTIONS[name]}")


def _absent(name: str, *arguments: Any, **_: Any) -> Any:
    """Decorate a function, with arguments for the decorator or without."""
    log.warning("uwsgidecorators.%s: %s", name, _ABSENT[name])
    if len(arguments) == 1 and callable(arguments[0]):
        return _Absent(name, arguments[0])
    return lambda function: _Absent(name, function)
