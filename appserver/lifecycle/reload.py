"""What a reload makes of the configuration: read again, on the sockets that are bound already."""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from appserver.address import AddressError
from appserver.configuration import Configuration, ConfigurationError
from appserver.lifecycle.error import StartError
from appserver.lifecycle.generation import Failed
from appserver.stats.options import StatsOptions
from appserver.stats.server import StatsServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from appserver.lifecycle.generation import Report
    from appserver.listeners.listener import Listener

log = logging.getLogger("appserver.lifecycle")

WARNING = "warning: "  # begins what is reported as one


def _leave_removed(old: Configuration) -> None:
    """Leave a current directory that is no more for that of the start, if it has come again, or for /.

    There is nothing in it, and whatever asks for its name would fail.
    """
    try:
        os.getcwd()
    except FileNotFoundError:
        try:
            os.chdir(old.directory)
        except OSError:
            os.chdir("/")


@contextmanager
def _where(old: Configuration) -> Iterator[None]:
    """Be where *old* was read: a hook may have changed the directory since, and the files may be relative."""
    with ExitStack() as stack:
        try:
            if os.getcwd() != old.directory:
                here = os.open(".", os.O_PATH | os.O_CLOEXEC)
                stack.callback(os.close, here)
                os.chdir(old.directory)
                stack.callback(os.fchdir, here)
        except OSError as error:
            log.warning(
                "relative files are not looked for in %s, where the server was started: %s",
                old.directory, error.strerror,
            )  # fmt: skip
        yield


def reread(old: Configuration, report: Report) -> Configuration:
    """Return what the arguments and files of *old* say now; raise `Failed` with all their problems.

    Report what waits for a restart.
    """
    _leave_removed(old)
    try:
        with _where(old):
            new = Configuration(old.arguments, first=old.first)
            new.directory = old.directory
    except ConfigurationError as error:
        raise Failed(str(error)) from None
    if new.problems:
        raise Failed("\n".join(new.problems))
    new.tell(log)
    waiting = new.at_restart()
    if not new.supervised:
        waiting.append("no option asks for a master any more, which takes effect at a restart")
    for warning in waiting:
        report(f"{WARNING}{warning}")
    return new


def stats_server(old: StatsServer | None, new: Configuration) -> StatsServer | None:
    """Return the statistics server that *new* asks for, bound: *old* where the address stays.

    Raise `Failed` where the address cannot be had.
    """
    if not new.settings.of(StatsOptions).stats:
        return None
    if old is not None and old.listens(new.settings):
        return old
    server = StatsServer(new.settings)
    try:
        with _where(new):
            server.bind()
    except StartError as error:
        raise Failed(new.told(error)) from None
    return server


def take_over(
    old: Configuration, new: Configuration, passed: dict[str, int]
) -> tuple[list[Listener], dict[Listener, Listener]]:
    """Give the listeners of *new* the sockets of *old*, and bind those that are not there yet.

    *passed* are systemd's sockets by address. Return the listeners that were bound, and those that have taken
    over with whom they follow. Raise `Failed`, with nothing bound, where an address cannot be had.
    """
    left = list(old.listeners)
    bound: list[Listener] = []
    follows: dict[Listener, Listener] = {}
    try:
        for listener in new.listeners:
            same = [each for each in left if type(each) is type(listener) and listener.follows(each)]
            if same:
                left.remove(same[0])
                listener.take_over(same[0])
                follows[listener] = same[0]
            else:
                bound.append(listener)
        taken = {listener.address for listener in follows}
        unused = {name: fd for name, fd in passed.items() if name not in taken}
        for listener in bound:
            with _where(old):
                listener.bind(unused)
    except AddressError as error:
        for listener in bound:
            listener.close()
        raise Failed(new.told(error)) from None
    return bound, follows
