"""Requests that run asyncio while others do: each greenlet has its own running loop."""

from __future__ import annotations

import socket

import pytest

from tests.support.server import Server

PLAIN = """
import asyncio, sys, threading

here = threading.Barrier(4)


def running():
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def meet():
    loop = asyncio.get_running_loop()
    here.wait(20)  # keeps the whole loop of this request waiting, as a driver for a database does
    assert running() is loop
    await asyncio.to_thread(here.wait, 20)
    assert running() is loop
    await loop.run_in_executor(None, here.wait, 20)
    done = loop.create_future()

    def tell():
        here.wait(20)
        loop.call_soon_threadsafe(done.set_result, "done")

    threading.Thread(target=tell).start()
    assert await asyncio.wait_for(done, 20) == "done"
    assert asyncio.current_task() in asyncio.all_tasks()
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "print(input())", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert await child.communicate(b"told") == (b"told\\n", None)
    assert child.returncode == 0


def beside():
    for _ in range(4):
        here.wait(20)
        assert running() is None


def of_its_own():
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    here.wait(20)
    assert asyncio.get_event_loop() is loop
    assert loop.run_until_complete(asyncio.sleep(0, "slept")) == "slept"
    asyncio.set_event_loop(None)
    loop.close()


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/meet":
        asyncio.run(meet())
    elif path == "/beside":
        beside()
    elif path == "/own":
        of_its_own()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"well"]
"""

FLASK = """
import asyncio, threading
from flask import Flask

here = threading.Barrier(4)
application = Flask(__name__)


@application.get("/meet")
async def meet():
    here.wait(20)
    await asyncio.to_thread(here.wait, 20)
    return "well"


@application.get("/beside")
def beside():
    here.wait(20)
    here.wait(20)
    return "well"
"""

DJANGO = """
import asyncio, threading

from asgiref.sync import sync_to_async
from django.conf import settings

settings.configure(
    ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="x",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)

from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.http import HttpResponse
from django.urls import path

here = threading.Barrier(4)


async def meet(request):
    here.wait(20)
    await sync_to_async(here.wait)(20)
    await asyncio.sleep(0)
    return HttpResponse("well")


def beside(request):
    here.wait(20)
    with connection.cursor() as cursor:  # SynchronousOnlyOperation where a loop runs
        cursor.execute("select 1")
    here.wait(20)
    return HttpResponse("well")


urlpatterns = [path("meet", meet), path("beside", beside)]
application = get_wsgi_application()
"""

APPS = {"plain": PLAIN, "flask": FLASK, "django": DJANGO}
WAYS = {"alone": [], "preloaded": ["--master"], "lazy": ["--master", "--lazy-apps"]}


@pytest.fixture(scope="module", params=[(app, way) for app in APPS for way in WAYS], ids="-".join)
def server(request, tmp_path_factory):
    app, way = request.param
    directory = tmp_path_factory.mktemp("asyncio")
    (directory / "app.py").write_text(APPS[app])
    options = ["--gevent", 10, "--warm-up=none", *WAYS[way]]
    with Server("--http-socket", "127.0.0.1:0", "--module", "app", *options, cwd=directory) as server:
        yield server


def at_once(server, *paths):
    """Return the answers to requests that are all sent before one is answered."""
    host, port = server.addresses["http"].split(":")
    clients = [socket.create_connection((host, int(port)), timeout=30) for _ in paths]
    try:
        for client, path in zip(clients, paths, strict=True):
            client.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        return [b"".join(iter(lambda: client.recv(65536), b"")) for client in clients]  # noqa: B023
    finally:
        for client in clients:
            client.close()


def test_loops_run_beside_each_other_and_beside_who_has_none(server):
    for _ in range(2):  # in greenlets that have run a loop, too
        answers = at_once(server, "/meet", "/meet", "/beside", "/meet")
        assert [answer.splitlines()[-1] for answer in answers] == [b"well"] * 4, server.log


@pytest.mark.parametrize("server", [("plain", way) for way in WAYS], indirect=True, ids=WAYS)
def test_a_loop_that_was_set_is_that_of_the_greenlet(server):
    assert [answer[-4:] for answer in at_once(server, *["/own"] * 4)] == [b"well"] * 4, server.log
