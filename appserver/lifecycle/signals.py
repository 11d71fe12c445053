"""What signals mean: one table for the master, and what workers make of those that reach them."""

from __future__ import annotations

import signal

MASTER = {
    signal.SIGHUP: ("reload", "load all anew; the old workers leave when the new ones serve"),
    signal.SIGTERM: ("stop", "stop accepting, answer all that was received, exit; the second time: at once"),
    signal.SIGINT: ("stop-now", "exit at once"),
    signal.SIGQUIT: ("quit", "write all stacks to the log, then exit at once"),
    signal.SIGUSR1: ("reopen-logs", "open the log files anew, after they were moved away"),
    signal.SIGUSR2: ("stacks", "write the stack of every thread and greenlet to the log"),
    signal.SIGTTIN: ("workers +1", "one worker more"),
    signal.SIGTTOU: ("workers -1", "one worker less"),
}  # fmt: skip

# Terminals and service managers send these to all processes of a group; the master tells its workers
# what to do. One that is sent SIGTERM alone is replaced, once it has begun to serve. Other processes ignore
# all that is the master's. So do workers with SIGUSR1, which the preloader leaves to them so, or as the
# application has it by then.
IGNORED_BY_WORKERS = (
    signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTTIN, signal.SIGTTOU,
)  # fmt: skip


def ignore(*_: object) -> None:
    """Do nothing: a handler in the place of SIG_IGN, which programs that are started would inherit."""
