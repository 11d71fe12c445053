"""Regular expressions against the PCRE that a real uWSGI is linked with: the same matches, at the same places."""

from __future__ import annotations

import ctypes
import itertools
from ctypes.util import find_library

import pytest

from appserver.pcre import RegexError, compiled
from tests.test_pcre import MATCHES

LIBRARY = find_library("pcre")

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(LIBRARY is None, reason="libpcre is not installed (Debian: libpcre3)"),
]

OCTETS = [*map(chr, range(256))]
TEXTS = [
    "", "\n", "a", "A", "b", "-", "]", "\x04", "\x85", "\xe9", "\n\n", "a\n", "a\n\n", "A\n", "aa", "ab", "aB", "Ab", "AB", "abc", "ac", "a.b", "a-b", "\xe9b",
    "aab", "11", "a{", "a{b}", "b]", "/admin12", "_a-", "\r\n", "a b", "Cd", "aBd", "[a", "a]", "x{,2}",
]  # fmt: skip
# Not \\h: PCRE 8.39 believes that \\S* cannot give it a no-break space back.
PIECES = [
    "a", "B", ".", r"\b", r"\B", "^", "$", r"\Z", r"\W", r"\S", r"\V", "(?i)", "(?-i:b)", "(?s)", "|", "(a", "(?:b", "(?=a", "(?<!b", ")",
    "[[:alpha:]]", "[^[:upper:]]", "[[:^lower:]b]", "[]-a]", r"[\D]", r"[\w-]", "*", "+?", "{1,2}", r"\Qa.\E", r"\x4", r"\n", "[a&&b]", "\xe9",
]  # fmt: skip


@pytest.fixture(scope="module")
def pcre():
    library = ctypes.CDLL(LIBRARY)
    library.pcre_compile.restype = ctypes.c_void_p
    message, offset, places = ctypes.c_char_p(), ctypes.c_int(), (ctypes.c_int * 30)()

    def compile_(pattern):
        """Return what finds the pattern in a text; None where it is none."""
        code = library.pcre_compile(
            pattern.encode("latin-1"), 0, ctypes.byref(message), ctypes.byref(offset), None
        )

        def span(text):
            sent = text.encode("latin-1")
            found = library.pcre_exec(ctypes.c_void_p(code), None, sent, len(sent), 0, 0, places, 30)
            return (places[0], places[1]) if found >= 0 else None

        return span if code else None

    return compile_


def same(pattern, span, ours, texts):
    for text in texts:
        match = ours.search(text)
        assert (match.span() if match else None) == span(text), (pattern, text)


@pytest.mark.parametrize("pattern", [pattern for pattern, *_ in MATCHES])
def test_what_is_written_for_it(pcre, pattern):
    same(pattern, pcre(pattern), compiled(pattern), OCTETS + TEXTS)


def test_whatever_can_be_put_together(pcre):
    compared = 0
    for pieces in itertools.islice(itertools.product(PIECES, repeat=3), 0, None, 11):
        pattern = "".join(pieces)
        span = pcre(pattern)
        try:
            ours = compiled(pattern)
        except RegexError:
            continue
        if span is not None:
            same(pattern, span, ours, TEXTS)
            compared += 1
    assert compared > 1_000
