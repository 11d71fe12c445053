"""Bytes that no HTTP server may take for a request, by the cases of docs/security/http.md."""

from __future__ import annotations

import re

import pytest

LINE = "GET /bad HTTP/1.1\r\nHost: h\r\n"
POST = "POST /bad HTTP/1.1\r\nHost: h\r\n"
TE, CL = "Transfer-Encoding: chunked\r\n", "Content-Length: 5\r\n"
# Whoever takes the end of the request for somewhere else serves this.
BEHIND = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"


def _hosts(*values):
    return [("400", f"GET /bad HTTP/1.1\r\nHost: {value}\r\n") for value in values]


def _fields(name, *values):
    return [("400", f"{POST}{name}:{value}\r\n") for value in values]


def _refused(*heads, status="400"):
    return [(status, head) for head in heads]


# case: (status, head without its last line end)
HEADS = {
    "H1": _refused(POST + CL + TE, POST + TE + CL),
    "H2": _fields("Transfer-Encoding", " xchunked", " chunked, identity", " identity", " gzip", " gzip, chunked",
                  " chunked;q=1", " chun ked", ""),
    "H3": [*_refused(POST + TE + TE, POST + TE + "transfer-encoding: identity\r\n"),
           *_fields("Transfer-Encoding", " chunked, chunked", " ,chunked", " chunked,")],
    "H4": _fields("Transfer-Encoding", "\x0bchunked", "\x0cchunked", " chunked\x00", "\xa0chunked", ' "chunked"',
                  " chunked\x85", " 'chunked'"),
    "H5": _refused(POST + "Transfer-Encoding : chunked\r\n", POST + "Transfer-Encoding\t: chunked\r\n",
                   POST + " Transfer-Encoding: chunked\r\n", POST + "Content-Length : 5\r\n"),
    "H6": _refused("POST /bad HTTP/1.0\r\n" + TE, "POST /bad HTTP/1.0\r\nConnection: keep-alive\r\n" + TE),
    "H9": _fields("Content-Length", "", " ", " +5", " -5", " 0x5", " 5_0", " 5,5", " 5, 5", " 5;", " 1e1", " 5 5",
                  " 5.", " \xd9\xa5", " \xb2", " five", " 5\t5"),
    "H10": _refused(POST + CL + CL, POST + CL + "content-length: 6\r\n", POST + "CONTENT-LENGTH: 0\r\n" + CL),
    "H11": _fields("Content-Length", " 9223372036854775808", " 18446744073709551621", " " + "9" * 20,
                   " " + "9" * 4400),
    "H12": _fields("Content-Length", " " + "0" * 30 + "5"),  # as long as that it is no number
    "H14": _refused("GET /bad HTTP/1.1\nHost: h\r\n", "GET /bad HTTP/1.1\r\nHost: h\nX: y\r\n", "\n" + LINE,
                    LINE + "X: y\n\r\n", LINE + "X:\ny\r\n"),
    "H15": _refused(LINE + "X: a\rb\r\n", LINE + "X\r: a\r\n", "GET /bad\r HTTP/1.1\r\nHost: h\r\n",
                    "GET /bad HTTP/1.1\r\r\nHost: h\r\n", LINE + "X: a\r\r\n", LINE + "\rX: a\r\n"),
    "H16": _refused(LINE + "X: a\x00b\r\n", LINE + "X\x00: a\r\n", "GET /bad\x00 HTTP/1.1\r\nHost: h\r\n",
                    LINE + "X: a\x7f\r\n", LINE + "X: a\x0b\r\n", LINE + "X: \x1b[31m\r\n", LINE + "X: a\x01\r\n"),
    "H17": _refused(LINE + "X: a\r\n b\r\n", LINE + "X: a\r\n\tb\r\n", LINE + "X:\r\n \r\n",
                    "GET /bad HTTP/1.1\r\n Host: h\r\n"),
    "H18": _refused(LINE + ": a\r\n", LINE + "X\r\n", LINE + "X a: b\r\n", LINE + "X(: b\r\n", LINE + "\xe9: b\r\n",
                    LINE + "X\x85: b\r\n", LINE + "GET /admin HTTP/1.1\r\n", " " + LINE, "\t" + LINE,
                    "\r\n" + LINE, "\r\n", "GET\r\n", "x\r\n"),
    "H28": _refused(LINE + "X: y\r\n" * 11000, status="431"),
    "H33": [*_refused("GET /bad HTTP/1.1\r\n", "GET http://h/bad HTTP/1.1\r\n", LINE + "Host: h\r\n",
                      LINE + "HOST: g\r\n", "GET /bad HTTP/1.0\r\nHost: a/b\r\n"),
            *_hosts("", "a,b", "a/b", "u@h", "a b", "h:x", "h:123456", "[::1", "h:1:2", "http://h", "a?b", "a#b",
                    "a\\b", "<h>", "h\xe9", "[::1]x", "[]")],
    "H34": _refused("GET http://g/bad HTTP/1.1\r\nHost: h\r\n", "GET h:80 HTTP/1.1\r\nHost: h\r\n",
                    "GET * HTTP/1.1\r\nHost: h\r\n", "POST * HTTP/1.1\r\nHost: h\r\n",
                    "OPTIONS *? HTTP/1.1\r\nHost: h\r\n", "GET x HTTP/1.1\r\nHost: h\r\n",
                    "GET http:/// HTTP/1.1\r\nHost: h\r\n", "GET ftp://h/ HTTP/1.1\r\nHost: h\r\n",
                    "GET http://u@h/ HTTP/1.0\r\n", "GET http://h#f HTTP/1.0\r\n", "GET ?a HTTP/1.1\r\nHost: h\r\n",
                    "GET http://h:80/ HTTP/1.1\r\nHost: h\r\n"),
    "H35": [*_refused("GET  /bad HTTP/1.1\r\nHost: h\r\n", "GET\t/bad HTTP/1.1\r\nHost: h\r\n",
                      "GET /bad\tHTTP/1.1\r\nHost: h\r\n", "GET /bad HTTP/1.1 \r\nHost: h\r\n",
                      "GET /bad HTTP/1.10\r\nHost: h\r\n", "GET /bad HTTP/1\r\nHost: h\r\n",
                      "GET /bad http/1.1\r\nHost: h\r\n", "get /bad HTTP/1.1\r\nHost: h\r\n",
                      "GET /bad\r\nHost: h\r\n", "GET /bad XTTP/1.1\r\nHost: h\r\n", "GET /bad HTTP/11\r\nHost: h\r\n",
                      "G@T /bad HTTP/1.1\r\nHost: h\r\n", "GET /bad a HTTP/1.1\r\nHost: h\r\n",
                      "GET  HTTP/1.1\r\nHost: h\r\n", "A" * 21 + " /bad HTTP/1.1\r\nHost: h\r\n",
                      "0 /bad HTTP/1.1\r\nHost: h\r\n", "GE /bad HTTP/1.1\r\nHost: h\r\n", "GET# /bad HTTP/1.1\r\nHost: h\r\n"),
            *_refused("GET /bad HTTP/2.0\r\nHost: h\r\n", "GET /bad HTTP/0.9\r\n", "GET /bad HTTP/1.2\r\nHost: h\r\n",
                      "GET /bad HTTP/1.7\r\nHost: h\r\n", "GET /bad HTTP/3.0\r\nHost: h\r\n", status="505")],
    "H36": _refused("PRI * HTTP/2.0\r\n", status="505"),
    "H37": _refused("CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n", "CONNECT /bad HTTP/1.1\r\nHost: h\r\n",
                    "TRACE /bad HTTP/1.1\r\nHost: h\r\n", "TRACE /bad HTTP/1.1\r\n", status="501"),
    "H38": _refused("GET /#f HTTP/1.1\r\nHost: h\r\n", "GET /a?b#f HTTP/1.1\r\nHost: h\r\n",
                    "GET http://h/#f HTTP/1.1\r\nHost: h\r\n"),
    "H39": _refused("GET /\xe9 HTTP/1.1\r\nHost: h\r\n", "GET /?\xff HTTP/1.1\r\nHost: h\r\n",
                    "GET /\xc3\xa9 HTTP/1.1\r\nHost: h\r\n"),
    "H40": _refused(LINE + "Expect: x\r\n", LINE + "Expect: 100-continue\r\nExpect: 100-continue\r\n",
                    LINE + "Expect:\r\n", status="417"),
    # What is decoded in the path is held to the same.
    "E9": _refused("GET /%00 HTTP/1.1\r\nHost: h\r\n", "GET /a%0aX:y HTTP/1.1\r\nHost: h\r\n",
                   "GET /%0d HTTP/1.1\r\nHost: h\r\n", "GET /%7F HTTP/1.1\r\nHost: h\r\n"),
    # Repeated fields that cannot be lists.
    "E10": _refused(*(LINE + f"{name}: a\r\n{name.lower()}: a\r\n" for name in (
        "Content-Type", "Authorization", "User-Agent", "Referer", "From", "If-Modified-Since",
        "If-Unmodified-Since", "Max-Forwards", "Proxy-Authorization",
    ))),
}  # fmt: skip

