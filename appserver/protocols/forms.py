"""Requests that resemble each other: the same names in the same order, and mostly the same values.

What they have in common is their *form*, remembered as a tree of parts: bytes that have always been the
same, up to a value that varies. A request that has a known form is a copy of what is known of it, with the
values put in that vary. Nothing secret is remembered (see `repeats`): what may be is taken to vary.
"""

from __future__ import annotations

from sys import intern
from typing import TYPE_CHECKING, Any, Final

from mypy_extensions import mypyc_attr

from appserver.protocols.repeated import repeats

if TYPE_CHECKING:
    from collections.abc import Sequence

NOWHERE: Final = (-1, -1)
MOST: Final = 6000  # names in forms; then all are forgotten, so that who invents them does no lasting harm
_LONGEST: Final = 4096  # bytes of a request whose form is learned
_MANY: Final = 100  # names in it
_AT_FIRST: Final = 1000  # requests without a known form that are learned,
_RARELY: Final = 200  # and one of so many of those that come later: to learn costs more than to read
_BESIDE: Final = 16  # parts of which one may follow
_BETWEEN: Final = "\xa6"  # that is printable, and hardly ever stands beside a blank
_BASES: Final = 1000  # of listeners and their threads; then all are forgotten


def _blank(said: str) -> bool:
    """Tell whether one of the values that are joined may begin or end with a blank."""
    return " \xa6" in said or "\xa6 " in said or said.startswith(" ") or said.endswith(" ")


class Item:
    """A name and its value, in the bytes *said*; where the value varies, *lead* and *name* do not.

    *lead* is what stands in front, and *name* what has to be looked for behind it, if it is not in *lead*.
    Without a *key* it is not passed on. Of what varies no value is kept.
    """

    __slots__ = ("key", "lead", "name", "said", "value", "varies")

    def __init__(self, key: str, value: str, said: bytes, lead: bytes, name: bytes = b"") -> None:
        self.key = key
        self.value = value
        self.said = said
        self.lead = lead
        self.name = name
        self.varies = False

    def begins_as(self, other: Item) -> bool:
        """Tell whether both have the same name in the same notation."""
        return self.lead == other.lead and self.name == other.name


class Step:
    """Bytes that stand in front of a value that varies, and its `Item.name`."""

    __slots__ = ("name", "said", "size")

    def __init__(self, said: bytes, name: bytes) -> None:
        self.said = said
        self.size = len(said)
        self.name = name


class Form:
    """All that a request says that has this form: *whole*, but for the values of *keys*, which vary.

    There is a step to each of them, and *last* is what stands behind all.
    """

    __slots__ = ("drops", "keys", "last", "steps", "whole")

    def __init__(self, path: list[Part], whole: dict[str, Any], tail: bytes = b"") -> None:
        self.whole = whole
        self.keys = [part.varying.key for part in path if part.varying is not None]
        self.steps: list[Step] = []
        said = b""
        for part in path:
            said += part.said
            if part.varying is not None:
                self.steps.append(Step(said, part.name))
                said = tail
        self.last = said
        self.drops = "" in self.keys


class Part:
    """Items whose values are always the same, then one whose value varies, if any; and what may follow.

    It does not change; what is learned makes another one. The last one of a form knows it.
    """

    __slots__ = ("behind", "form", "items", "name", "said", "size", "varying")

    def __init__(self, items: list[Item], varying: Item | None) -> None:
        self.items = items
        self.varying = varying
        said = b"".join([item.said for item in items])
        self.said = said if varying is None else said + varying.lead
        self.name = b"" if varying is None else varying.name
        self.size = len(self.said)
        self.behind: list[Part] = []
        self.form: Form | None = None

    @property
    def first(self) -> Item | None:
        """The item that it begins with; None at the root."""
        return self.items[0] if self.items else self.varying

    def shared_with(self, items: Sequence[Item]) -> tuple[Part, int]:
        """Return what of it is true of *items*, too, and how many of them that takes; the first begins as it.

        Behind a value that has varied for the first time nothing is known any more.
        """
        for count, known in enumerate(self.items):
            item = items[count] if count < len(items) else None
            if item is None or not item.begins_as(known):
                return self._cut(count), count
            if item.said != known.said:
                return Part(self.items[:count], known), count + 1
        count = len(self.items)
        if self.varying is None:
            return self, count
        if count < len(items) and items[count].begins_as(self.varying):
            return self, count + 1
        return self._cut(count), count

    def _cut(self, count: int) -> Part:
        rest = Part(self.items[count:], self.varying)
        rest.behind, rest.form = self.behind, self.form
        part = Part(self.items[:count], None)
        part.behind = [rest]
        return part

    def grown(self, items: Sequence[Item], path: list[Part], whole: dict[str, Any], tail: bytes) -> Part:
        """Return it with a form behind it that goes on with *items*, behind the parts of *path*."""
        part = Part(self.items, self.varying)
        part.behind, part.form = self.behind, self.form
        path = [*path, part]
        if not items:
            part.form = Form(path, whole, tail)
            return part
        others = []
        found: Part | None = None
        count = 0
        for following in self.behind:
            first = following.first
            if found is None and first is not None and items[0].begins_as(first):
                found, count = following.shared_with(items)
            else:
                others.append(following)
        if found is None:
            while count < len(items) and not items[count].varies:
                count += 1
            found = Part(list(items[:count]), items[count] if count < len(items) else None)
            count += found.varying is not None
        part.behind = [found.grown(items[count:], path, whole, tail), *others[: _BESIDE - 1]]
        return part


