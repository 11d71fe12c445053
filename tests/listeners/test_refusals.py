"""How many lines a flood of refused requests has in the log."""

import logging

import pytest

from appserver.listeners import refusals


@pytest.fixture
def now(monkeypatch):
    """Return the time, which goes on where a test says so."""
    found = [1000.0]
    monkeypatch.setattr(refusals, "monotonic", lambda: found[0])
    return found


def test_a_flood_is_counted(caplog, now):
    with caplog.at_level(logging.WARNING):
        noted = refusals.Refusals("http :1")
        for number in range(10_000):
            noted.note(f"bad {number}")
        assert [record.getMessage() for record in caplog.records] == [f"http :1: bad {n}" for n in range(100)]
        noted.tell()
        noted.tell()
        assert [record.getMessage() for record in caplog.records[100:]] == [
            "http :1: 9900 more requests were refused"
        ]
        for number in range(2000):  # within a second
            now[0] += 0.0005
            noted.note(f"later {number}")
        assert 110 <= len(caplog.records) <= 111
        now[0] += 3600
        for number in range(200):
            noted.note(f"much later {number}")
        assert 210 <= len(caplog.records) <= 211
        noted.tell()
        assert " more requests were refused" in caplog.records[-1].getMessage()


def test_time_without_refusals_does_not_double_what_is_told_at_once(caplog, now):
    with caplog.at_level(logging.WARNING):
        noted = refusals.Refusals("http :1")
        for _ in range(2):
            caplog.clear()
            now[0] += 3600
            for number in range(300):
                noted.note(f"bad {number}")
            assert len(caplog.records) == 100