# case: (status, the chunks of a body)
CHUNKS = {
    "H14": _refused("5\nhello\r\n0\r\n\r\n", "5\r\nhello\n0\r\n\r\n", "5;\nhello\r\n", "0\n\r\n", "0\r\n\n",
                    "0\r\nX: y\n\r\n", "\n5\r\nhello\r\n0\r\n\r\n"),
    "H20": _refused("0x5\r\nhello\r\n", "+5\r\nhello\r\n", "-5\r\nhello\r\n", "5_0\r\nhello\r\n", "\r\nhello\r\n",
                    "5 \r\nhello\r\n", " 5\r\nhello\r\n", "G\r\n", "x\r\n", "0" * 17 + "5\r\nhello\r\n",
                    "ffffffffffffffff\r\n", "10000000000000000\r\n", "\xb2\r\nhello\r\n", "5\t\r\nhello\r\n"),
    "H21": _refused("5\r\nhello0\r\n\r\n", "5\r\nhelloXX", "5\r\nhello!!0\r\n\r\n", "5\r\nhello\r\r\n0\r\n\r\n",
                    "5\r\nhello \r\n0\r\n\r\n"),
    "H22": _refused("5;a\rb\r\nhello\r\n", "5;a\x00\r\nhello\r\n", "5\r\rhello\r\n", "5;" + "x" * 4096 + "\r\nhello\r\n",
                    "5,a\r\nhello\r\n", "5;a\x7f\r\nhello\r\n",
                    "5;\r\nhello\r\n", "5; \r\nhello\r\n", "5;;a\r\nhello\r\n", "5;a=\r\nhello\r\n", '5;a="b\r\nhello\r\n',
                    "5;a b\r\nhello\r\n", "5;a=b c\r\nhello\r\n", '5;a="b"c\r\nhello\r\n', '5;a="b\\"\r\nhello\r\n', "5;=b\r\nhello\r\n",
                    "0;\r\n\r\n"),
    "H26": _refused(*(f"0\r\n{field}\r\n\r\n" for field in (
        "Content-Length: 50", "Host: evil", "Transfer-Encoding: gzip", "transfer-encoding:chunked", "Trailer: X", "TE: trailers",
        "X: y\r\nAuthorization: Basic x"))),
    "H27": _refused("0\r\nGET /admin HTTP/1.1\r\n\r\n", "0\r\n X: y\r\n\r\n", "0\r\n: y\r\n\r\n", "0\r\nX : y\r\n\r\n",
                    "0\r\nX: \x00\r\n\r\n", "0\r\nX: a\rb\r\n\r\n", "0\r\nX: a\r\n b\r\n\r\n", "0\r\nX\r\n\r\n"),
    "H28": _refused("0\r\n" + "X: y\r\n" * 10000 + "\r\n", status="431"),
    "D8": _refused("0\r\nX: " + "y" * 4096 + "\r\n\r\n"),
}  # fmt: skip

