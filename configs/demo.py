"""A page that shows which listener answered it, and a few paths to try the server with."""

from __future__ import annotations

import time
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Environ = dict[str, Any]
    StartResponse = Callable[..., Any]

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>appserver: {listener}</title>
<style>
:root {{ color-scheme: light dark; --line: #8884; --soft: #8881; --here: #0a7d5a }}
@media (prefers-color-scheme: dark) {{ :root {{ --here: #4fd1a5 }} }}
body {{ font: 1rem/1.6 system-ui, sans-serif; max-width: 46rem; margin: 3rem auto; padding: 0 1.25rem }}
h1 {{ font-size: 1.9rem; line-height: 1.2; margin: 0 }}
h1 em {{ font-style: normal; color: var(--here) }}
h2 {{ font-size: 1.1rem; margin: 2.2rem 0 .6rem }}
p {{ margin: .5rem 0 }}
ul {{ list-style: none; margin: 0; padding: 0; display: grid; gap: .5rem }}
li {{ border: 1px solid var(--line); border-left-width: 4px; border-radius: .4rem;
     padding: .5rem .9rem; display: flex; flex-wrap: wrap; gap: 0 1rem; align-items: baseline }}
li b {{ min-width: 6.5rem }}
li small {{ margin-left: auto; opacity: .7 }}
li.here {{ border-color: var(--here); background: var(--soft) }}
li.here small {{ color: var(--here); opacity: 1; font-weight: 600 }}
table {{ border-collapse: collapse; width: 100% }}
td {{ border-bottom: 1px solid var(--line); padding: .35rem 1rem .35rem 0; vertical-align: top }}
td:first-child {{ white-space: nowrap; opacity: .7 }}
code {{ font: .9em ui-monospace, monospace; overflow-wrap: anywhere }}
a {{ color: var(--here) }}
</style>
<h1>Answered by the <em>{listener}</em> listener</h1>
<p>One process serves this page through every listener below.</p>
<h2>Listeners</h2>
<ul>{listeners}</ul>
<h2>This request</h2>
<table>{request}</table>
<h2>More to try</h2>
<table>
<tr><td><a href="/environ">/environ</a><td>what the application is told about a request
<tr><td><a href="/stream">/stream</a><td>an answer that comes line by line
<tr><td>/echo<td>sends a body back: <code>curl --data-binary @FILE {url}echo</code>
<tr><td>/size<td>counts a body's bytes: <code>curl -T FILE {url}size</code>
</table>
</html>
"""

FRONTS = {
    "http": "browsers, curl, nginx proxy_pass",
    "uwsgi": "nginx uwsgi_pass",
    "fastcgi": "nginx fastcgi_pass",
    "scgi": "nginx scgi_pass",
    "mongrel2": "Mongrel2",
}

SHOWN = (
    "REQUEST_METHOD", "REQUEST_URI", "SERVER_PROTOCOL", "HTTP_HOST", "REMOTE_ADDR", "HTTP_USER_AGENT",
)  # fmt: skip


def page(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Show the listeners and the request."""
    here = environ["appserver.listener"]
    listeners = ""
    for name, address in environ["appserver.listeners"]:
        mark, note = (" class=here", "answered") if name == here else ("", FRONTS.get(name, ""))
        listeners += (
            f"<li{mark}><b>{escape(name)}</b><code>{escape(address)}</code><small>{escape(note)}</small>"
        )
    request = "".join(
        f"<tr><td>{key}<td><code>{escape(environ[key])}</code>" for key in SHOWN if key in environ
    )
    host = environ.get("HTTP_HOST") or f"{environ['SERVER_NAME']}:{environ['SERVER_PORT']}"
    url = f"{environ['wsgi.url_scheme']}://{host}/"
    text = PAGE.format(listener=escape(here), listeners=listeners, request=request, url=escape(url))
    start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
    return [text.encode()]


def environ_lines(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Show the request's environ, one variable a line."""
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    lines = [f"{key}={value!r}\n" for key, value in sorted(environ.items()) if isinstance(value, str)]
    return ["".join(lines).encode("utf-8")]


def echo(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Send the body back."""
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return iter(lambda: environ["wsgi.input"].read(65536), b"")


def size(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Count the body's bytes without keeping them."""
    count = 0
    while data := environ["wsgi.input"].read(65536):
        count += len(data)
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return [f"{count}\n".encode()]


def stream(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    """Count to five, one line at a time."""
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    for number in range(1, 6):
        yield f"{number} by {environ['appserver.listener']}\n".encode()
        time.sleep(0.2)


PATHS = {"/": page, "/environ": environ_lines, "/echo": echo, "/size": size, "/stream": stream}


def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Answer the paths above; everything else is 404."""
    handler = PATHS.get(environ["PATH_INFO"])
    if handler is None:
        start_response("404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
        return [b"Not Found\n"]
    return handler(environ, start_response)
