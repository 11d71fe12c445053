"""What Mongrel2 takes for each client at a time (``download.flow_control``), and what waits for that.

Mongrel2 drops a client for which it is sent more than it has told (src/connection.c). What it has
passed on to the client it gives back in notices. The account is a connection's, not a request's: it is
kept in the one place that all answers of the connection go through.

That it does so is a setting of the whole Mongrel2, of which only the first request of a connection tells, or
a notice; and who has just come meets connections that are older. So until it is known what clients are sent
is accounted for. It begins with a few bytes, which Mongrel2 is rid of at once: where it says nothing of
those, it never will.
"""

from __future__ import annotations

from collections import deque
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from appserver import critical
from appserver.errors import ClientGone
from appserver.protocols.mongrel2 import MOST_CREDITS, control, envelope, envelope_to

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from appserver.listeners.turns import Line

    Deliver = Callable[[bytes, int], bool]

_AHEAD = 65536  # bytes that may wait before a stream is held up
_MOST = 32768  # bytes of a message: a slow client has to read them before credit comes back
_FIRST = 8192  # bytes of a first one, while it is not known whether it does
_SILENCE = 0.5  # seconds in which Mongrel2 would have given some of that back
_WORTH = 16384  # bytes of credit that are worth a message, where more than that waits
_PROBE = 0.5  # seconds without credit after which Mongrel2 is asked whether the client is there,
_SLOW_PROBE = (
    5.0  # and where nothing waits for that: it does not tell who has left while it was sent something
)
_REMEMBERED = 10000  # connections whose clients have left with something outstanding
_PATIENCE = 10.0  # seconds more than `_SILENCE` for threads that an application blocks to read what they have


class Reader(Protocol):
    """Who reads what Mongrel2 tells, with others."""

    attachment: int
    read_at: float  # when nothing more has waited last, in monotonic() seconds


class _Account:
    """A client that has not read all it was sent."""

    __slots__ = ("closing", "held_up", "outstanding", "probe_at", "since", "waiting", "waiting_size")

    def __init__(self) -> None:
        self.outstanding = 0  # bytes that Mongrel2 has for it
        self.waiting: deque[memoryview] = deque()
        self.waiting_size = 0
        self.closing = False  # the connection ends after what waits
        self.held_up = False  # a stream has been told to wait
        self.since = self.probe_at = 0.0  # when it last got on; when to ask for it


