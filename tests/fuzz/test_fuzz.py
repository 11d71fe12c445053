"""A short run of every fuzz target: its seeds, which are past findings too, and what hypothesis makes of them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.__main__ import SEEDS, TARGETS, target

every_target = pytest.mark.parametrize("name", TARGETS)


@every_target
def test_seeds(name):
    files = sorted((SEEDS / name).iterdir())
    assert files, "a target begins with something"
    for file in files:
        try:
            target(name).check(file.read_bytes())
        except Exception as error:
            raise AssertionError(f"{file.name}: {error!r}") from error


def mutated(data, wire, pieces):
    """Return bytes with some of them replaced, taken out or repeated."""
    wire = bytearray(wire)
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(wire)))
        wire[at : at + data.draw(st.integers(0, 4))] = data.draw(
            st.sampled_from(pieces) | st.binary(max_size=3)
        )
    return bytes(wire)


@every_target
@settings(max_examples=300)
@given(data=st.data())
def test_what_is_nearly_right(name, data):
    seeds = [file.read_bytes() for file in sorted((SEEDS / name).iterdir())]
    check, pieces = target(name).check, target(name).PIECES
    check(mutated(data, data.draw(st.sampled_from(seeds)), pieces))


@every_target
@settings(max_examples=300)
@given(data=st.data())
def test_what_is_put_together(name, data):
    pieces = target(name).PIECES
    check = target(name).check
    check(
        data.draw(st.binary(min_size=1, max_size=1))
        + b"".join(data.draw(st.lists(st.sampled_from(pieces), max_size=24)))
    )
