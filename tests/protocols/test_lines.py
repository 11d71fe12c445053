"""Field lines that have been read are found whole, and nothing is kept that should not be."""

import pytest

from appserver.protocols import lines
from appserver.protocols.codec import ProtocolError
from appserver.protocols.repeated import MOST


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    monkeypatch.setattr(lines, "_known", {})


def test_what_has_been_read_is_known():
    head = ["Host: a", "Accept: */*"]
    assert lines.known(head) is None
    found = lines.read(head)
    assert found == [("HTTP_HOST", "a"), ("HTTP_ACCEPT", "*/*")]
    assert lines.known(head) == found
    assert lines.known([*head, "Accept:  */*"]) is None


@pytest.mark.parametrize(
    "line",
    [
        "Cookie: a=b",
        "Authorization: Basic YTpi",
        "X-Api-Key: secret",
        "Content-Length: 5",
        "Transfer-Encoding: chunked",
        "Expect: 100-continue",
        "Host: " + "a" * 300,
    ],
)
def test_what_is_secret_frames_or_is_long_is_not_kept(line):
    assert len(lines.read([line])) == 1
    assert lines.known([line]) is None


def test_fields_that_are_dropped_are_no_entries():
    assert lines.read(["Proxy: http://evil", "a_b: c"]) == []
    assert lines.entries([("Proxy", "http://evil"), ("a_b", "c"), ("A-B", "c")]) == [("HTTP_A_B", "c")]


@pytest.mark.parametrize("line", ["no colon", ": nameless", "a b: c", " Host: a", "Host : a"])
def test_what_is_no_field_is_refused_each_time(line):
    for _ in range(2):
        with pytest.raises(ProtocolError):
            lines.read([line])


def test_a_flood_of_lines_is_forgotten():
    for number in range(MOST + 5):
        lines.read([f"User-Agent: {number}"])
        assert len(lines._known) <= MOST
    lines.read(["Host: a"])
    assert lines.known(["Host: a"]) is not None
