"""ZeroMQ's own thread gives way to the loop."""

from __future__ import annotations

import os
from pathlib import Path

import zmq

from appserver.listeners.zeromq import context


def threads():
    return {int(each.name) for each in Path("/proc/self/task").iterdir()}


def test_its_threads_are_batch_threads():
    before = threads()
    made = context()
    made.socket(zmq.PUSH).close()  # the first socket starts them
    policies = {os.sched_getscheduler(thread) for thread in threads() - before}
    made.term()
    assert policies == {os.SCHED_BATCH}
