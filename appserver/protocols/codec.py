"""The contract of a codec: the six functions in which protocols differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

if TYPE_CHECKING:
    from collections.abc import Sequence

    from appserver.exchange import Exchange
    from appserver.protocols.forwarded import Forwarded
    from appserver.protocols.framing import ChunkedBody

    Piece = bytes | memoryview  # of an answer on its way to the wire

AT_ONCE: Final = (
    500  # small chunks or records that are taken before others have their turn, a millisecond or so
)


class ProtocolError(Exception):
    """Say why bytes from the peer are refused and with which status.

    ``answer`` is False where the peer could not read an HTTP answer, and ``hint`` tells the
    operator what to change where the bytes show it. ``retry_after`` are the seconds after which
    it may be better; 0 = it will not. ``fields`` are further header fields of the answer, which has no
    body where a request that could not become one is known to be ``bodiless``.
    """

    def __init__(
        self,
        status: str,
        reason: str,
        answer: bool = True,
        hint: str = "",
        retry_after: int = 0,
        *,
        fields: tuple[tuple[str, str], ...] = (),
        bodiless: bool = False,
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.answer = answer
        self.hint = hint
        self.retry_after = retry_after
        self.fields = fields
        self.bodiless = bodiless


@mypyc_attr(allow_interpreted_subclasses=True)  # other listeners have codecs of their own
class Codec:
    """Translate one connection's bytes; never read, write, wait or log.

    A codec keeps the bytes that it cannot use yet in ``buffer``, and what the protocol itself has to
    say, outside any answer, in ``replies``. Only `ProtocolError` escapes it. Whoever has what is cheap to
    send and dear to read takes no more than `AT_ONCE` of it in one call, and is ``behind`` then.
    """

    __slots__ = ("buffer", "chunks", "replies", "trust")

    dated = False  # `head` adds Date; else the front end does
    cgi = False  # the status is a field, so no other one may have its name
    announces = True  # an answer tells the peer that its connection ends
    exact = True  # nothing comes behind a body that ends where its request says
    plain = False  # a body whose length is known comes as it is, with nothing in between
    multiplexed = False  # what is left of a body cannot be taken for the next request
    partial = False  # a request has begun, though nothing of it may be in the buffer
    spoiler = b""  # what shows that an answer is cut, where nothing can break its connection
    verbatim = False  # a body of known length goes on the wire as it is, so sendfile may carry it

    def __init__(self) -> None:
        self.buffer = b""
        self.replies = b""
        self.chunks: ChunkedBody | None = None  # of the request whose body is chunked
        self.trust: Forwarded | None = None  # what proxies say counts, as far as they are trusted

    @property
    def behind(self) -> bool:
        """Whether more can be taken of the buffer; asked where a head or a body is not whole."""
        return self.chunks is not None and self.chunks.behind

    def receive(self, data: bytes) -> Exchange | None:
        """Take bytes and return the next request, or None where more are needed."""
        raise NotImplementedError

    def receive_body(self, x: Exchange, data: bytes) -> Sequence[Piece]:
        """Take bytes and return what of them is *x*'s body, in pieces; ``x.body_left`` is 0 at its end."""
        if self.buffer:
            data = self.buffer + data if data else self.buffer
        if self.chunks is not None:
            body, self.buffer, ended = self.chunks.decode(data)
            if ended:
                x.body_left = 0
            return (body,) if body else ()
        left = x.body_left
        if len(data) <= left:
            self.buffer = b""
            x.body_left = left - len(data)
            return (data,) if data else ()
        self.buffer = data[left:]
        x.body_left = 0
        return (data[:left],)

    def aborted(self, data: bytes) -> bool:
        """Tell whether *data*, come while the answer is made, says that nobody wants it."""
        return False

    def goes_on(self, x: Exchange) -> bool:
        """Tell whether the peer may send its next request before it has seen how *x*'s answer ends."""
        return False

    def ends_by_close(self, x: Exchange) -> bool:
        """Tell whether a peer may take the connection's end for that of *x*'s answer, which has begun."""
        return x.length is None and not x.chunked

    def ask(self, x: Exchange) -> bytes:
        """Return what invites the peer to send the body; called once, where ``x.expect`` is set."""
        return b""

    def head(self, x: Exchange) -> bytes:
        """Return the answer's head."""
        raise NotImplementedError

    def body(self, x: Exchange, data: bytes) -> Sequence[Piece]:
        """Wrap one piece of the answer's body, without copying it; never called with an empty one."""
        return (data,)

    def end(self, x: Exchange) -> bytes:
        """Return what ends a complete answer."""
        return b""

    def whole(self, x: Exchange, head: bytes, data: bytes) -> bytes:
        """Return a whole answer: its *head*, which is made, and *data*, its body; 32 KiB at most.

        It is what the other functions make one after the other, which some make at once.
        """
        return b"".join((head, *(self.body(x, data) if data else ()), self.end(x)))

    def refuse(self, error: ProtocolError, x: Exchange | None = None) -> bytes:
        """Return the whole answer to a request that is refused: to *x*, or before it became one."""
        raise NotImplementedError