class Credits:
    """Keep the accounts of all clients that have something outstanding; shared by all threads.

    *deliver* takes a message for Mongrel2 and its attachment: it returns False where Mongrel2 takes none
    now, and raises `ClientGone` where that attachment has ended. A client of which Mongrel2 tells nothing for
    *timeout* seconds while something waits for it is dropped.
    """

    def __init__(self, deliver: Deliver, timeout: float) -> None:
        self.controlled = 0  # the attachment of which it is known that Mongrel2 controls the flow,
        self.uncontrolled = 0  # or that it does not
        self.due = inf  # when that is known of the present one, should it say nothing
        self._asked = 0  # the attachment that has been sent something of which it would tell
        self._deliver = deliver
        self._timeout = timeout
        self._lock = critical.lock()
        self.open: dict[Line, _Account] = {}  # of those that have not read all
        self._left: dict[Line, None] = {}  # of which a thread may still read what another has been told after
        self.readers: list[Reader] = []  # all that Mongrel2 may tell something

    def learn(self, attachment: int) -> None:
        """Note that Mongrel2 controls the flow."""
        with self._lock:
            self.controlled = attachment
            self.due = inf
            if self.uncontrolled == attachment:  # it was slow to tell
                self.uncontrolled = 0

    def settle(self, attachment: int) -> list[Line]:
        """Note that Mongrel2 does not control the flow, and send what waits; return streams that can go on.

        To be called when it is `due`, and all has been read that Mongrel2 has said. It may have said it to
        another of the `readers`, so they are waited for; not for ever, as applications may block them.
        """
        freed: list[Line] = []
        now = monotonic()
        with self._lock:
            if attachment != self._asked or now < self.due:
                return freed
            behind = [
                each for each in self.readers if each.attachment == attachment and each.read_at < self.due
            ]
            if behind and now < self.due + _PATIENCE:
                return freed
            for line, account in list(self.open.items()):
                if line[0] != attachment:
                    continue
                try:
                    if not self._send_all(line, account):
                        return freed  # the rest at the next look: nothing may get before it
                except ClientGone:
                    self.open.pop(line, None)
                if account.held_up:
                    freed.append(line)
            self.uncontrolled = attachment
            self.due = inf
        return freed

    def put(self, line: Line, data: bytes, *, close: bool = False) -> bool:
        """Send *data* to a client, or have it wait for credit; with *close* the connection ends after it.

        Return False where there is no account any more, as Mongrel2 does not control the flow: another
        thread may have found that out since the caller has looked. What was put before is sent then, and
        nothing may be kept here that would be behind what is sent past us. Raise `ClientGone` where nobody
        is there.
        """
        with self._lock:
            if line[0] == self.uncontrolled:
                return False
            account = self.open.get(line)
            if account is None:
                account = self.open[line] = _Account()
            if account.closing:
                raise ClientGone
            if data:
                if not account.waiting:
                    self._begin(account)
                account.waiting.append(memoryview(data))
                account.waiting_size += len(data)
            account.closing = close
            try:
                self._send(line, account)
            except ClientGone:
                self.open.pop(line, None)
                raise
            account.held_up = account.waiting_size > _AHEAD
            return True

    def put_together(self, lines: Sequence[Line], data: bytes) -> Sequence[Line]:
        """Send *data* in one message to those clients of a Mongrel2 that have credit; return the others."""
        if len(data) > _MOST or not lines:
            return lines
        with self._lock:
            if lines[0][0] == self.uncontrolled:
                return lines
            able: list[Line] = []
            others: list[Line] = []
            for line in lines:
                account = self.open.get(line)
                full = account is not None and (
                    account.waiting or account.closing or MOST_CREDITS - account.outstanding < len(data)
                )
                (others if full else able).append(line)
            if not able:
                return others
            attachment, (uuid, _) = able[0]
            message = envelope_to(uuid, [number for _, (_, number) in able], data)
            try:
                if not self._deliver(message, attachment):
                    return lines
            except ClientGone:
                return lines
            for line in able:
                account = self.open.setdefault(line, _Account())
                if not account.outstanding:
                    self._begin(account)
                account.outstanding += len(data)
            self._expect(attachment)
            return others

    def give(self, line: Line, credit: int) -> bool | None:
        """Take back credit; return True where a held-up stream goes on, None where it is nobody's."""
        with self._lock:
            account = self.open.get(line)
            if account is None:
                return False if line in self._left else None
            account.outstanding = max(0, account.outstanding - credit)
            self._begin(account)
            try:
                self._send(line, account)
            except ClientGone:
                self.open.pop(line, None)
                return account.held_up
            if account.held_up and account.waiting_size <= _AHEAD:
                account.held_up = False
                return True
            return False

    def held_up(self, line: Line) -> bool:
        """Tell whether a stream, or the next answer, has to wait: the client does not read as fast."""
        account = self.open.get(line)
        return account is not None and account.held_up

    def reads(self, line: Line) -> bool:
        """Tell whether nothing waits for a client to read."""
        account = self.open.get(line)
        return account is None or not account.waiting

    def _send(self, line: Line, account: _Account) -> None:
        """Send what there is credit for; forget an account that is even."""
        attachment, connection = line
        waiting = account.waiting
        while waiting:
            credit = MOST_CREDITS - account.outstanding
            if credit < min(account.waiting_size, _WORTH):
                return
            most = _MOST if account.outstanding or attachment == self.controlled else _FIRST
            piece = waiting[0][: min(credit, most)]
            if not self._deliver(envelope(connection, [piece]), attachment):
                return
            self._expect(attachment)
            size = len(piece)
            account.outstanding += size
            account.waiting_size -= size
            if size == len(waiting[0]):
                waiting.popleft()
            else:
                waiting[0] = waiting[0][size:]
        if account.closing:
            if not self._deliver(envelope(connection), attachment):
                return
            del self.open[line]
        elif not account.outstanding:
            del self.open[line]

    def _send_all(self, line: Line, account: _Account) -> bool:
        """Send what waits as one message; return False where Mongrel2 does not take it now."""
        attachment, connection = line
        if account.waiting:
            if not self._deliver(envelope(connection, account.waiting), attachment):
                return False
            account.waiting.clear()
            account.waiting_size = 0
        if account.closing and not self._deliver(envelope(connection), attachment):
            return False
        del self.open[line]
        return True

    def _expect(self, attachment: int) -> None:
        """Note that Mongrel2 has something of which it would tell."""
        if attachment != self._asked:
            self._asked = attachment
            self.due = inf if attachment == self.controlled else monotonic() + _SILENCE

    def _begin(self, account: _Account) -> None:
        account.since = monotonic()
        account.probe_at = account.since + _PROBE

    def look(self) -> list[Line]:
        """See to clients that do not get on, and return those that are dropped; to be called now and then.

        Mongrel2 does not tell of a client that has left while it was being sent something, but of one
        that does not exist any more where a message is for it.
        """
        dropped = []
        now = monotonic()
        with self._lock:
            for line, account in list(self.open.items()):
                attachment, connection = line
                waits = account.waiting or account.closing
                try:
                    if not waits:
                        if now >= account.probe_at and attachment == self.controlled:
                            account.probe_at = now + _SLOW_PROBE
                            self._deliver(control(connection), attachment)
                        continue
                    self._send(line, account)
                    if line not in self.open or now < account.probe_at:
                        continue
                    if now - account.since < self._timeout:
                        account.probe_at = now + _PROBE
                        self._deliver(control(connection), attachment)
                        continue
                    self._deliver(control(connection, cancel=True), attachment)
                except ClientGone:
                    pass
                self.open.pop(line, None)
                if waits:
                    dropped.append(line)
        return dropped

    def forget(self, line: Line) -> None:
        """Drop what waits for a client that has left."""
        with self._lock:
            if self.open.pop(line, None) is not None:
                self._left[line] = None
                if len(self._left) > _REMEMBERED:
                    del self._left[next(iter(self._left))]

    def lost(self, attachment: int) -> None:
        """Drop what waits for the clients of a Mongrel2 that has left."""
        with self._lock:
            for line in [each for each in self.open if each[0] == attachment]:
                del self.open[line]
            if attachment == self._asked:  # threads tell of it one after the other, each in its time
                self.due = inf

    @property
    def waits(self) -> bool:
        """Whether something waits for credit."""
        with self._lock:
            return any(each.waiting or each.closing for each in self.open.values())
