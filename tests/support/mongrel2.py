"""A Mongrel2 made of two plain ZeroMQ sockets; its messages are put together here, byte by byte."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
import time
from collections import defaultdict

import zmq

from tests.support.ports import free_port
from tests.support.server import Server

TIMEOUT = 30.0  # a guard against hanging, never a measure
APP = "tests.support.mongrel2_app:app"
dispatch = "worker"  # zeromq-dispatch of the servers; see the fixture

_ids = itertools.count(1)


@contextlib.contextmanager
def serving(*peers, options=(), **more):
    """Run a server attached to simulated Mongrel2s, which are bound before."""
    mounts = [word for peer in peers for word in ("--zeromq", peer.spec)]
    with Server(*mounts, "--zeromq-dispatch", dispatch, "--module", APP, *options, **more) as server:
        yield server


def wait_for_file(path):
    """Wait for a file that the application makes."""
    deadline = time.monotonic() + TIMEOUT
    while not path.exists():
        assert time.monotonic() < deadline, f"there is no {path}"
        time.sleep(0.002)


def tnetstring(value):
    """Encode text (as latin-1), a list or a dict the way Mongrel2 does."""
    if isinstance(value, dict):
        content = b"".join(tnetstring(part) for pair in value.items() for part in pair)
        return b"%d:%b}" % (len(content), content)
    if isinstance(value, list):
        content = b"".join(map(tnetstring, value))
        return b"%d:%b]" % (len(content), content)
    content = value.encode("latin-1")
    return b"%d:%b," % (len(content), content)


def json_netstring(fields):
    """Encode fields as Mongrel2 does: only quotes and backslashes are escaped."""

    def quoted(value):
        if isinstance(value, list):
            return "[" + ",".join(map(quoted, value)) + "]"
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    content = "{" + ",".join(f"{quoted(name)}:{quoted(value)}" for name, value in fields.items()) + "}"
    return b"%d:%b," % (len(content), content.encode("latin-1"))


ENCODERS = {"tnetstring": tnetstring, "json": json_netstring}


class Mongrel2:
    """One Mongrel2 server's handler: PUSH and SUB, bound to ports that it keeps over a restart.

    A thread reads the SUB, as Mongrel2 always does; ``reading`` can be cleared to make it slow. With
    *credit* it controls the flow: what clients are sent is outstanding until they `Client.read` it.
    """

    def __init__(
        self,
        uuid="34f9ceee-cd52-4b7f-b197-88bf2f0ec378",
        recv_ident="",
        protocol="tnetstring",
        rcvhwm=1000,
        sub=True,
        *,
        credit=0,
    ):
        self.uuid = uuid
        self.recv_ident = recv_ident
        self.encode = ENCODERS[protocol]
        self.rcvhwm = rcvhwm
        self.binds_sub = sub  # else the test does, later
        self.send_spec, self.recv_spec = (f"tcp://127.0.0.1:{free_port()}" for _ in range(2))
        self.credit = credit
        self.messages = defaultdict(list)  # bodies by connection id, in order of arrival
        self.outstanding = defaultdict(int)  # bytes by connection id
        self.overrun = []  # connection ids that were sent more than they had credit for
        self.orders = defaultdict(list)  # ctl messages by connection id, as tnetstrings
        self.strays = []  # messages for another UUID, or of another form
        self.arrived = threading.Condition()
        self._pushing = threading.Lock()  # a socket is for one thread at a time
        self.reading = threading.Event()
        self.reading.set()
        self.attached = threading.Event()  # somebody has connected to the SUB
        self._context = zmq.Context()
        self._push = None
        self._departures = None  # a monitor of the PUSH
        self._sub = None

    @property
    def spec(self):
        return f"{self.send_spec},{self.recv_spec}"

    # Coming and going

    def __enter__(self):
        self.bind_push()
        if self.binds_sub:
            self.bind_sub()
        return self

    def __exit__(self, *_):
        self.stop()
        self._context.term()

    def bind_push(self):
        self._push = self._socket(zmq.PUSH, self.send_spec)
        self._departures = self._push.get_monitor_socket(zmq.EVENT_DISCONNECTED)

    def bind_sub(self):
        self.attached.clear()
        ended = threading.Event()
        bound = threading.Event()
        thread = threading.Thread(target=self._read, args=(bound, ended))
        thread.start()
        assert bound.wait(TIMEOUT)
        self._sub = (thread, ended)

    def stop(self):
        """Go away as a killed process does: what is queued is lost."""
        if self._push is not None:
            self._push.disable_monitor()
            self._departures.close()
            self._push.close()
            self._push = None
        if self._sub is not None:
            thread, ended = self._sub
            ended.set()
            thread.join()
            self._sub = None

    def restart(self):
        self.stop()
        self.messages.clear()
        self.outstanding.clear()
        self.bind_push()
        self.bind_sub()

    def _socket(self, kind, endpoint):
        made = self._context.socket(kind)
        made.linger = 0
        if kind == zmq.SUB:
            made.rcvhwm = self.rcvhwm
            made.subscribe(self.recv_ident)
        deadline = time.monotonic() + TIMEOUT
        while True:
            try:
                made.bind(endpoint)
            except zmq.ZMQError:  # the port of the one before is not free yet
                if time.monotonic() > deadline:
                    made.close()
                    raise
            else:
                return made

    def _read(self, bound, ended):
        sub = self._socket(zmq.SUB, self.recv_spec)
        monitor = sub.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        bound.set()
        while not ended.is_set():
            if not self.attached.is_set() and monitor.poll(0):
                self.attached.set()
            if not self.reading.wait(0.01):
                continue
            if sub.poll(10):
                message = sub.recv()
                with self.arrived:
                    self._take(message)
                    self.arrived.notify_all()
        sub.disable_monitor()
        monitor.close()
        sub.close()

    def _take(self, message):
        uuid, _, rest = message.partition(b" ")
        size, _, rest = rest.partition(b":")
        number = rest[: int(size)] if size.isdigit() else b""
        if uuid == self.uuid.encode() and number[:2] == b"X " and number[2:].isdigit():
            self.orders[int(number[2:])].append(rest[len(number) + 2 :])
            return
        if uuid != self.uuid.encode() or not number.isdigit() or rest[len(number) : len(number) + 2] != b", ":
            self.strays.append(message)
            return
        body = rest[len(number) + 2 :]
        self.messages[int(number)].append(body)
        self.outstanding[int(number)] += len(body)
        if 0 < self.credit < self.outstanding[int(number)]:
            self.overrun.append(int(number))

    def wait(self, condition, timeout=TIMEOUT):
        """Wait until *condition*, looked at after each message, holds."""
        with self.arrived:
            if not self.arrived.wait_for(condition, timeout):
                latest = {
                    number: bodies[-1][:200] for number, bodies in list(self.messages.items())[-3:] if bodies
                }
                raise AssertionError(f"nothing more arrives; the latest were {latest}")

    # Messages

    def raw(self, message, flags=0):
        with self._pushing:
            self._push.send(message, flags)

    def deals(self):
        """Tell whether there is a handler for the next request."""
        return bool(self._push.poll(0, zmq.POLLOUT))

    def wait_for_departure(self):
        """Wait until one more handler has left: what it is dealt while it does may be lost.

        libzmq tells of it before the PUSH knows, which it does once its thread has sent and received something
        else. Of two requests one at least goes to the other handler.
        """
        assert self._departures.poll(TIMEOUT * 1000), "no handler leaves"
        self._departures.recv_multipart()
        others = [self.client().send("/pid") for _ in range(2)]
        self.wait(lambda: any(each.messages for each in others))
        self.deals()  # hears what the thread has said

    def message(self, number, path, fields, body=b"", encode=None):
        head = f"{self.uuid} {number} {path} ".encode("latin-1")
        return b"%b%b%d:%b," % (head, (encode or self.encode)(fields), len(body), body)

    def notice(self, client, kind="disconnect", fields=None, flags=0):
        body = json.dumps({"type": kind}).encode()
        self.raw(self.message(client.number, "@*", {"METHOD": "JSON", **(fields or {})}, body), flags)

    def meet(self, threads):
        """Go on until every thread of the server has answered."""
        names = set()
        while len(names) < threads:
            names.add(self.get("/thread").body)

    def settle(self):
        """Go on until the server knows that clients may be sent any answer at once, by one that it cuts before."""
        assert self.get("/large?size=200000").status == 200

    def client(self):
        return Client(self, next(_ids))

    def get(self, target="/", **more):
        """Make a connection, send a request on it and return the answer."""
        client = self.client()
        client.send(target, **more)
        return client.answer()


class Client:
    """One connection of a browser to Mongrel2."""

    def __init__(self, peer, number):
        self.peer = peer
        self.number = number
        self.taken = 0  # messages that earlier answers were made of
        self.flushed = 0  # messages that have been read
        self.begun = False  # it has sent a request

    @property
    def messages(self):
        return self.peer.messages[self.number]

    def send(
        self, target="/", *, method="GET", version="HTTP/1.1", headers=None, body=b"", encode=None, **special
    ):
        """Send a request; *special* are keys that Mongrel2 makes, None leaves one out."""
        path, question, query = target.partition("?")
        fields = {"PATH": path, "METHOD": method, "VERSION": version, "URI": target, "PATTERN": "/",
                  "URL_SCHEME": "http", "REMOTE_ADDR": "192.0.2.7"}  # fmt: skip
        if question:
            fields["QUERY"] = query
        if self.peer.credit and not self.begun:
            fields["DOWNLOAD_CREDITS"] = str(self.peer.credit)
        self.begun = True
        fields |= {"host": "example.org", "x-forwarded-for": "192.0.2.7"} | (headers or {}) | special
        if body and "content-length" not in fields:
            fields["content-length"] = str(len(body))
        fields = {name: value for name, value in fields.items() if value is not None}
        self.peer.raw(self.peer.message(self.number, path, fields, body, encode))
        return self

    def read(self):
        """Read all that has arrived: Mongrel2 tells of each message by itself; return their bytes.

        A server that has sent its last may have ended by then, and needs no credit.
        """
        arrived = self.messages[self.flushed :]
        self.flushed += len(arrived)
        for message in filter(None, arrived):
            with self.peer.arrived:
                self.peer.outstanding[self.number] -= len(message)
            with contextlib.suppress(zmq.Again):
                self.peer.notice(self, "credits", {"DOWNLOAD_CREDITS": str(len(message))}, zmq.DONTWAIT)
        return b"".join(arrived)

    def read_until(self, condition):
        """Read on until *condition* holds for all bytes of the connection."""

        def over():
            self.read()
            return condition(b"".join(self.messages))

        self.peer.wait(over)

    def orders(self, number=1):
        """Wait for so many ctl messages and return all."""
        self.peer.wait(lambda: len(self.peer.orders[self.number]) >= number)
        return self.peer.orders[self.number]

    def answer(self, head_only=False):
        """Take the next answer from what has arrived, waiting for the rest of it."""
        found = None

        def complete():
            nonlocal found
            found = Answer.of(self.messages[self.taken :], head_only)
            return found is not None

        self.peer.wait(complete)
        self.taken += found.count
        return found

    def closed(self):
        """Wait for the empty message and tell how many messages there are in all."""
        self.peer.wait(lambda: b"" in self.messages)
        return len(self.messages)


class Answer:
    """An HTTP answer; ``count`` messages carried it, the closing one not among them."""

    def __init__(self, head, body, count, ended):
        first, *lines = head.decode("latin-1").split("\r\n")
        self.version, self.status, self.reason = first.split(" ", 2)
        self.status = int(self.status)
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        self.body = body
        self.count = count
        self.ended = ended

    def json(self):
        return json.loads(self.body)

    @classmethod
    def of(cls, messages, head_only=False):
        """Return the answer at the beginning of *messages*, None where it is not complete."""
        start = head = blank = b""
        pieces = []  # of the body, not put together before it is whole: there may be much of it
        for count, message in enumerate(messages, 1):
            if not message:
                return cls(head, b"".join(pieces), count - 1, "close")
            if blank:
                pieces.append(message)
            else:
                start += message
                head, blank, body = start.partition(b"\r\n\r\n")
                pieces = [body]
            if blank and (answer := cls(head, b"", count, "length"))._complete(pieces, head_only):
                return answer
        return None

    def _complete(self, pieces, head_only):
        if head_only or self.status in {204, 304}:
            self.body = b"".join(pieces)
            return True
        if "content-length" in self.headers:
            if sum(map(len, pieces)) < int(self.headers["content-length"]):
                return False
            self.body = b"".join(pieces)
            return True
        end = b"".join(piece[-5:] for piece in pieces[-5:])
        if self.headers.get("transfer-encoding") == "chunked" and end.endswith(b"0\r\n\r\n"):
            self.ended = "chunked"
            self.body = unchunked(b"".join(pieces))
            return True
        return False


def unchunked(data):
    pieces = []
    at = 0
    while True:
        line = data.index(b"\r\n", at)
        count = int(data[at:line], 16)
        at = line + 2 + count
        pieces.append(data[line + 2 : at])
        assert data[at : at + 2] == b"\r\n"
        at += 2
        if not count:
            assert at == len(data)
            return b"".join(pieces)
