"""An application that shows what reached it, and counts how often it was called. It runs inside the server."""

from __future__ import annotations

import json
import os
import time

TEXT = [("Content-Type", "text/plain")]
calls = []  # the methods and paths of all calls but those for /calls and /ignored


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/calls":
        return answer(start_response, json.dumps(calls).encode())
    if path == "/ignored":
        return answer(start_response, b"not read")
    calls.append(f"{environ['REQUEST_METHOD']} {path}")
    if path.startswith("/stream"):
        return stream(environ, start_response)
    if path.startswith("/nap"):
        time.sleep(float(path.rpartition("/")[2]))
    if path.startswith("/errors"):
        environ["wsgi.errors"].write("e" * int(path.rpartition("/")[2]) + "\n")
        return answer(start_response, b"told")
    if path.startswith("/large"):
        return answer(start_response, bytes(int(path.rpartition("/")[2])))
    try:
        body = environ["wsgi.input"].read().decode("latin-1")
    except OSError as error:
        calls.append(type(error).__name__)
        raise
    found = {name: value for name, value in environ.items() if isinstance(value, str)}
    found["the.process"] = {name: value for name, value in os.environ.items() if "INJECTED" in name}
    found["the.directory"] = os.getcwd()
    found["the.body"] = body
    return answer(start_response, json.dumps(found).encode())


def answer(start_response, body):
    start_response("200 OK", [*TEXT, ("Content-Length", str(len(body)))])
    return [body]


class Stream:
    """Pieces without end; close() is counted."""

    def __iter__(self):
        while True:
            time.sleep(0.01)
            yield b"piece"

    def close(self):
        calls.append("closed")


def stream(environ, start_response):
    start_response("200 OK", TEXT)
    return Stream()
