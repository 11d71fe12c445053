"""The commands of signals and of the control socket, by name."""

from __future__ import annotations

import logging
import os
import signal
from math import inf
from typing import TYPE_CHECKING

from appserver.counting import number_of
from appserver.lifecycle.generation import Failed
from appserver.stats.document import told

if TYPE_CHECKING:
    from appserver.lifecycle.generation import Report
    from appserver.lifecycle.master import Master

log = logging.getLogger("appserver.lifecycle")


async def run(master: Master, words: list[str], report: Report) -> None:
    """Do what a command says and report its progress; raise `Failed` where it cannot be done."""
    match words:
        case ["reload"]:
            await master.reload(report, chain=False)
        case ["chain-reload"]:
            await master.reload(report, chain=True)
        case ["stop"]:
            await _stop(master, None, report)
        case ["drain"]:
            await _stop(master, inf, report)
        case ["stop-now"]:
            await _stop(master, 0, report)
        case ["quit"]:
            _dump_stacks(master)
            await _stop(master, 0, report)
        case ["workers", text] if text.isascii() and text.lstrip("+-").isdigit():
            report(wanted_workers(master.set_workers(text)))
        case ["status"]:
            _tell(master, report)
        case ["stacks"]:
            _dump_stacks(master)
            report("the workers write their stacks to the log")
        case ["reopen-logs"]:
            master.reopen_logs()
        case ["rotate-logs"]:
            master.rotate_logs()
        case _:
            raise Failed(f"there is no command {' '.join(words)!r}")


def wanted_workers(workers: int) -> str:
    """Return how many workers are wanted, in words."""
    return f"{number_of(workers, 'worker')} {'is' if workers == 1 else 'are'} wanted"


async def _stop(master: Master, mercy: float | None, report: Report) -> None:
    for worker in master.all_workers():
        if worker.pid:  # else it is still to be forked
            in_hand = number_of(worker.board.in_hand, "request")
            report(f"worker {worker.number} (pid {worker.pid}) has {in_hand} in hand")
    master.stop(mercy)
    await master.stopped()


def _dump_stacks(master: Master) -> None:
    for worker in master.all_workers():
        worker.kill(signal.SIGUSR2)


def _tell(master: Master, report: Report) -> None:
    """Report the state of every process."""
    report(f"master: pid {os.getpid()}, {wanted_workers(master.cheaper.wanted)}")
    for worker in master.all_workers():
        report(told(worker))
