"""Names and values that follow each other in a front end's packet.

Packets resemble each other: most variables have come before, and after the same ones. What has come
before is found by its bytes, and what follows it is compared with what followed the last time, many
variables at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from appserver.protocols.codec import ProtocolError
from appserver.protocols.framing import BAD_REQUEST
from appserver.protocols.repeated import LONG, MOST, REPEATED, repeats

if TYPE_CHECKING:
    from appserver.protocols.repeated import Entry

_LONGEST: Final = 2048  # bytes of a run


class Run:
    """Variables that follow each other: their bytes, and what they say; one at least.

    The last of them knows which run followed it the last time. After some it is not always the same
    variable that comes: at such a *fork* no run goes on.
    """

    __slots__ = ("count", "entries", "first", "forks", "last", "run", "said", "size")

    def __init__(self, said: bytes, entries: dict[str, str], first: Run | None, last: Run | None) -> None:
        self.said = said
        self.size = len(said)
        self.entries = entries
        self.count = len(entries)
        self.first: Run = first or self
        self.last: Run = last or self
        self.run: Run | None = None
        self.forks = False

    def with_next(self, run: Run) -> Run | None:
        """Return what this one and the next say together, None where that is too much."""
        if self.size + run.size > _LONGEST:
            return None
        entries = self.entries | run.entries
        if len(entries) < self.count + run.count:
            return None  # a name comes twice
        return Run(self.said + run.said, entries, self.first, run.last)

    def learn(self, single: Run) -> None:
        """Take to heart what has come after this variable, which was not what was expected."""
        self.forks = not single.size or (self.run is not None and self.run.first is not single)
        self.run = None if self.forks else single


class Variables:
    """Read variables in one protocol's notation, which `cut` knows, and remember those that repeat.

    Nothing secret is remembered, see `repeats`, and no more than `MOST` variables.
    """

    __slots__ = ("_known", "_odd", "_other", "_start", "_varying", "names", "overrun")

    def __init__(self, overrun: str, names: frozenset[str] = REPEATED) -> None:
        self.overrun = overrun  # what is wrong with a packet whose last variable is longer
        self.names = names  # of what repeats
        self.forget()

    def forget(self) -> None:
        """Forget all that has been read."""
        self._known: dict[bytes, Run] = {}
        self._varying: dict[str, Run] = {}  # those whose values are not remembered, by their names
        self._start = Run(b"", {}, None, None)
        self._other = Run(b"", {}, None, None)  # any that is not remembered
        self._other.forks = True
        self._odd = Run(b"", {}, None, None)  # any of a name that does not pass
        self._odd.forks = True

    def cut(self, data: bytes, text: str, at: int) -> tuple[str, str, int]:
        """Return the name and the value that begin at *at*, and where they end.

        *text* is *data* as latin-1. Raise IndexError where *data* ends before.
        """
        raise NotImplementedError  # no notation is common to all

    def passes(self, name: str) -> bool:
        """Tell whether a variable of this name can be plain."""
        return name.isprintable()

    def unusual(self, data: bytes, at: int, end: int) -> dict[str, Any]:
        """Return the variables in ``data[at:end]``, of which some are not plain."""
        raise NotImplementedError  # what may be given twice, or not at all, differs

    def read(self, data: bytes, at: int, end: int, base: dict[str, Any]) -> dict[str, Any]:
        """Return what is in *base* and the variables in ``data[at:end]``, which are latin-1 text.

        They are *plain* where none is given twice or is in *base*, which counts, each value is printable
        and each name `passes`; else it is what `unusual` makes of them. Raise `ProtocolError` where they
        do not end there.
        """
        begin = at
        given = base.copy()
        fresh: list[str] = []  # values that have not been looked at before
        plain = True
        count = len(given)
        text = data[:end].decode("latin-1")
        varying, known = self._varying, self._known
        last = self._start
        owner: Run | None = None  # what has come now was expected after it,
        whole = last  # as one run; or could have been
        try:
            while at < end:
                run = last.run
                # Behind the end there may be a body that looks like more of them.
                if run is not None and (stop := at + run.size) <= end and data[at:stop] == run.said:
                    longer = whole.with_next(run) if owner is not None else None
                    if owner is None or longer is None:
                        owner, whole = last, run
                    else:
                        owner.run = whole = longer
                    given |= run.entries
                    count += run.count
                    at = stop
                    last = run.last
                    continue
                owner = None
                name, value, stop = self.cut(data, text, at)
                if stop > end:  # nothing is learned of what has not come whole
                    raise ProtocolError(BAD_REQUEST, self.overrun)
                given[name] = value
                found = varying.get(name)
                if found is None:
                    found = known.get(data[at:stop])
                    if found is None:
                        found = self._new(data[at:stop], name, value)
                        plain = plain and found is not self._odd
                        fresh.append(value)
                else:
                    fresh.append(value)
                count += 1
                if not last.forks and (found.size or run is not None):
                    last.learn(found)
                at = stop
                last = found
        except IndexError:
            raise ProtocolError(BAD_REQUEST, self.overrun) from None
        if plain and len(given) == count and "".join(fresh).isprintable():
            return given
        return self.unusual(data, begin, end) | base

    def every(self, data: bytes, at: int, end: int) -> list[Entry]:
        """Return all variables in ``data[at:end]``, with repeated ones; remember nothing.

        Raise `ProtocolError` as `read` does.
        """
        text = data[:end].decode("latin-1")
        found = []
        try:
            while at < end:
                name, value, at = self.cut(data, text, at)
                found.append((name, value))
        except IndexError:
            at = end + 1
        if at != end:
            raise ProtocolError(BAD_REQUEST, self.overrun)
        return found

    def _new(self, said: bytes, name: str, value: str) -> Run:
        """Return what to remember of a variable that is new."""
        if repeats(said, name, value, self.names) and value.isprintable():
            if len(self._known) >= MOST:
                self.forget()
            single = self._known[said] = Run(said, {name: value}, None, None)
            return single
        if not self.passes(name):
            return self._odd
        if name in self.names or len(name) >= LONG or len(self._varying) >= MOST:
            return self._other
        some = self._varying[name] = Run(b"", {}, None, None)
        return some
