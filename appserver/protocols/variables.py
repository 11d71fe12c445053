"""Names and values that follow each other in a front end's packet."""

from __future__ import annotations

from typing import Any

from mypy_extensions import mypyc_attr

from appserver.protocols.codec import ProtocolError
from appserver.protocols.forms import Forms, Item
from appserver.protocols.framing import BAD_REQUEST
from appserver.protocols.repeated import LONG, MOST, Entry


@mypyc_attr(allow_interpreted_subclasses=True)
class Variables(Forms):
    """Read variables in one protocol's notation, which `cut` knows, and remember the forms of packets."""

    __slots__ = ("_keys", "overrun")

    def __init__(self, overrun: str, tail: str = "", *, mark: str = "", bare: bool = False) -> None:
        super().__init__(tail, mark=mark, bare=bare)
        self.overrun = overrun  # what is wrong with a packet whose last variable is longer

    def forget(self) -> None:
        super().forget()
        self._keys: dict[str, str] = {}  # what `key` has found, but for None

    def cut(self, data: bytes, text: str, at: int) -> tuple[str, str, int]:
        """Return the name and the value that begin at *at*, and where they end.

        *text* is *data* as latin-1. Raise IndexError where *data* ends before.
        """
        raise NotImplementedError  # no notation is common to all

    def lead(self, said: bytes, name: str) -> tuple[bytes, bytes]:
        """Return `Item.lead` and `Item.name` of a variable; nothing where there are none."""
        raise NotImplementedError

    def key(self, name: str) -> str | None:
        """Return the environ's key of a plain variable of this name, "" where it is not passed on.

        None where it cannot be plain.
        """
        raise NotImplementedError

    def unusual(self, data: bytes, at: int, end: int) -> dict[str, Any]:
        """Return the variables in ``data[at:end]``, of which some are not plain."""
        raise NotImplementedError  # what may be given twice, or not at all, differs

    def read(self, data: bytes, at: int, end: int, base: dict[str, Any]) -> dict[str, Any]:
        """Return what is in *base* and the variables in ``data[at:end]``, which are latin-1 text.

        They are *plain* where none is given twice or is in *base*, which counts, each value is printable
        and each name has a `key`; else it is what `unusual` makes of them. Raise `ProtocolError` where they
        do not end there.
        """
        text = data[:end].decode("latin-1")
        filled = self.filled(data, text, at, end, base)
        return self.read_new(data, text, at, end, base) if filled is None else filled

    def read_new(self, data: bytes, text: str, at: int, end: int, base: dict[str, Any]) -> dict[str, Any]:
        """Return the same where the form is not known, and learn it."""
        begin = at
        given = base.copy()
        count = len(given)
        values: list[str] = []
        plain = True
        keys = self._keys
        try:
            while at < end:
                name, value, at = self.cut(data, text, at)
                if at > end:  # nothing is learned of what has not come whole
                    raise ProtocolError(BAD_REQUEST, self.overrun)
                key = keys.get(name)
                if key is None:
                    key = self._new_key(name)
                values.append(value)
                if key:
                    given[key] = value
                    count += 1
                elif key is None:
                    plain = False
        except IndexError:
            raise ProtocolError(BAD_REQUEST, self.overrun) from None
        if plain and len(given) == count and "".join(values).isprintable():
            self.learn(data, text, begin, end, base)
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

    def items(self, data: bytes, text: str, at: int, end: int) -> list[Item]:
        found = []
        while at < end:
            name, value, stop = self.cut(data, text, at)
            said = data[at:stop]
            lead, named = self.lead(said, name)
            if not lead:
                return []
            found.append(Item(self.key(name) or "", value, said, lead, named))
            at = stop
        return found

    def _new_key(self, name: str) -> str | None:
        key = self.key(name)
        if key is not None and len(name) < LONG:
            if len(self._keys) >= MOST:
                self._keys.clear()
            self._keys[name] = key
        return key
