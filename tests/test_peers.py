"""Lists of peers: how they are written, and who is in them."""

from __future__ import annotations

import pytest

from appserver.options import BadValue
from appserver.peers import everybody, peers


@pytest.mark.parametrize(
    "text, inside, outside",
    [
        ("10.0.0.0/8", ["10.1.2.3", "::ffff:10.1.2.3"], ["11.0.0.1", "::1", "", "x"]),
        ("::ffff:10.0.0.0/104", ["10.1.2.3", "::ffff:a01:203"], ["11.0.0.1", "::1"]),
        ("127.0.0.1, ::1", ["127.0.0.1", "::1"], ["127.0.0.2", "unix:"]),
        ("fe80::/10 unix", ["fe80::1%eth0", "", "unix:"], ["10.0.0.1"]),
        ("none", [], ["127.0.0.1", ""]),
    ],
)
def test_who_is_meant(text, inside, outside):
    found = peers(text)
    assert [each for each in inside + outside if each in found] == inside
    assert [each for each in inside + outside if each in found] == inside, "remembered, too"
    assert None not in found


@pytest.mark.parametrize(
    "text", ["", "localhost", "10.0.0.0/33", "10.0.0.1/8", "none 10.0.0.1", "*", "10.0.0.1;"]
)
def test_what_is_no_list(text):
    with pytest.raises(BadValue, match=r"addresses, networks such as 10.0.0.0/8, unix, or none"):
        peers(text)


def test_an_address_in_the_place_of_a_network_is_told():
    with pytest.raises(BadValue, match="host bits"):
        peers("10.0.0.1/8")


@pytest.mark.parametrize(
    "text, dangerous",
    [("0.0.0.0/0", True), ("10.0.0.1 ::/0", True), ("::ffff:0:0/96", True), ("10.0.0.0/8", False)],
)
def test_believing_everybody_is_dangerous(text, dangerous):
    assert bool(everybody(text)) == dangerous


def test_not_every_address_is_remembered():
    found = peers("10.0.0.0/8")
    assert all(f"10.0.{number >> 8}.{number & 255}" in found for number in range(10000))
    assert len(found._known) <= 4096
