"""Header fields that are added to answers, and taken from them."""

from __future__ import annotations

import pytest

from appserver.headers import HeaderOptions, Headers, field, name
from appserver.options import BadValue


def ask(options, headers, *more):
    told = []

    def app(environ, start_response):
        start_response("200 OK", headers, *more)
        return [b"x"]

    assert Headers(options, app)({}, lambda *given: told.append(given)) == [b"x"]
    return told[0]


def test_fields_are_added_and_taken_away():
    options = HeaderOptions(add_header=(("X-A", "1"), ("X-A", "2")), del_header=("server", "x-b"))
    headers = [("Server", "x"), ("Content-Type", "text/plain"), ("X-B", "3"), ("X-b", "4")]
    assert ask(options, headers)[1] == [("Content-Type", "text/plain"), ("X-A", "1"), ("X-A", "2")]
    assert len(headers) == 4


def test_all_else_goes_through():
    assert ask(HeaderOptions(), [], "info") == ("200 OK", [], "info")
    assert ask(HeaderOptions(add_header=(("A", "b"),)), "wrong")[1] == "wrong"


@pytest.mark.parametrize(
    "text, pair",
    [
        ("A: b", ("A", "b")),
        ("A:b: c", ("A", "b: c")),
        ("A:", ("A", "")),
        ("A: 5 \u20ac", ("A", "5 \xe2\x82\xac")),
        ("A: \xe0", ("A", "\xc3\xa0")),
        ("A: \udcff", ("A", "\xff")),
        ("A: b\tc", ("A", "b\tc")),
    ],
)
def test_values(text, pair):
    assert field(text) == pair


@pytest.mark.parametrize("text", ["", "A", ": b", "A b: c", "A: b\nC: d", "A: \x7f", "\xc9: b"])
def test_bad_values(text):
    with pytest.raises(BadValue, match=r"^Name: value$"):
        field(text)


def test_names():
    assert name("X-Powered-By") == "x-powered-by"
    with pytest.raises(BadValue):
        name("X Y")
