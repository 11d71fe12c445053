"""The servers that are measured: which protocols each speaks, how it is started, what it wants."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path

from bench.place import Place
from bench.requirement import PATH, STANDS_ON

ROOT = str(Path(__file__).resolve().parents[1])
PYTHON = sys.executable
FLOOR = "floor"  # what no server can go below that stands on what ours does,
BARE = "bare"  # and what one in Python has to do at least
CORRECTED = "corrected"  # in the version of a uWSGI that tests.soak.build_uwsgi has built

Command = Callable[[Place, str], list[str]]


class Uwsgi:
    """Which uWSGI is measured: the one on the path, or the one that the command line names."""

    program = "uwsgi"

    @classmethod
    def version(cls) -> str:
        """Return what it says of itself."""
        return _output(cls.program, "--version")


class Compiled:
    """Which compiled build of this server is measured: none but one that the command line names."""

    program = "appserver-compiled"


@cache
def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": PATH})
    return (done.stdout + done.stderr).strip()


def _appserver(place: Place, app: str) -> list[str]:
    option = {"http": "http-socket", "uwsgi": "socket", "fastcgi": "fastcgi-socket", "scgi": "scgi-socket"}
    where = (
        ["--zeromq", f"{place.push},{place.sub}"]
        if place.door == "mongrel2"
        else [f"--{option[place.door]}", place.address]
    )
    return [PYTHON, "-m", "appserver", *where, "--module", app]


def _compiled(place: Place, app: str) -> list[str]:
    _, _, _, *rest = _appserver(place, app)
    return [Compiled.program, *rest, "--pythonpath", ROOT]


def _uwsgi(place: Place, app: str) -> list[str]:
    option = {"http": "http-socket", "uwsgi": "socket", "fastcgi": "fastcgi-socket", "scgi": "scgi-socket"}
    where = (
        ["--zeromq", f"{place.push},{place.sub}"]
        if place.door == "mongrel2"
        else [f"--{option[place.door]}", place.address, "--listen", "1024"]
    )
    # Debian's has its languages in plug-ins; one that was built for this interpreter has them within.
    plugins = [] if "--module" in _output(Uwsgi.program, "--help") else ["--plugin", "python3"]
    environment = ["--virtualenv", sys.prefix] if sys.prefix != sys.base_prefix else []
    return [
        Uwsgi.program,
        *plugins,
        *where,
        *environment,
        "--pythonpath",
        ROOT,
        "--module",
        app,
        "--need-app",
    ]


def _uwsgi_http11(place: Place, app: str) -> list[str]:
    return ["--http11-socket" if word == "--http-socket" else word for word in _uwsgi(place, app)]


def _uwsgi_gevent(place: Place, app: str) -> list[str]:
    command = _uwsgi(place, app)
    if "--plugin" in command:
        command[command.index("--plugin") + 1] = "python3,gevent_python3"
    return command


def _gunicorn(place: Place, app: str) -> list[str]:
    bind = place.address if place.door == "http" else f"unix:{place.address}"
    protocol = ["--protocol", "uwsgi"] if place.door == "uwsgi" else []
    control = ["--control-socket", f"{place.directory}/gunicorn.ctl"]
    return [PYTHON, "-m", "gunicorn", "--bind", bind, "--keep-alive", "75", *protocol, *control, app]


def _granian(place: Place, app: str) -> list[str]:
    return [
        PYTHON,
        "-m",
        "granian",
        "--interface",
        "wsgi",
        "--host",
        "127.0.0.1",
        "--port",
        str(place.port),
        "--no-ws",
        "--http",
        "1",
        app,
    ]


def _waitress(place: Place, app: str) -> list[str]:
    return [PYTHON, "-m", "waitress", f"--listen=127.0.0.1:{place.port}", "--threads=4", app]


def _solo(name: str) -> Command:
    return lambda place, app: [PYTHON, "-m", "bench.solo", name, place.door, place.address, app]


def _least(name: str) -> Command:
    def command(place: Place, app: str) -> list[str]:
        where = [place.push, place.sub] if place.door == "mongrel2" else [place.address]
        called = [app.rpartition(":")[2]] if name == BARE else []
        return [PYTHON, "-m", f"bench.{name}", *called, place.door, *where]

    return command


def _null(place: Place, app: str) -> list[str]:
    from bench.compiler import built  # noqa: PLC0415 - compiles

    return [built("null"), place.push, place.sub]


@dataclass(frozen=True)
class Server:
    """A server in one of its forms; options of the place and the application come from `command`."""

    name: str
    base: Command
    options: Sequence[str] = ()
    needs: Sequence[str] = field(default=())  # names of requirements
    processes: int = 1
    package: str = ""  # of PyPI

    def command(self, place: Place, app: str) -> list[str]:
        """Return the command that serves an application of bench.application at a place."""
        command = [*self.base(place, f"bench.application:{app}"), *self.options]
        return [word.replace("{directory}", place.directory) for word in command]

    @property
    def ours(self) -> bool:
        """Whether it is this project's."""
        return self.package == "appserver"

    @property
    def path(self) -> str:
        """Where its interpreter looks first; what is compiled is not in this checkout."""
        return "" if self.base is _compiled else ROOT

    def version(self) -> str:
        """Return name and version of the program."""
        if self.base in {_uwsgi, _uwsgi_http11, _uwsgi_gevent}:
            return f"uWSGI {Uwsgi.version()}"
        return f"{self.package} {version(self.package)}" if self.package else ""

    def remark(self, door: str) -> str:
        """Return what must be said beside its figures."""
        if self.base is _compiled:
            return "built with APPSERVER_COMPILE=1"
        if self.name in LEAST:
            return LEAST[self.name]
        if door != "mongrel2" or not self.name.startswith("uwsgi"):
            return ""
        if CORRECTED in Uwsgi.version():
            return "its Mongrel2 plug-in with one comparison corrected: as shipped it loses every body"
        return "its Mongrel2 plug-in as shipped, which loses every body"


