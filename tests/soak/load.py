"""Steady requests through every door, each with an id, and an account of what became of them."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from pathlib import Path

TIMEOUT = 10.0  # seconds after which a request counts as lost
SLOW = 20  # one request of so many takes its time
SLOW_SECONDS = 0.2


class Door:
    """One client at a time of one front end: it keeps connections, and begins anew now and then."""

    def __init__(self, name, port, load):
        self.name = name
        self.port = port
        self.load = load
        self.count = 0
        self.outcomes = Counter()
        self.failures = []
        self.done = set()  # ids that were answered well
        self.seconds = []

    def run(self, pause):
        connection = None
        due = time.monotonic()
        while not self.load.stopping.is_set():
            self.count += 1
            connection = self.request(connection)
            due = max(due + pause, time.monotonic() - pause)
            self.load.stopping.wait(max(0.0, due - time.monotonic()))
        if connection is not None:
            connection.close()

    def request(self, connection):
        """Send one request; return the connection if it can be used again."""
        name = f"{self.name}-{id(self):x}-{self.count}"
        body = b"x" * 3000 if self.count % 3 == 0 else b""
        seconds = SLOW_SECONDS if self.count % SLOW == 0 else 0
        began = time.monotonic()
        connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)
        try:
            connection.request("POST" if body else "GET", f"/?{name}&{seconds}", body=body or None)
            answer = connection.getresponse()
            told = answer.read()
        except TimeoutError:
            outcome = "lost"
        except (OSError, http.client.HTTPException) as error:
            outcome = f"failed: {type(error).__name__}"
        else:
            outcome = "ok"
            if answer.status != 200:
                outcome = f"failed: {answer.status}"
            elif told != name.encode() + b"|" + body:
                outcome = "wrong"
        took = time.monotonic() - began
        self.outcomes[outcome] += 1
        if outcome == "ok":
            self.done.add(name)
            self.seconds.append(took - seconds)
        else:
            self.failures.append((name, outcome, round(took, 3), time.monotonic()))
        if outcome == "ok" and not answer.will_close and self.count % 10:
            return connection
        connection.close()
        return None


class Load:
    """Clients of all doors, *rate* requests a second in all; a context manager that runs them."""

    def __init__(self, doors, rate, clients=2):
        self.stopping = threading.Event()
        self.doors = [Door(name, port, self) for name, port in doors.items() for _ in range(clients)]
        pause = len(self.doors) / rate
        self._threads = [threading.Thread(target=door.run, args=(pause,)) for door in self.doors]
        self._began = self._ended = 0.0

    def __enter__(self):
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self._threads:
            thread.join()
        self._ended = time.monotonic()

    @property
    def answered(self):
        return sum(door.outcomes["ok"] for door in self.doors)

    @property
    def failures(self):
        return [failure for door in self.doors for failure in door.failures]

    def account(self, ledger):
        """Return the figures of every door, and of the ledger: what was called twice, or not at all."""
        calls = Counter(line.split()[0] for line in Path(ledger).read_text().splitlines())
        done = {name for door in self.doors for name in door.done}
        doors = {}
        for name in dict.fromkeys(door.name for door in self.doors):
            outcomes = sum((door.outcomes for door in self.doors if door.name == name), Counter())
            seconds = sorted(each for door in self.doors if door.name == name for each in door.seconds)
            doors[name] = dict(outcomes) | {
                f"p{percent}_ms": round(seconds[int(len(seconds) * percent / 100)] * 1000, 1)
                for percent in (50, 99)
                if seconds
            }
        return {
            "requests": sum(door.count for door in self.doors),
            "rate": round(self.answered / max(self._ended - self._began, 0.001)),
            "doors": doors,
            "duplicated": sorted(name for name, count in calls.items() if count > 1),
            "answered_without_a_call": sorted(done - calls.keys()),
        }
