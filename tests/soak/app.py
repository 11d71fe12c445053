"""Record each request's id, then answer with it; some take their time."""

import os
import time

HERE = os.path.dirname(os.path.abspath(__file__))
LEDGER = os.open(os.path.join(HERE, "ledger"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def application(environ, start_response):
    name, _, seconds = environ["QUERY_STRING"].partition("&")
    if name:
        os.write(LEDGER, f"{name} {os.getpid()}\n".encode())
        time.sleep(float(seconds))
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Pid", str(os.getpid()))])
    return [name.encode() + b"|" + body]
