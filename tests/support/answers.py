"""HTTP answers, read strictly from any source of bytes by rules of their own."""

from __future__ import annotations

from dataclasses import dataclass, field


class NoAnswer(Exception):
    """Say that the connection ended without an answer's head."""


@dataclass
class Response:
    """An answer as the front end's client would see it; *raw* are its bytes as they came."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    complete: bool = True
    closed: bool = False
    raw: bytes = b""
    chunks: list[bytes] = field(default_factory=list)
    errors: bytes = b""  # what came for the front end's error log

    def all(self, name):
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def header(self, name):
        values = self.all(name)
        assert len(values) < 2, f"{name} is repeated: {values}"
        return values[0] if values else None


class Wire:
    """The bytes of answers; *more* returns the next ones, b"" at the end, or raises ConnectionError."""

    def __init__(self, more):
        self.more = more
        self.buffer = bytearray()
        self.raw = bytearray()  # of the answer that is being read
        self.ended = False
        self.broken = False

    def fill(self):
        if self.ended:
            return False
        try:
            data = self.more()
        except ConnectionError:
            data = b""
            self.broken = True
        self.ended = not data
        self.buffer += data
        return bool(data)

    def take(self, size):
        """Return *size* bytes, or fewer at the end."""
        while len(self.buffer) < size and self.fill():
            pass
        return self._cut(size)

    def until(self, mark):
        """Return what stands before *mark*, or None where it does not come."""
        while (at := self.buffer.find(mark)) < 0:
            if not self.fill():
                return None
        return self._cut(at + len(mark))[: -len(mark)]

    def rest(self):
        while self.fill():
            pass
        return self._cut(len(self.buffer))

    def _cut(self, size):
        found = bytes(self.buffer[:size])
        del self.buffer[:size]
        self.raw += found
        return found


def read_response(wire, method):
    """Read one answer by the rules of RFC 9112 section 6.3; a CGI answer has the same but for its start."""
    wire.raw.clear()
    head = wire.until(b"\r\n\r\n")
    if head is None:
        raise NoAnswer(bytes(wire.buffer))
    first, *lines = head.decode("latin-1").split("\r\n")
    start, code, reason = [*first.split(" ", 2), ""][:3]
    assert start in {"HTTP/1.1", "HTTP/1.0", "Status:"}, first
    headers = []
    for line in lines:
        name, colon, value = line.partition(": ")
        assert colon, f"{line!r} is no header"
        headers.append((name, value))
    answer = Response(int(code), reason, headers)
    coding, length = answer.header("Transfer-Encoding"), answer.header("Content-Length")
    if method == "HEAD" or answer.status in {204, 304} or answer.status < 200:
        assert coding is None, "an answer without a body has no coding"
    elif coding is not None:
        assert (coding, length) == ("chunked", None)
        answer.complete = _read_chunks(wire, answer.chunks)
        answer.body = b"".join(answer.chunks)
    elif length is not None:
        answer.body = wire.take(int(length))
        answer.complete = len(answer.body) == int(length)
    else:
        answer.body = wire.rest()
        answer.complete = not wire.broken
    answer.raw = bytes(wire.raw)
    answer.closed = wire.ended
    return answer


def _read_chunks(wire, chunks):
    while (line := wire.until(b"\r\n")) is not None:
        size = int(line, 16)
        data = wire.take(size + 2)
        if len(data) < size + 2:
            chunks.append(data[:size])
            return False
        assert data.endswith(b"\r\n"), "a chunk is longer than its size"
        if not size:
            return True
        chunks.append(data[:-2])
    return False
