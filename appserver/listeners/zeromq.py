"""How ZeroMQ works beside the loops that serve."""

from __future__ import annotations

import os
from typing import Any

import zmq


def context() -> zmq.Context[Any]:
    """Return a context for Mongrel2's sockets; who asked terminates it.

    Its thread that reads and writes for them is a batch thread for the scheduler: by default each
    message that is sent wakes it, and where it has no processor of its own it then displaces who has
    sent it, writes this one message and sleeps again: two switches and two system calls each, more
    than half of what a small request costs. A batch thread runs when the loop waits, or elsewhere at once.
    """
    made: zmq.Context[Any] = zmq.Context()
    made.set(zmq.THREAD_SCHED_POLICY, os.SCHED_BATCH)
    return made