class Memory:
    """The forms of requests that have one *base*: what is in the environ of each."""

    __slots__ = ("base", "count", "latest", "misses", "root")

    def __init__(self, base: dict[str, Any]) -> None:
        self.base = base
        self.root = Part([], None)
        self.latest: Form | None = None  # that of the last request which had one
        self.count = 0  # names that were learned
        self.misses = 0  # requests that had none

    def learn(self, items: list[Item], tail: bytes) -> None:
        """Remember the form of a request."""
        if self.count >= MOST:
            self.count = 0
            self.root = Part([], None)
        self.count += len(items)
        passed = [item for item in items if item.key]
        whole = {item.key: item.value for item in passed}
        if len(whole) == len(passed) and whole.keys().isdisjoint(self.base):
            self.root = self.root.grown(items, [], self.base | whole, tail)


@mypyc_attr(allow_interpreted_subclasses=True)
class Forms:
    """Know the forms of requests in one notation.

    Behind each value stands *tail*; a *mark* is one that is never within. With *bare* no value may begin or
    end with a blank.
    """

    __slots__ = ("_bare", "_mark", "_memories", "_memory", "_tail")

    def __init__(self, tail: str = "", *, mark: str = "", bare: bool = False) -> None:
        self._tail = (tail or mark).encode("latin-1")
        self._mark = mark
        self._bare = bare
        self.forget()

    def forget(self) -> None:
        """Forget all that has been learned."""
        self._memory = Memory({})
        self._memories: dict[int, Memory] = {}  # by the identity of their bases

    def span(self, data: bytes, at: int, name: bytes) -> tuple[int, int]:
        """Return where the value of *name* starts and ends, whose `Item.lead` ends at *at*.

        `NOWHERE` where it is another one or has to be looked at; raise IndexError where *data* ends before.
        """
        raise NotImplementedError  # no notation without a mark has it in common with another

    def items(self, data: bytes, text: str, at: int, end: int) -> list[Item]:
        """Return what is in ``data[at:end]``, which is well-formed; nothing where it has no form."""
        raise NotImplementedError  # no notation is common to all

    def filled(
        self, data: bytes, text: str, at: int, end: int, base: dict[str, Any]
    ) -> dict[str, Any] | None:
        """Return *base* and what ``data[at:end]`` says, where that has a known form: the caller's to change.

        All of its values are printable then, and none is in *base*. *text* is ``data[:end]`` as latin-1.
        """
        memory = self._memory
        if memory.base is not base:
            memory = self._memory_of(base)
        form = memory.latest
        if form is None:
            return self._find(memory, data, text, at, end)
        mark = self._mark
        values: list[str] = []
        begin = at
        try:
            for step in form.steps:
                start = at + step.size
                if data[at:start] != step.said:
                    break
                if mark:
                    at = text.find(mark, start)
                else:
                    start, at = self.span(data, start, step.name)
                if at < 0 or at > end:
                    break
                values.append(text[start:at])
            else:
                if data[at:end] == form.last:
                    given = self._fill(form, values)
                    if given is not None:
                        return given
        except IndexError:
            pass
        return self._find(memory, data, text, begin, end)

    def _find(self, memory: Memory, data: bytes, text: str, at: int, end: int) -> dict[str, Any] | None:
        """Do so with any form but the latest."""
        mark = self._mark
        tail = len(self._tail)
        values: list[str] = []
        part = memory.root
        try:
            while at < end:
                for following in part.behind:
                    start = at + following.size
                    if data[at:start] != following.said:
                        continue
                    if following.varying is None:
                        at = start
                        break
                    if mark:
                        stop = text.find(mark, start)
                    else:
                        start, stop = self.span(data, start, following.name)
                    # What has no blank in its lead may stand in front of one.
                    if 0 <= stop <= end and not (self._bare and text[start] == " "):
                        values.append(text[start:stop])
                        at = stop + tail
                        break
                else:
                    return None
                part = following
        except IndexError:
            return None
        form = part.form
        if at != end or form is None:
            return None
        memory.latest = form
        return self._fill(form, values)

    def _fill(self, form: Form, values: list[str]) -> dict[str, Any] | None:
        given = form.whole.copy()
        if values:
            said = _BETWEEN.join(values)
            if not said.isprintable() or (self._bare and " " in said and _blank(said)):
                return None
            for key, value in zip(form.keys, values):  # noqa: B905  (they are as many, and to look costs more)
                given[key] = value
            if form.drops:
                del given[""]
        return given

    def learn(self, data: bytes, text: str, at: int, end: int, base: dict[str, Any]) -> None:
        """Learn the form of what is in ``data[at:end]``: printable values, none in *base* or twice."""
        memory = self._memory_of(base)
        memory.misses += 1
        if end - at > _LONGEST or (memory.misses > _AT_FIRST and memory.misses % _RARELY):
            return
        items = self.items(data, text, at, end)
        if not items or len(items) > _MANY:
            return
        for item in items:
            if not repeats(item.said, item.key, item.value):
                item.varies = True
                item.value, item.said = "", b""
            item.key = intern(item.key)
        memory.learn(items, self._tail)

    def _memory_of(self, base: dict[str, Any]) -> Memory:
        memory = self._memories.get(id(base))
        if memory is None:
            if len(self._memories) >= _BASES:
                self._memories.clear()
            memory = self._memories[id(base)] = Memory(base)
        self._memory = memory
        return memory
