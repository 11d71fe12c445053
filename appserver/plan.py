"""How many loops and cores a server gets: the thread rule, and the only place that knows it.

* Every listener subscribes by itself: each of the N threads is a loop with one core.
* No listener does: one loop, and with threads N native threads as its cores.
* Both kinds together: a subscribed thread that runs the application cannot serve the sockets, and
  a socket's thread has no subscription. One loop with one thread serves all; gevent carries the
  concurrency.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from appserver import cpus
from appserver.options import BadValue, option, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from appserver.listeners.listener import Listener


_MOST_CALLS = 1 << 20  # files that Linux lets a process open (fs.nr_open), one for the client of each call


def positive(text: str) -> int:
    """Convert a number of something of which there is at least one."""
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise BadValue("a whole number, 1 or more")
    return int(text)


def at_once(convert: Callable[[str], int]) -> Callable[[str], int]:
    """Return the conversion of a number of calls, of which there are no more than a process has clients."""

    def converted(text: str) -> int:
        number = convert(text)
        if number > _MOST_CALLS:
            raise BadValue(f"a whole number, {_MOST_CALLS} or less")
        return number

    return converted


def number_of_processes(text: str) -> int:
    """Convert ``processes``: a number, or auto for what the machine or the container allows."""
    if text == "auto":
        return cpus.available()
    try:
        return positive(text)
    except BadValue:
        raise BadValue("a whole number, 1 or more, or auto") from None


@dataclass(frozen=True)
class ConcurrencyOptions:
    """Concurrency."""

    master: bool = option(
        False,
        "Keep workers by a master process, even one.",
        short="M",
        note="Implied by processes above 1 and by what only a master can do.",
    )
    processes: int = option(
        1, "Worker processes; auto = as many as processors may be used.", short="p", aliases=("workers",),
        convert=number_of_processes, expects="number or auto",
        note="auto is ours.",
    )  # fmt: skip
    threads: int = option(
        1,
        "Application calls at once in native threads.",
        convert=at_once(positive),
        expects="number",
        note="Beside Mongrel2's ZeroMQ, other sockets force it to 1.",
    )
    gevent: int = option(
        0,
        "Application calls at once in greenlets.",
        convert=at_once(whole),
        expects="number",
        example="100",
        note="The standard library is patched before the application is loaded.",
    )
    gevent_monkey_patch: bool = option(
        True,
        "With gevent: patch the standard library before the application is loaded; false: leave it alone.",
        note="False in uWSGI unless it is set.",
    )


@dataclass(frozen=True)
class Plan:
    """How a server runs its application."""

    loops: int  # threads that serve, each with a loop and cores of its own
    cores: int  # application calls at once in each loop
    native: bool  # cores are native threads beside the loop's
    reason: str
    warnings: tuple[str, ...] = ()
    processes: int = 1

    @property
    def greenlets(self) -> int:
        """How many application calls share each loop's thread."""
        return 1 if self.native else self.cores

    @property
    def threaded(self) -> bool:
        """Whether one call of the application may begin while another one runs."""
        return self.loops > 1 or self.cores > 1


class PlanError(Exception):
    """Say which options contradict each other."""


def plan(listeners: Sequence[Listener], options: ConcurrencyOptions) -> Plan:
    """Return how *listeners* are to be served; raise `PlanError` for options that exclude each other."""
    warnings = []
    threads = options.threads
    if options.gevent and threads > 1:
        raise PlanError(
            f"gevent = {options.gevent} and threads = {threads}: greenlets run in one thread; remove one"
        )
    subscribing = [listener for listener in listeners if listener.subscribes]
    sharing = [listener for listener in listeners if not listener.subscribes]
    if threads > 1 and subscribing and sharing:
        forcing = ", ".join(f"{listener.name} {listener.address}" for listener in sharing)
        warnings.append(
            f"threads = {threads} is forced to 1: beside {subscribing[0].name} there is {forcing};"
            " use gevent = N to run several requests at once"
        )
        threads = 1
    if options.gevent:
        unpatched = "" if options.gevent_monkey_patch else "; the standard library is left unpatched"
        one = Plan(
            1, options.gevent, False, f"up to {options.gevent} requests at once in greenlets{unpatched}"
        )
    elif threads == 1:
        one = Plan(1, 1, False, "one request at a time; connections are served concurrently")
    elif subscribing:
        one = Plan(threads, 1, False, f"{threads} threads, each subscribed by itself")
    else:
        one = Plan(1, threads, True, f"up to {threads} requests at once in threads")
    reason = f"{options.processes} processes, each: {one.reason}" if options.processes > 1 else one.reason
    return Plan(one.loops, one.cores, one.native, reason, tuple(warnings), options.processes)
