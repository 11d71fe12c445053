"""Compare answers to the same request: what differs, and may not."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from appserver.protocols.fronts import Answer

# Framing, and what the front end or the clock says.
_HEADERS = frozenset({"date", "connection", "keep-alive", "transfer-encoding", "content-length"})
# What front ends tell each in their own way (docs/security/environ.md), in an environ that is told as JSON.
MAY_DIFFER = frozenset(
    {
        "appserver.listener", "appserver.queued", "wsgi.input", "wsgi.errors", "REMOTE_PORT", "SERVER_NAME",
        "SERVER_PORT", "REQUEST_SCHEME", "DOCUMENT_ROOT", "SCGI", "HTTP_X_FORWARDED_FOR", "HTTP_CONNECTION",
    }
)  # fmt: skip
_SHOWN = 200  # characters of a value


@dataclass(frozen=True)
class Difference:
    """Where two answers differ, and what each says; None where it says nothing."""

    where: str
    first: str | None
    other: str | None

    def __str__(self) -> str:
        return f"{self.where}: {_shown(self.first)} and {_shown(self.other)}"


def _shown(value: str | None) -> str:
    return "nothing" if value is None else repr(value if len(value) <= _SHOWN else f"{value[:_SHOWN]}...")


def differences(first: Answer, other: Answer) -> list[Difference]:
    """Return where *other* differs from *first*: status, fields, body; JSON objects by their keys."""
    found = []
    if first.status != other.status:
        found.append(Difference("status", first.status, other.status))
    if first.complete != other.complete:
        found.append(Difference("end", *("whole" if each.complete else "cut" for each in (first, other))))
    fields = [_fields(each) for each in (first, other)]
    found += [
        Difference(f"header {name}", fields[0].get(name), fields[1].get(name))
        for name in sorted({*fields[0], *fields[1]})
        if fields[0].get(name) != fields[1].get(name)
    ]
    if first.body != other.body:
        found += _bodies(first.body, other.body)
    return found


def _fields(answer: Answer) -> dict[str, str]:
    """Return the fields of an answer, those that are repeated with all their values in order."""
    found: dict[str, str] = {}
    for name, value in answer.headers:
        key = name.lower()
        if key not in _HEADERS:
            found[key] = f"{found[key]}\n{value}" if key in found else value
    return found


def _bodies(first: bytes, other: bytes) -> Iterator[Difference]:
    objects = [_object(first), _object(other)]
    if None not in objects:
        yield from _values("body", *objects)
        return
    at = next(
        (at for at, (a, b) in enumerate(zip(first, other, strict=False)) if a != b),
        min(len(first), len(other)),
    )
    pieces = [f"{len(each)} bytes, ... {each[max(0, at - 20) : at + 40]!r}" for each in (first, other)]
    yield Difference(f"body from byte {at}", *pieces)


def _object(body: bytes) -> object:
    try:
        found = json.loads(body)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _values(where: str, first: object, other: object) -> Iterator[Difference]:
    if isinstance(first, dict) and isinstance(other, dict):
        for key in sorted({*first, *other}):
            if key in MAY_DIFFER:
                continue
            values = first.get(key), other.get(key)
            if key == "CONTENT_LENGTH" and set(values) == {None, "0"}:
                continue  # SCGI tells a length always
            yield from _values(f"{where} {key}", *values)
    elif first != other:
        yield Difference(where, *(None if each is None else json.dumps(each) for each in (first, other)))