# What is no server, but shows what there is to be had.
LEAST = {
    FLOOR: "what Python, gevent and pyzmq take by themselves: it looks at no request",
    BARE: "what a WSGI server in Python takes that checks nothing and limits nothing",
}
QUIET = ("--disable-logging",)
GEVENT = ("--gevent", "1000", *QUIET)
UWSGI_GEVENT = (*QUIET, "--gevent-monkey-patch", "--gevent")
GUNICORN = ("gunicorn",)
NULL = "null"
OURS = ("appserver", *STANDS_ON)

SERVERS = {
    each.name: each
    for each in (
        Server("appserver", _appserver, QUIET, OURS, package="appserver"),
        Server("appserver-compiled", _compiled, QUIET, (*OURS, "appserver-compiled"), package="appserver"),
        Server("appserver-gevent", _appserver, GEVENT, OURS, package="appserver"),
        Server(
            "appserver-gevent-compiled", _compiled, GEVENT, (*OURS, "appserver-compiled"), package="appserver"
        ),
        Server("appserver-log", _appserver, ("--logto", "{directory}/log"), OURS, package="appserver"),
        Server(
            "appserver-2", _appserver, (*QUIET, "--processes", "2"), OURS, processes=2, package="appserver"
        ),
        Server("appserver-direct", _appserver, (*QUIET, "--post-buffering", "0"), OURS, package="appserver"),
        Server("uwsgi", _uwsgi, QUIET, ("uwsgi",)),
        Server("uwsgi-http11", _uwsgi_http11, QUIET, ("uwsgi",)),
        Server("uwsgi-gevent", _uwsgi_gevent, (*UWSGI_GEVENT, "1000"), ("uwsgi",)),
        Server("uwsgi-gevent-100", _uwsgi_gevent, (*UWSGI_GEVENT, "100"), ("uwsgi",)),
        Server("uwsgi-log", _uwsgi_http11, ("--logto", "{directory}/log"), ("uwsgi",)),
        Server("uwsgi-2", _uwsgi, (*QUIET, "--master", "--processes", "2"), ("uwsgi",), processes=2),
        Server("gunicorn-sync", _gunicorn, ("-k", "sync"), GUNICORN, package="gunicorn"),
        Server(
            "gunicorn-gthread", _gunicorn, ("-k", "gthread", "--threads", "8"), GUNICORN, package="gunicorn"
        ),
        Server(
            "gunicorn-gevent",
            _gunicorn,
            ("-k", "gevent", "--worker-connections", "12000"),
            (*GUNICORN, "gevent"),
            package="gunicorn",
        ),
        Server("granian", _granian, ("--backpressure", "12000"), ("granian",), package="granian"),
        Server("granian-128", _granian, ("--blocking-threads", "128"), ("granian",), package="granian"),
        Server("bjoern", _solo("bjoern"), (), ("bjoern",), package="bjoern"),
        Server("waitress", _waitress, (), ("waitress",), package="waitress"),
        Server("cheroot", _solo("cheroot"), (), ("cheroot",), package="cheroot"),
        Server("pywsgi", _solo("pywsgi"), (), ("gevent",), package="gevent"),
        Server("flup", _solo("flup"), (), ("flup",), package="flup"),
        *(Server(name, _least(name), (), OURS, package="gevent") for name in LEAST),
        Server(NULL, _null, (), ("cc", "/usr/include/zmq.h")),
    )
}
