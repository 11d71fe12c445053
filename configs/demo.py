"""A page that shows which listener answered it, and a few paths to try the server with."""

from __future__ import annotations

import html
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Environ = dict[str, Any]
StartResponse = Callable[..., Any] if TYPE_CHECKING else Any

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>appserver</title>
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto; padding: 0 1rem }}
table {{ border-collapse: collapse }} td, th {{ text-align: left; padding: .2rem 1rem .2rem 0 }}
tr.here {{ font-weight: bold }} code {{ background: #eee; padding: 0 .3rem }}
</style>
<h1>Answered by the {listener} listener</h1>
<p>One process serves this application through every listener below.</p>
<table><tr><th>listener<th>address{rows}</table>
<h2>This request</h2>
<table>{environ}</table>
<p>Try <a href="/stream">/stream</a>, <a href="/environ">/environ</a>, or send a body to <code>/echo</code>
or <code>/size</code>.
"""


def page(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Show the listeners and the request."""
    listener = environ["appserver.listener"]
    rows = "".join(
        f"<tr{' class=here' if name == listener else ''}><td>{html.escape(name)}"
        f"<td><code>{html.escape(address)}</code>"
        for name, address in environ["appserver.listeners"]
    )
    shown = ("REQUEST_METHOD", "REQUEST_URI", "SERVER_PROTOCOL", "HTTP_HOST", "REMOTE_ADDR", "HTTP_USER_AGENT")
    fields = "".join(
        f"<tr><td>{key}<td><code>{html.escape(environ[key])}</code>" for key in shown if key in environ
    )
    body = PAGE.format(listener=html.escape(listener), rows=rows, environ=fields).encode()
    start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
    return [body]


def environ_lines(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Show the request's environ, one variable a line."""
    start_response("200 OK", [("Content-Type", "text/plain; charset=iso-8859-1")])
    lines = [f"{key}={value!r}" for key, value in sorted(environ.items()) if isinstance(value, str)]
    return ["\n".join(lines).encode("latin-1", "replace") + b"\n"]


def echo(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Send the body back."""
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return iter(lambda: environ["wsgi.input"].read(65536), b"")


def size(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Count the body's bytes without keeping them."""
    count = 0
    while data := environ["wsgi.input"].read(65536):
        count += len(data)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{count}\n".encode()]


def stream(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    """Count, one line every now and then."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    for number in range(1, 6):
        yield f"{number} by {environ['appserver.listener']}\n".encode()
        time.sleep(0.2)


PATHS = {"/": page, "/environ": environ_lines, "/echo": echo, "/size": size, "/stream": stream}


def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Answer the paths above; everything else is 404."""
    handler = PATHS.get(environ["PATH_INFO"])
    if handler is None:
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"Not Found\n"]
    return handler(environ, start_response)
