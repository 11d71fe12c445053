"""Record the beginning and the end of each call, then answer with the request's id; some take their time."""

import os
import time

HERE = os.path.dirname(os.path.abspath(__file__))
LEDGER = os.open(os.path.join(HERE, "ledger"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def record(what, name):
    os.write(LEDGER, f"{what} {name} {os.getpid()} {time.monotonic():.6f}\n".encode())


def application(environ, start_response):
    name, _, seconds = environ["QUERY_STRING"].partition("&")
    if name:
        record("begin", name)
        time.sleep(float(seconds))
    body = environ["wsgi.input"].read()
    if name:
        record("end", name)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [name.encode() + b"|" + body]