# Where else one odd byte could stand.
PLACES = [
    "%bTransfer-Encoding: chunked", "Transfer-Encoding%b: chunked", "Transfer%b-Encoding: chunked",
    "Transfer-Encoding:%bchunked", "Transfer-Encoding: %bchunked", "Transfer-Encoding: chunked%b",
    "Transfer-Encoding: chun%bked", "X: y%bTransfer-Encoding: chunked", "X: y\r%bTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\n%bX: y", "Transfer-Encoding: x\r\n%bchunked",
    "Transfer-Encoding: chunked\r%b", "Transfer%bEncoding: chunked", "Transfer-Encoding: chunked, %b",
    "Transfer-Encoding: identity%b, chunked", "X: y\n%bTransfer-Encoding: chunked",
    # two places at once
    "%bTransfer-Encoding%b: chunked", "%bTransfer-Encoding:%bchunked", "%bTransfer-Encoding: chunked%b",
    "Transfer-Encoding%b:%bchunked", "Transfer-Encoding%b: chunked%b", "Transfer-Encoding:%bchunked%b",
]  # fmt: skip
TOKEN = b"!#$%&'*+.^_`|~-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def mutations():
    """Yield every place with every byte: lines that one reader may take for a Transfer-Encoding, another not."""
    for place in PLACES:
        for byte in range(256):
            yield place, byte, place.encode().replace(b"%b", bytes([byte]))


def _named(case, text, number):
    return f"{case}-{number}-" + re.sub(r"[^A-Za-z0-9]+", ".", text)[-24:].strip(".")


def parameters(cases):
    """Return the cases as parameters of a test: case, status and text, with ids that begin with the case's."""
    return [
        pytest.param(case, status, text, id=_named(case, text, number))
        for case, given in cases.items()
        for number, (status, text) in enumerate(given, 1)
    ]
