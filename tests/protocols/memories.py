"""Look into what is remembered of requests (`appserver.protocols.forms`)."""

from __future__ import annotations

from contextlib import contextmanager

from appserver.protocols import fastcgi, scgi, uwsgi
from appserver.protocols.lines import LINES
from appserver.protocols.mongrel2_fields import JSON, TNETSTRINGS

MEMORIES = {
    "uwsgi": uwsgi.VARIABLES,
    "fastcgi": fastcgi.VARIABLES,
    "scgi": scgi.VARIABLES,
    "tnetstring": TNETSTRINGS,
    "json": JSON,
    "http": LINES,
}


def forget():
    """Forget all that has been read."""
    for known in MEMORIES.values():
        known.forget()


@contextmanager
def learning():
    """Have forms of JSON learned as well, which only the compiled build does."""
    learns, JSON.learns = JSON.learns, True
    try:
        yield
    finally:
        JSON.learns = learns


@contextmanager
def forgotten(*memories):
    """Forget for a while."""
    kept = [(known, known._memory, known._memories) for known in memories]
    for known in memories:
        known.forget()
    try:
        yield
    finally:
        for known, memory, every in kept:
            known._memory, known._memories = memory, every


def parts(known):
    """Return all parts of all trees."""
    found = [memory.root for memory in known._memories.values()]
    for part in found:  # which grows
        found += part.behind
    return found


def forms(known):
    """Return all forms, of which some may be in no tree any more."""
    latest = [memory.latest for memory in known._memories.values() if memory.latest is not None]
    found = [part.form for part in parts(known) if part.form is not None]
    return found + [form for form in latest if form not in found]


def kept(known):
    """Return the entries that are taken to be the same always."""
    return {(item.key, item.value) for part in parts(known) for item in part.items}


def everything(known):
    """Return all bytes and text that are remembered anywhere, as one text."""
    found = []
    for part in parts(known):
        found += [part.said, part.name]
        items = part.items if part.varying is None else [*part.items, part.varying]
        found += [each for item in items for each in (item.said, item.lead, item.name, item.key, item.value)]
    for form in forms(known):
        found += [form.last, *(each for step in form.steps for each in (step.said, step.name))]
        found += [each for entry in form.whole.items() for each in entry if isinstance(each, str)]
        found += form.keys
    found += [each for entry in getattr(known, "_keys", {}).items() for each in entry]
    return "\n".join(each.decode("latin-1") if isinstance(each, bytes) else each for each in found)
