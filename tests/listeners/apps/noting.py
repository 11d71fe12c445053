"""An application that notes its calls: each is told in its answer, and all in ``/calls``, which forgets them."""

from __future__ import annotations

import json

calls = []


def app(environ, start_response):
    told = f"{environ['REQUEST_METHOD']} {environ['REQUEST_URI']}"
    if environ["PATH_INFO"] == "/calls":
        body = json.dumps(calls).encode()
        calls.clear()
    else:
        calls.append(told)
        read = environ["wsgi.input"].read()  # an error is the answer
        body = json.dumps(
            {"request": told, "body": read.decode("latin-1"), "fields": fields(environ)}
        ).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    if environ["PATH_INFO"].startswith("/status/"):
        headers.append(("Status", environ["PATH_INFO"].removeprefix("/status/")))
    start_response("200 OK", headers)
    return [body]


def fields(environ):
    return {
        name: value for name, value in environ.items()
        if name.startswith(("HTTP_", "CONTENT_"))
        or name in {"SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "SERVER_PROTOCOL"}
    }  # fmt: skip
