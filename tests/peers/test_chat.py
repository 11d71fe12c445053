"""The chat of examples/chat in real browsers: behind nginx, behind Mongrel2, and without either."""

from __future__ import annotations

import json
from contextlib import ExitStack

import pytest

from tests.support.browser import Browser
from tests.support.fronts import Configs, Mongrel2, Nginx, require
from tests.support.server import ROOT, Server

pytestmark = [pytest.mark.peers, pytest.mark.timeout(180)]

CHAT = ROOT / "examples" / "chat"
PORTS = {"nginx": 8104, "mongrel2": 6767, "itself": 8080}
LISTENERS = {"nginx": "http", "mongrel2": "mongrel2", "itself": "http"}
LINES = "[...document.querySelectorAll('#said li')].map(line => line.innerText.trim())"


class Chat:
    def __init__(self, stack, directory, *arguments):
        self.configs = Configs(directory, CHAT)
        self.server = stack.enter_context(Server("--ini", self.configs.ini("site.ini"), *arguments))
        stack.enter_context(Nginx(self.configs))
        stack.enter_context(Mongrel2(self.configs))
        self.browsers = {}
        for name in PORTS:
            (directory / name).mkdir()
            self.browsers[name] = stack.enter_context(Browser(directory / name))

    def open(self, name):
        page = self.browsers[name].open(self.configs.url(PORTS[name]))
        page.wait_for(
            "document.readyState == 'complete' && document.body && typeof socket != 'undefined' && socket.readyState == 1"
        )
        return page


@pytest.fixture(params=["worker", "shared"])
def chat(request, tmp_path):
    require("chromium", "nginx", "mongrel2", "m2sh")
    with ExitStack() as stack:
        yield Chat(stack, tmp_path, "--zeromq-dispatch", request.param)


def say(page, text):
    page.run(
        f"document.getElementById('text').value = {json.dumps(text)}; document.getElementById('say').requestSubmit()"
    )


def test_browsers_talk_to_each_other_through_one_process(chat):
    pages = {name: chat.open(name) for name in PORTS}
    for name, page in pages.items():
        say(page, f"grüße via {name} \U0001f600")
        for reader in pages.values():
            line = json.dumps(f"{LISTENERS[name]}grüße via {name} \U0001f600")
            reader.wait_for(
                f"{LINES}.some(line => line.replace(/\\s*/, '') == {line} || line.endsWith({line}))"
            )
    long = "x" * 1000
    say(pages["mongrel2"], long)
    pages["nginx"].wait_for(f"{LINES}.some(line => line.endsWith({json.dumps(long)}))")
    say(pages["nginx"], "<b>not bold</b>")
    pages["mongrel2"].wait_for(f"{LINES}.some(line => line.endsWith('<b>not bold</b>'))")
    for name, page in pages.items():
        # permessage-deflate is agreed on where it is offered, and not behind Mongrel2
        assert page.run("socket.extensions") == ("" if name == "mongrel2" else
                                                 "permessage-deflate; server_no_context_takeover; client_no_context_takeover")  # fmt: skip


def test_one_that_closes_is_told_of_and_a_stop_is_told_to_all(chat):
    pages = {name: chat.open(name) for name in PORTS}
    pages["mongrel2"].run("socket.onclose = null; socket.close(1000)")
    chat.server.wait_until(r'mongrel2 127.0.0.1 "GET /chat HTTP/1.1" 101 \d+ ')
    pages["nginx"].wait_for(f"{LINES}.includes('somebody has gone')")
    for name in ("nginx", "itself"):
        pages[name].run("connect = () => {}; new Promise(done => { setTimeout(done); })")
    again = chat.open("mongrel2")
    again.run("connect = () => {}")
    assert chat.server.stop() == 0
    for page in (pages["nginx"], pages["itself"], again):
        page.wait_for(f"{LINES}.includes('the connection has ended (1001)')")
    assert "Traceback" not in chat.server.log


def test_pages_of_others_may_not_open_it(chat):
    """The page of one port asks another one: to a browser that is another origin."""
    page = chat.open("nginx")
    for name in ("mongrel2", "itself"):
        url = chat.configs.url(PORTS[name], "/chat").replace("http", "ws", 1)
        code = page.run(
            f"new Promise(done => {{ new WebSocket('{url}').onclose = event => done(event.code) }})"
        )
        assert code == 1006
    assert chat.server.wait_until('mongrel2 127.0.0.1 "GET /chat HTTP/1.1" 403')
