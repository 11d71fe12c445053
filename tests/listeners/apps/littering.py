"""An application whose garbage wants to wait, as a driver does that says goodbye to its database in ``__del__``."""

from __future__ import annotations

import gc
import sys
import time

gc.set_threshold(101, 3, 3)  # so that it is collected wherever the server makes something
sys.unraisablehook = lambda _: None  # nobody is told what it may not do


class Litter:
    def __init__(self):
        self.itself = self

    def __del__(self):
        time.sleep(0.001)


def app(environ, start_response):
    for _ in range(3):
        Litter()
    text = environ["QUERY_STRING"].encode()
    start_response("200 OK", [("Content-Length", str(len(text)))])
    return [text]
