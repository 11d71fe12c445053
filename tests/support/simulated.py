"""A simulated Mongrel2: what it binds, deals out and collects, without its HTTP side."""

from __future__ import annotations

from collections import Counter, deque
from contextlib import suppress
from itertools import count
from threading import Condition, Event, Lock, Thread
from time import monotonic

import zmq
from zmq.utils.monitor import recv_monitor_message

from tests.support.fronts import GUARD
from tests.support.messages import as_json, netstring, octets

_EVENTS = zmq.EVENT_ACCEPTED | zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED


class Mongrel2:
    """A Mongrel2 without its HTTP side: binds both sockets, deals requests, collects answers."""

    uuid = "f400bf85-4538-4f7a-8908-67e313d515c2"

    def __init__(self, send_spec, recv_spec):
        self.specs = f"{send_spec},{recv_spec}"
        self.numbers = count(1)
        self._answers = {}  # connection id -> messages not read yet
        self._arrived = Condition()
        self._lock = Lock()
        self._live = set(), set()  # the descriptors of the PUSH's and the SUB's connections
        self._greeted = Counter()  # how many of them have spoken ZeroMQ
        self._ended = Event()
        self._context = zmq.Context()
        self._push = self._context.socket(zmq.PUSH)
        self._sub = self._context.socket(zmq.SUB)
        self._push.sndtimeo = int(GUARD * 1000)
        self._monitors = [each.get_monitor_socket(_EVENTS) for each in (self._push, self._sub)]
        self._push.bind(send_spec)
        self._sub.subscribe(b"")
        self._sub.bind(recv_spec)
        self._thread = Thread(target=self._collect, name="mongrel2")
        self._thread.start()

    def _collect(self):
        while not self._ended.is_set():
            if self._sub.poll(50):
                self._keep(self._sub.recv())

    def _keep(self, message):
        uuid, rest = message.split(b" ", 1)
        size, rest = rest.split(b":", 1)
        ids, tail = rest[: int(size)], rest[int(size) :]
        assert uuid == self.uuid.encode(), message[:100]
        assert tail[:2] == b", ", message[:100]
        body = tail[2:]
        if ids.startswith(b"X "):  # an order, of which a client sees only that its connection ends
            ids = ids[2:]
            if b"6:cancel,4:true!" not in body:
                return
            body = b""
        with self._arrived:
            for number in ids.split(b" "):
                self._answers.setdefault(int(number), deque()).append(body)
            self._arrived.notify_all()

    def next_answer(self, number):
        """Return the next message to a connection."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: self._answers.get(number), GUARD):
                raise TimeoutError(f"nothing came for connection {number}")
            return self._answers[number].popleft()

    def unread(self, number):
        return list(self._answers.get(number, ()))

    def push(self, number, path, headers, body=b"", flags=0):
        """Deal out one message; *headers* are encoded."""
        message = octets(f"{self.uuid} {number} {path} ") + headers + b"%d:%b," % (len(body), body)
        with self._lock:
            self._push.send(message, flags)

    def disconnect(self, number):
        """Tell a handler, if there is one, that a client has left."""
        headers = netstring(as_json({"METHOD": "JSON"}), b",")
        with suppress(zmq.Again):
            self.push(number, "@*", headers, b'{"type":"disconnect"}', zmq.DONTWAIT)

    def wait_for_peers(self, *wanted):
        """Wait until so many are connected at once to the PUSH, and to the SUB."""
        deadline = monotonic() + GUARD
        while True:
            live = tuple(map(len, self._live))
            if live == wanted and all(self._greeted[index] >= live[index] for index in (0, 1)):
                return
            assert monotonic() < deadline, f"connected: {live}, wanted: {wanted}"
            for index, monitor in enumerate(self._monitors):
                while monitor.poll(20):
                    self._note(index, recv_monitor_message(monitor))

    def _note(self, index, told):
        if told["event"] == zmq.EVENT_ACCEPTED:
            self._live[index].add(told["value"])
        elif told["event"] == zmq.EVENT_DISCONNECTED:
            self._live[index].discard(told["value"])
        else:
            self._greeted[index] += 1

    def close(self):
        self._ended.set()
        self._thread.join()
        self._push.disable_monitor()
        self._sub.disable_monitor()
        self._context.destroy(linger=0)
