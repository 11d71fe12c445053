"""Flask with flask-sock, whose WebSocket is that of simple-websocket."""

from __future__ import annotations

import sys
import time
from queue import Queue

from flask import Flask
from flask_sock import Sock

app = Flask(__name__)
sock = Sock(app)
app.config["SOCK_SERVER_OPTIONS"] = {"ping_interval": 25}


@app.route("/plain")
def plain():
    return "plain"


@app.route("/stuck")
def stuck():
    while True:
        time.sleep(0.01)


@sock.route("/echo")
def echo(ws):
    while True:
        ws.send(ws.receive())


@sock.route("/burst")
def burst(ws):
    """Send more than the socket takes at once; the library answers pings meanwhile, by a thread of its own."""
    for letter in ws.receive():
        ws.send(letter * 300_000)
    ws.receive()


@sock.route("/news")
def news(ws):
    """Wait for what never comes."""
    print("waits", file=sys.stderr, flush=True)
    try:
        Queue().get()
    except BaseException as error:
        print(f"raised {type(error).__name__}", file=sys.stderr, flush=True)
        raise


@sock.route("/tidy")
def tidy(ws):
    """Close, and have something else to do for longer than a library has to tell of the end."""
    ws.close()
    print("closes", file=sys.stderr, flush=True)
    try:
        Queue().get(timeout=2)
    except BaseException as error:  # noqa: BLE001  (it is told)
        print(f"raised {type(error).__name__}", file=sys.stderr, flush=True)


@sock.route("/save")
def save(ws):
    """Have something to do behind the end, for longer than a library has to tell of it."""
    try:
        while True:
            ws.send(ws.receive())
    finally:
        try:
            Queue().get(timeout=2)
        except BaseException as error:  # noqa: BLE001  (it is told)
            print(f"raised {type(error).__name__}", file=sys.stderr, flush=True)


@sock.route("/bye")
def bye(ws):
    ws.send("bye")
