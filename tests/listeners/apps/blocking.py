"""An application that blocks its thread, and counts how many calls of it run at once."""

from __future__ import annotations

import json
import socket
import threading
import time

GUARD = 20.0  # seconds after which nobody else comes

lock = threading.Lock()
barriers = {}
counted = {"inside": 0, "peak": 0}
arrived = {}
order = []  # the listeners of the calls of `overlap`


def meet(count):
    """Wait until *count* calls are in here at once; raise where they do not come."""
    with lock:
        barrier = barriers.setdefault(count, threading.Barrier(count))
    barrier.wait(GUARD)


def sleep(count):
    """Sleep, in short naps, until *count* calls have begun to."""
    arrived[count] = arrived.get(count, 0) + 1
    end = time.monotonic() + GUARD
    while arrived[count] < count:
        if time.monotonic() > end:
            raise RuntimeError(f"only {arrived[count]} of {count} calls are here at once")
        time.sleep(0.01)


def hold(path):
    """Tell whoever listens on *path* that a call is in here, and wait for a word."""
    with socket.socket(socket.AF_UNIX) as gate:
        gate.connect(path)
        gate.sendall(b"in hand")
        gate.recv(1)


def overlap(_):
    """Stay for a while, so that another call could come in."""
    time.sleep(0.005)


DEEDS = {"meet": lambda text: meet(int(text)), "sleep": lambda text: sleep(int(text)), "hold": hold,
         "overlap": overlap, "peak": lambda _: None}  # fmt: skip


def app(environ, start_response):
    deed = environ["PATH_INFO"][1:]
    step = int(deed != "peak")
    if deed == "overlap":
        order.append(environ["appserver.listener"])
    with lock:
        counted["inside"] += step
        counted["peak"] = max(counted["peak"], counted["inside"])
    try:
        DEEDS[deed](environ["QUERY_STRING"])
    finally:
        with lock:
            counted["inside"] -= step
    told = {
        "thread": threading.current_thread().name, "native": threading.get_native_id(), "peak": counted["peak"],
        "multithread": environ["wsgi.multithread"], "multiprocess": environ["wsgi.multiprocess"],
        "queued": environ.get("appserver.queued", 0.0), "order": order if deed == "peak" else [],
    }  # fmt: skip
    body = json.dumps(told).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
