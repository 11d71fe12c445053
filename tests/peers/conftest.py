"""One server with configs/site.ini behind nginx and two Mongrel2, and every path through them."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.fronts import Configs, Mongrel2, Nginx, require
from tests.support.server import Server

APPS = Path(__file__).with_name("apps.py")

# Every way a client's request can take: the port it goes to in configs/, and the listener that answers.
PATHS = {
    "http": (8080, "http"),
    "nginx-http": (8104, "http"),
    "nginx-uwsgi": (8101, "uwsgi"),
    "nginx-fastcgi": (8102, "fastcgi"),
    "nginx-scgi": (8103, "scgi"),
    "mongrel2-tnetstring": (6767, "mongrel2"),
    "mongrel2-json": (16767, "mongrel2"),
}


class Stack:
    """One `appserver` process with all listeners and every front end it can have."""

    def __init__(self, directory, *arguments, env=None):
        self.configs = Configs(directory)
        # Mongrel2 speaks JSON where nobody asks for tnetstrings, nginx passes bodies on where asked.
        json_conf = self.configs.second_mongrel2("json")
        unbuffered = " ".join(
            f"{each}_request_buffering off;" for each in ("proxy", "uwsgi", "fastcgi", "scgi")
        )
        self.configs.edit(
            "nginx.conf", "nginx-unbuffered.conf",
            (r"listen 127.0.0.1:(\d+);", lambda m: f"listen 127.0.0.1:{self.configs.port(int(m[1]) + 40000)};"),
            ("(?m)^pid nginx", "pid nginx-unbuffered"),
            ("    access_log off;", f"\\g<0> {unbuffered}"),
        )  # fmt: skip
        with ExitStack() as stack:
            self.nginx = stack.enter_context(Nginx(self.configs))
            self.unbuffered = stack.enter_context(Nginx(self.configs, "nginx-unbuffered.conf"))
            self.mongrel2 = stack.enter_context(Mongrel2(self.configs))
            self.json = stack.enter_context(Mongrel2(self.configs, json_conf))
            self.server = stack.enter_context(
                Server("--ini", self.configs.ini("site.ini"), "--zeromq", self.configs.specs(10000),
                       *arguments, env=env)
            )  # fmt: skip
            self._stack = stack.pop_all()

    def port(self, path):
        return self.configs.port(PATHS[path][0])

    def url(self, path, target="/"):
        return self.configs.url(PATHS[path][0], target)

    def unbuffered_url(self, path, target):
        return self.configs.url(self.configs.port(PATHS[path][0]) + 40000, target)

    def close(self):
        """Stop everything; a server that complained has failed."""
        try:
            code = self.server.stop()
        finally:
            self._stack.close()
        assert code == 0, self.server.log


def stack(tmp_path_factory, name, *arguments, **options):
    require("curl", "nginx", "mongrel2", "m2sh")
    found = Stack(tmp_path_factory.mktemp(name), *arguments, **options)
    yield found
    found.close()


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """Return the stack with the application that configs/ has."""
    yield from stack(tmp_path_factory, "demo")


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """Return the stack with the applications of these tests."""
    yield from stack(tmp_path_factory, "site", "--wsgi-file", APPS, env={"MEET": str(len(PATHS))})


@pytest.fixture(params=PATHS)
def path(request):
    """Return the name of each path in turn."""
    return request.param


@contextmanager
def starting(directory):
    """Give a function that starts a server and front ends in a directory, and stop them in the end."""
    require("curl", "nginx", "mongrel2", "m2sh")
    with ExitStack() as stack:
        configs = Configs(directory)

        def run(what, *arguments, **options):
            if isinstance(what, type):
                return stack.enter_context(what(configs, *arguments))
            named = ("--ini", configs.ini(what)) if what else ()
            return stack.enter_context(Server(*named, *arguments, **options))

        run.configs = configs
        yield run


@pytest.fixture
def start(tmp_path):
    """Return what starts a server and front ends for one test."""
    with starting(tmp_path) as run:
        yield run
