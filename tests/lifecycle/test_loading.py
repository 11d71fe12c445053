"""What is told of an application that takes long to load."""

from __future__ import annotations

import _thread
import re

import pytest

from appserver import loading
from tests.support.fronts import poll
from tests.support.server import ROOT, Server

# A server for which a load has taken long when the application waits.
SERVER = """
import os, sys, time

from appserver import loading
from appserver.cli import main

sleep = time.sleep

class Lock:
    def acquire(self, timeout=-1):
        while timeout >= 0 and not os.path.exists("waits"):
            sleep(0.005)
        return False

    def release(self):
        pass

loading._Lock = Lock
sys.exit(main())
"""
APP = """
import os, threading, time
from gevent.monkey import get_original

def wait_for_long():
    open("waits", "w").close()
    while not os.path.exists("released"):
        get_original("time", "sleep")(0.005)

{}

def application(environ, start_response):
    start_response("200 OK", [])
    return []
"""
WAITING = "wait_for_long()"
BESIDE = "threading.Thread(target=wait_for_long).start()  # which waits until it has begun"
MODES = {"alone": [], "master": ["master = true"], "lazy": ["master = true", "lazy-apps = true"]}


@pytest.mark.parametrize("gevent", [False, True], ids=["", "gevent"])
@pytest.mark.parametrize("mode", MODES)
def test_a_load_that_takes_long_is_told_with_its_stack(tmp_path, mode, gevent):
    (tmp_path / "app.py").write_text(APP.format(BESIDE if gevent else WAITING))
    options = [*MODES[mode], *["gevent = 2"] * gevent]
    (tmp_path / "site.ini").write_text(
        "\n".join(["[appserver]", "module = app", "http-socket = 127.0.0.1:0", *options, ""])
    )
    server = Server("--ini", "site.ini", cwd=tmp_path, program=["-c", SERVER], env={"PYTHONPATH": str(ROOT)})
    try:
        server.wait_until("in wait_for_long$")
        (tmp_path / "released").touch()
        server.wait_until("ready$")
    finally:
        (tmp_path / "released").touch()
        server.__exit__()
    (first,) = re.findall("^.* takes more than 10 s: .*$", server.log, re.MULTILINE)
    assert f" WARNING loading app takes more than 10 s: app ({tmp_path}/app.py:" in first
    assert ("in <module>): " if gevent else "in wait_for_long): ") in first
    others = re.findall("^It waits for another greenlet, which blocks: (.*)$", server.log, re.MULTILINE)
    assert ["in wait_for_long): " in other for other in others] == [True] * gevent


def test_the_thread_that_watches_a_load_ends_with_it(monkeypatch):
    monkeypatch.setattr(loading, "_LONG", 1000)
    before = _thread._count()
    with loading.watched("app"):
        poll(lambda: _thread._count() > before, "nobody watches")
    poll(lambda: _thread._count() == before, "it goes on")
