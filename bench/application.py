"""The applications that are measured; every answer has its length, so that each can be checked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

HELLO = b"Hello world\n"
SLEEP = 0.05  # seconds
LARGE = b"x" * (1 << 20)
STREAM = 1 << 30  # bytes
PIECE = b"x" * (64 << 10)
COMPUTED = 20000  # additions, about a millisecond

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], object]


def _begin(start_response: StartResponse, length: int) -> None:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(length))])


def hello(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Answer at once."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "12")])
    return [HELLO]


def sleep(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Answer after 50 ms in which nothing is computed."""
    time.sleep(SLEEP)
    return hello(environ, start_response)


def compute(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Answer after about a millisecond of computing."""
    sum(range(COMPUTED))
    sum(range(COMPUTED))
    sum(range(COMPUTED))
    return hello(environ, start_response)


def large(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Answer with 1 MiB in one piece."""
    _begin(start_response, len(LARGE))
    return [LARGE]


def stream(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    """Answer with 1 GiB in pieces of 64 KiB."""
    _begin(start_response, STREAM)
    for _ in range(STREAM // len(PIECE)):
        yield PIECE


def post(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Read the body in pieces and answer with its length, in 12 bytes."""
    read, left = environ["wsgi.input"].read, int(environ["CONTENT_LENGTH"])
    total = 0
    while total < left and (piece := read(min(left - total, 1 << 16))):
        total += len(piece)
    _begin(start_response, len(HELLO))
    return [b"%011d\n" % total]
