"""Flask with flask-sock, whose WebSocket is that of simple-websocket."""

from __future__ import annotations

from flask import Flask
from flask_sock import Sock

app = Flask(__name__)
sock = Sock(app)
app.config["SOCK_SERVER_OPTIONS"] = {"ping_interval": 25}


@app.route("/plain")
def plain():
    return "plain"


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


@sock.route("/bye")
def bye(ws):
    ws.send("bye")
