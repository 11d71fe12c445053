"""One client of a front end: it sends requests one after the other and notes what became of each."""

from __future__ import annotations

import select
import socket
from dataclasses import dataclass
from random import Random
from time import monotonic

from tests.support.answers import NoAnswer, Wire, read_response

TIMEOUT = 10.0  # seconds without an answer after which a request counts as lost
BEHIND = 1.0  # seconds that a client may be late and still make up for
BODY = b"x" * 3000
KEPT = 10  # requests for which a client keeps a connection


@dataclass(slots=True)
class Sent:
    """One request: times are seconds of CLOCK_MONOTONIC, which the application's ledger has, too.

    The outcome is ``ok`` for a whole and right answer, another status, ``refused`` (no connection),
    ``reset`` (the connection ended before an answer), ``cut`` (in the middle of it), ``lost`` (no answer
    in time), ``wrong`` (another's answer) or ``surplus`` (more than the answer).
    """

    name: str
    door: str
    seconds: float  # that the application shall take
    kept: bool  # sent on a connection that had been used before
    began: float
    sent: float = float("inf")  # when its last byte was the kernel's
    ended: float = 0.0
    outcome: str = ""
    why: str = ""  # what the front end's log says of a failure

    @property
    def took(self):
        return self.ended - self.began


class Client:
    """Keep a connection for some requests; every third request has a body, a *share* of them is slow."""

    def __init__(self, door, port, number, share, seconds):
        self.door = door
        self.port = port
        self.number = number
        self.share = share
        self.seconds = seconds
        self.requests = []
        self.answered = 0
        self._chance = Random(f"{door} {number}")  # every run has the same requests
        self._sock = None
        self._wire = None

    def run(self, began, pause, stopping):
        """Send a request every *pause* seconds from *began* on, until the event *stopping* is set."""
        due = began
        while not stopping.wait(max(0.0, due - monotonic())):
            self.request()
            due = max(due + pause, monotonic() - BEHIND)
        self.close()

    def request(self):
        count = len(self.requests) + 1
        seconds = self.seconds if self._chance.random() < self.share else 0.0
        body = BODY if count % 3 == 0 else b""
        surplus = self._has_gone()
        sent = Sent(
            f"{self.door}-{self.number}-{count}", self.door, seconds, self._sock is not None, monotonic()
        )
        sent.outcome = "surplus" if surplus else self._exchange(sent, body)
        sent.ended = monotonic()
        self.requests.append(sent)
        self.answered += sent.outcome == "ok"
        if sent.outcome != "ok" or self._wire.ended or count % KEPT == 0:
            self.close()

    def _has_gone(self):
        """Close a kept connection that has ended, as every client should; tell whether bytes wait there."""
        if self._sock is None or not select.select([self._sock], [], [], 0)[0]:
            return False
        surplus = self._wire.fill()
        self.close()
        return surplus

    def _exchange(self, sent, body):
        method = "POST" if body else "GET"
        head = f"{method} /?{sent.name}&{sent.seconds} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        try:
            if self._sock is None:
                self._sock = socket.create_connection(("127.0.0.1", self.port), TIMEOUT)
                self._wire = Wire(lambda: self._sock.recv(65536))
            self._sock.sendall(f"{head}{length}\r\n".encode() + body)
            sent.sent = monotonic()
            answer = read_response(self._wire, method)
        except TimeoutError:
            return "lost"
        except ConnectionRefusedError:
            return "refused"
        except ConnectionError:
            return "reset"
        except NoAnswer as none:
            return "cut" if none.args[0] else "reset"
        if not answer.complete:
            return "cut"
        if answer.status != 200:
            return str(answer.status)
        if answer.body != sent.name.encode() + b"|" + body:
            return "wrong"
        if self._wire.buffer:
            return "surplus"
        if answer.header("Connection") == "close":
            self.close()
        return "ok"

    def close(self):
        if self._sock is not None:
            self._sock.close()
            self._sock = None
