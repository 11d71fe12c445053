"""How ZeroMQ works beside the loops that serve."""

from __future__ import annotations

import os
import struct
from contextlib import ExitStack
from typing import Any

import zmq

_IDLE, _INTERVAL, _COUNT = 30, 10, 6  # seconds of silence, between questions, and how many of those
_ROOM = 16  # descriptors of a context with two sockets, and some for their connections
_EVENT = struct.Struct("=Hi")  # zmq_socket_monitor(3)
_UNHEARD = 90_000  # milliseconds for which what was sent may be unheard of


def keep(sock: zmq.Socket[Any]) -> None:
    """Have the kernel find out where Mongrel2 has gone without a word, before *sock* connects.

    As its host does that loses power, or a firewall that forgets the connection: who only reads would never
    know, and not connect again. (Heartbeats of ZeroMQ would disconnect peers that have none.)
    """
    sock.setsockopt(zmq.TCP_KEEPALIVE, 1)
    sock.setsockopt(zmq.TCP_KEEPALIVE_IDLE, _IDLE)
    sock.setsockopt(zmq.TCP_KEEPALIVE_INTVL, _INTERVAL)
    sock.setsockopt(zmq.TCP_KEEPALIVE_CNT, _COUNT)
    sock.setsockopt(zmq.TCP_MAXRT, _UNHEARD)


def check_room() -> None:
    """Raise `OSError` where a context has not the descriptors it needs: libzmq would abort the process."""
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    with ExitStack() as stack:
        stack.callback(os.close, null)
        for _ in range(_ROOM):
            stack.callback(os.close, os.dup(null))


def next_event(monitor: zmq.Socket[Any] | None) -> tuple[int, int] | None:
    """Return what the monitor of a connection tells next, and the number with it; None for nothing new.

    pyzmq's own function keeps each such number for good, as a flag that it would be for some events.
    """
    if monitor is None:
        return None
    try:
        told = bytes(monitor.recv_multipart(zmq.DONTWAIT)[0])
    except zmq.Again:
        return None
    kind, value = _EVENT.unpack(told)
    return kind, value


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
