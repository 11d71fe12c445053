"""A well-behaved application behind wsgiref.validate, which checks the server as well."""

from __future__ import annotations

import sys
import tempfile
import warnings
from wsgiref.validate import validator

# It warns of methods that it does not know, and of nothing else that we want to hear.
warnings.simplefilter("error")

TEXT = [("Content-Type", "text/plain")]


def application(environ, start_response):
    path = environ["PATH_INFO"]
    stream = environ["wsgi.input"]
    if path == "/lines":
        body = stream.readline() + stream.readline(2) + stream.readline() + b"".join(stream)
        body += b"".join(stream.readlines()) + stream.read(1)
    else:
        body = stream.read(3) + b"".join(iter(lambda: stream.read(5000), b""))
    if path == "/nothing":
        start_response("204 No Content", [])
        return []
    if path == "/unchanged":
        start_response("304 Not Modified", [("ETag", '"x"')])
        return []
    if path == "/again":
        start_response("200 OK", TEXT)
        try:
            int("caught")
        except ValueError:
            start_response("503 Later", TEXT, sys.exc_info())
        return [b"later"]
    write = start_response("200 OK", TEXT)
    if path == "/write":
        write(b"written,")
    if path == "/file":
        file = tempfile.TemporaryFile()  # noqa: SIM115  (the wrapper's close closes it)
        file.write(b"file" * 20000)
        file.seek(0)
        return environ["wsgi.file_wrapper"](file)
    if path == "/generator":
        return (piece for piece in (b"one", b"", b"two"))
    return [b"body: ", body]


app = validator(application)
