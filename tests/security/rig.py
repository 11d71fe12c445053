"""One server with every listener, and the bytes that are thrown at it."""

from __future__ import annotations

import json
import re
import socket
import urllib.request
from contextlib import ExitStack

from tests.peers.client import curl, get
from tests.support.fronts import GUARD, Configs, Nginx, poll, require
from tests.support.mongrel2 import Mongrel2
from tests.support.server import Server

APP = "tests.security.app:app"
SOCKETS = ("http", "uwsgi", "fastcgi", "scgi")
HOW = ("whole", "bytes")


class Rig:
    """A server behind a simulated Mongrel2 (`mongrel2`), reached by `raw` and, for its health, over HTTP."""

    def __init__(self, *options):
        mounts = [word for name in SOCKETS for word in (f"--{name}-socket", "127.0.0.1:0")]
        with ExitStack() as stack:
            self.mongrel2 = stack.enter_context(Mongrel2())
            self.server = stack.enter_context(
                Server(*mounts, "--zeromq", self.mongrel2.spec, "--module", APP, "--gevent", "20", *options)
            )
            self._stack = stack.pop_all()

    def port(self, name):
        return int(self.server.addresses[name].rpartition(":")[2])

    def connect(self, name):
        found = socket.create_connection(("127.0.0.1", self.port(name)), GUARD)
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return found

    def raw(self, name, wire, how="whole", *, end=False):
        """Return all that a listener answers to *wire*; with *end* the client closes its half behind it."""
        with self.connect(name) as client:
            try:
                for piece in [wire] if how == "whole" else [wire[at : at + 1] for at in range(len(wire))]:
                    client.sendall(piece)
                if end:
                    client.shutdown(socket.SHUT_WR)
            except ConnectionError:  # it has refused the beginning already
                pass
            return received(client)

    def calls(self):
        """Return what the application has been called for."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port('http')}/calls", timeout=GUARD) as answer:
            return json.loads(answer.read())

    def close(self):
        """Stop; a server that has a traceback in its log has failed."""
        try:
            code = self.server.stop()
        finally:
            self._stack.close()
        assert code == 0, self.server.log
        assert "Traceback" not in self.server.log, self.server.log


def received(client):
    """Return what comes until the end of a connection, however it ends."""
    data = b""
    try:
        while piece := client.recv(65536):
            data += piece
    except ConnectionError:
        pass
    return data


def rig(*options):
    """Give a `Rig`, for a fixture to yield from."""
    found = Rig(*options)
    yield found
    found.close()


def body_of(answer):
    """Return what `app` has shown in an HTTP or CGI answer."""
    return json.loads(answer.partition(b"\r\n\r\n")[2])


def status_of(answer):
    """Return the status of an HTTP or CGI answer, "" where there is none."""
    match = re.match(rb"(?:HTTP/1\.[01]|Status:) ([0-9]{3}) ", answer)
    return match[1].decode() if match else ""


# nginx in front: locations that make it send what an operator or a client could have it send.

_HEAD = """#   nginx -e stderr -p . -c hostile.conf
daemon off;
worker_processes 1;
pid hostile.pid;
error_log stderr;
events { worker_connections 256; }
http {
    access_log off;
    client_body_temp_path nginx-tmp; proxy_temp_path nginx-tmp; fastcgi_temp_path nginx-tmp;
    uwsgi_temp_path nginx-tmp; scgi_temp_path nginx-tmp;
    underscores_in_headers on;
    log_format own escape=json '{"REQUEST_METHOD":"$request_method","REQUEST_URI":"$request_uri",'
        '"PATH_INFO":"$document_uri","QUERY_STRING":"$args","SERVER_PROTOCOL":"$server_protocol",'
        '"HTTP_HOST":"$http_host","HTTP_X_WORD":"$http_x_word","HTTP_USER_AGENT":"$http_user_agent",'
        '"CONTENT_TYPE":"$content_type","REMOTE_ADDR":"$remote_addr"}';
"""
_SERVER = """
    server {
        listen 127.0.0.1:PORT;
        access_log own-NAME.log own;
        set $name NAME;
        location / { INCLUDE PASS; }
        location /custom { INCLUDE NAME_param REMOTE_USER alice; NAME_param MY_PARAM mine;
                           NAME_param HTTP_PROXY http://evil/; NAME_param wsgi.url_scheme evil; PASS; }
        location /loaders { INCLUDE NAME_param UWSGI_FILE /etc/passwd; NAME_param UWSGI_SETENV INJECTED=1;
                            NAME_param UWSGI_POSTFILE /etc/passwd; NAME_param UWSGI_CHDIR /;
                            NAME_param PHP_VALUE auto_prepend_file=/etc/passwd; PASS; }
        location /length { INCLUDE NAME_param CONTENT_LENGTH $arg_is; PASS; }
        location /method { INCLUDE NAME_param REQUEST_METHOD $arg_is; PASS; }
        location /again { INCLUDE NAME_param HTTP_COOKIE third=3; NAME_param HTTP_X_WORD again; PASS; }
        location /single { INCLUDE NAME_param HTTP_AUTHORIZATION second; PASS; }
        location /checked { auth_request /check; INCLUDE PASS; }
        location /mirrored { mirror /check; mirror_request_body off; INCLUDE PASS; }
        location /limited { client_max_body_size 1; error_page 413 /check; INCLUDE PASS; }
        location = /check { internal; INCLUDE NAME_pass_request_body off; NAME_param CONTENT_LENGTH ""; PASS; }
        location /unsaid { INCLUDE NAME_pass_request_body off; PASS; }
        location /bare { NAME_param SERVER_PROTOCOL $server_protocol; NAME_param REQUEST_URI $request_uri;
                         PASS; BARE }
        location /few { NAME_param SERVER_PROTOCOL $server_protocol; PASS; BARE }
        location /own { INCLUDE OWN PASS; }
        location /closed { return 403; }
        location /old/ { INCLUDE rewrite ^/old/(.*) /new/$1 break; PASS; }
        location /mounted/ { INCLUDE NAME_param SCRIPT /mounted; PASS; }
        location /stripped/ { INCLUDE rewrite ^/stripped(/.*) $1 break; NAME_param SCRIPT /stripped; PASS; }
    }
"""
_OWN = {
    "uwsgi": "uwsgi_modifier1 17;",
    "fastcgi": "fastcgi_index index.php; fastcgi_split_path_info ^(/own)(.*)$; fastcgi_param PATH_INFO $fastcgi_path_info;",
    "scgi": "scgi_param SCGI 2;",
}


class Hostile:
    """nginx with a port for each of the three gateway protocols."""

    def __init__(self, directory, server):
        require("nginx", "curl")
        configs = Configs(directory)
        self.directory = configs.directory
        self.ports = {}
        text = _HEAD
        for number, name in enumerate(("uwsgi", "fastcgi", "scgi")):
            self.ports[name] = configs.port(8301 + number)
            passed = f"{name}_pass {server.addresses[name]}"
            include = f"include /etc/nginx/{name}_params;"
            bare = "scgi_param SCGI 1; scgi_param CONTENT_LENGTH $content_length;" if name == "scgi" else ""
            text += (
                _SERVER.replace("PORT", str(self.ports[name])).replace("INCLUDE", include)
                .replace("BARE", bare).replace("OWN", _OWN[name]).replace("PASS", passed).replace("NAME", name)
                .replace("param SCRIPT ", "param SCRIPT_NAME ")
            )  # fmt: skip
        (self.directory / "hostile.conf").write_text(text + "}\n")
        self.nginx = Nginx(configs, "hostile.conf")
        self.nginx.start()

    def url(self, name, target):
        return f"http://127.0.0.1:{self.ports[name]}{target}"

    def close(self):
        self.nginx.stop()


def through(server, nginx, name, target, status):
    """Check that nginx answers so, and that the application has been called where that is 200."""
    before = server.calls()
    reply = curl(nginx.url(name, target))
    assert (reply.exit, reply.status) == (0, status)
    assert len(server.calls()) - len(before) == (status == 200)


def without_body(server, nginx, name):
    """Check requests that nginx makes of a client's without passing its body on."""
    before = server.calls()
    reply = get(nginx.url(name, "/checked"), "-d", "hello")
    assert (reply.status, reply.json["the.body"]) == (200, "hello")
    assert server.calls()[len(before) :] == ["POST /check", "POST /checked"]
    assert get(nginx.url(name, "/mirrored"), "-d", "hello").json["the.body"] == "hello"
    poll(lambda: sorted(server.calls()[len(before) + 2 :]) == ["POST /check", "POST /mirrored"], "no mirror")
    reply = get(nginx.url(name, "/limited"), "-d", "hello")
    assert (reply.status, reply.json["PATH_INFO"], reply.json["the.body"]) == (413, "/check", "")


def customized(nginx, name):
    """Return the environ that an operator's parameters have made; those that are not the operator's are missing."""
    found = get(nginx.url(name, "/custom")).json
    assert (found["REMOTE_USER"], found["MY_PARAM"]) == ("alice", "mine")
    assert "HTTP_PROXY" not in found
    assert "evil" not in json.dumps(found)
    return found
