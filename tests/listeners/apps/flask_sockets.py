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


@sock.route("/bye")
def bye(ws):
    ws.send("bye")
