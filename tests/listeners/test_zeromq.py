"""ZeroMQ's own thread gives way to the loop."""

from __future__ import annotations

import os
from pathlib import Path

import zmq

from appserver.listeners.zeromq import context
from tests.support.fronts import poll


def threads():
    return {int(each.name) for each in Path("/proc/self/task").iterdir()}


def policies(threads):
    return {os.sched_getscheduler(thread) for thread in threads}


def test_its_threads_are_batch_threads():
    before = threads()
    made = context()
    made.socket(zmq.PUSH).close()  # the first socket starts them
    # Each becomes one by itself, once it runs.
    poll(lambda: policies(threads() - before) == {os.SCHED_BATCH}, "there is another thread")
    made.term()
