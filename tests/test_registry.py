"""The registry: listeners come from installed distributions, and a bad one is told clearly."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import types
from dataclasses import dataclass
from importlib.metadata import distribution
from importlib.metadata import entry_points as points_of_metadata

import pytest

from appserver.cli import main
from appserver.entrypoints import EntryPoint, entry_points
from appserver.listeners.listener import Listener
from appserver.options import option
from appserver.registry import _PARTS, GROUP, RegistryError, listeners
from tests.support.server import ROOT, Server

BUILT_IN = {
    "fastcgi": "appserver.listeners.fastcgi:FastcgiListener",
    "http": "appserver.listeners.http:HttpListener",
    "mongrel2": "appserver.listeners.mongrel2:Mongrel2Listener",
    "scgi": "appserver.listeners.scgi:ScgiListener",
    "uwsgi": "appserver.listeners.uwsgi:UwsgiListener",
}


@dataclass(frozen=True)
class TinyOptions:
    """Tiny."""

    tiny_socket: tuple[str, ...] = option((), "Serve tiny.", mounts=True)


@dataclass(frozen=True)
class Kinds:
    """Kinds."""

    tiny_socket: tuple[str, ...] = option((), "Serve tiny.", mounts=True)
    level: Level = option(3, "A level.")  # noqa: F821


class Tiny(Listener):
    name = "tiny"
    Options = TinyOptions
    subscribes = False
    address = bind = start = stop = in_hand = busy = close = lambda *_: None


def changed(**attributes):
    return type("Changed", (Tiny,), attributes)


def dataclass_of(**fields):
    body = dict(fields, __doc__="Options.", __annotations__=dict.fromkeys(fields, "tuple[str, ...]"))
    return dataclass(frozen=True)(type("Options", (), body))


@pytest.fixture
def provide(monkeypatch):
    """Return a function that makes an object available as an entry point of a module ``plugin``."""
    module = types.ModuleType("plugin")
    monkeypatch.setitem(sys.modules, "plugin", module)

    def provide(thing, name="tiny", attribute="Thing"):
        setattr(module, attribute, thing)
        return EntryPoint(name, f"plugin:{attribute}")

    return provide


def test_the_built_in_ones_are_entry_points_of_the_installed_distribution():
    points = distribution("appserver").entry_points.select(group=GROUP)
    assert {point.name: point.value for point in points} == BUILT_IN
    found = listeners()
    for name, value in BUILT_IN.items():
        assert f"{found[name].__module__}:{found[name].__qualname__}" == value


def test_the_built_in_ones_are_registered_as_a_third_partys_would_be(monkeypatch):
    rest = [point for point in entry_points(GROUP) if point.name != "scgi"]
    assert "scgi" not in listeners(rest)


@pytest.mark.parametrize("group", [GROUP, "console_scripts"])
def test_entry_points_are_those_that_importlib_metadata_finds(group):
    found = {(each.name, each.value, each.distribution) for each in entry_points(group)}
    assert found == {
        (each.name, each.value, re.sub(r"[-_.]+", "-", each.dist.name).lower())
        for each in points_of_metadata(group=group)
    }


def test_a_good_one_is_found(provide):
    assert listeners([provide(Tiny)]) == {"tiny": Tiny}


def test_one_that_is_seen_twice_counts_once(provide):
    point = provide(Tiny)
    assert listeners([point, EntryPoint(point.name, point.value)]) == {"tiny": Tiny}


def test_one_that_is_provided_twice_is_refused(provide):
    points = [provide(Tiny), provide(changed(), attribute="Other")]
    with pytest.raises(RegistryError) as caught:
        listeners(points)
    assert str(caught.value) == (
        "the listener tiny is provided twice, by plugin:Thing and by plugin:Other; uninstall one of them"
    )


def test_without_any_there_is_an_error():
    with pytest.raises(
        RegistryError, match=r"^no listener is registered; run pip install \. in the checkout of appserver$"
    ):
        listeners([])


@pytest.mark.parametrize(
    "value, reason",
    [
        ("absent_plugin:Thing", "ModuleNotFoundError: No module named 'absent_plugin'"),
        ("plugin:Absent", "AttributeError: module 'plugin' has no attribute 'Absent'"),
    ],
)
def test_one_that_cannot_be_loaded_is_refused(provide, value, reason):
    provide(Tiny)
    with pytest.raises(RegistryError) as caught:
        listeners([EntryPoint("tiny", value)])
    assert str(caught.value) == f"the listener tiny of {value} cannot be loaded: {reason}"


def test_one_whose_code_fails_is_refused(tmp_path, monkeypatch):
    (tmp_path / "failing_plugin.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RegistryError, match=r"cannot be loaded: ZeroDivisionError: division by zero$"):
        listeners([EntryPoint("tiny", "failing_plugin:Thing")])


@pytest.mark.parametrize(
    "thing, reason",
    [
        (Tiny("", None), "it lacks a class"),
        (types.SimpleNamespace(name="tiny"),
         ("it lacks Options, subscribes, dangers, bind, follows, take_over, adapt, attendant, refuse,"
          " abandon, sever, waiting, start, stop, in_hand, busy, close")),
        (type("Short", (), {"name": "tiny", "Options": TinyOptions, "subscribes": False, "bind": None}),
         ("it lacks dangers, follows, take_over, adapt, attendant, refuse, abandon, sever, waiting, start, stop, in_hand,"
          " busy, close")),
        (type("Derived", (Listener,), {"name": "tiny", "Options": TinyOptions, "subscribes": False, "bind": None}),
         "it lacks address, busy, close, start, stop"),
        (changed(Options=dict), "Options is no dataclass"),
        (changed(Options=TinyOptions()), "Options is no dataclass"),
        (changed(Options=dataclass_of(tiny_socket=())), "its Options are not declared by option()"),
        (changed(Options=dataclass_of()), "exactly one of its Options must mount listeners and be repeatable"),
        (changed(Options=dataclass_of(a=option((), "A."))), "exactly one of its Options must mount listeners and be repeatable"),
        (changed(Options=dataclass_of(a=option("", "A.", mounts=True))),
         "exactly one of its Options must mount listeners and be repeatable"),
        (changed(Options=dataclass_of(a=option((), "A.", mounts=True), b=option((), "B.", mounts=True))),
         "exactly one of its Options must mount listeners and be repeatable"),
        (changed(Options=Kinds),
         (f"the option level of {__name__}.Kinds is annotated with Level, which does not tell how its value is made of"
         " text; take bool, int, float, str or tuple[str, ...], or give option() a convert")),
        (changed(name="other"), "it calls itself 'other'"),
    ],
)  # fmt: skip
def test_a_malformed_one_is_refused(provide, thing, reason):
    with pytest.raises(RegistryError) as caught:
        listeners([provide(thing)])
    assert str(caught.value) == f"the listener tiny of plugin:Thing is malformed: {reason}"


@pytest.mark.parametrize(
    "options, reason",
    [
        (dataclass_of(http_socket=option((), "Mine.", mounts=True)), "the option http-socket"),
        (
            dataclass_of(tiny_socket=option((), "Mine.", mounts=True, aliases=("workers",))),
            "the option workers",
        ),
        (dataclass_of(tiny_socket=option((), "Mine.", mounts=True, short="p")), "the short option -p"),
    ],
)
def test_an_option_that_exists_already_is_refused(monkeypatch, capsys, options, reason):
    found = listeners() | {"tiny": changed(Options=options)}
    monkeypatch.setattr("appserver.configuration.listeners", lambda: found)
    assert main(["--version"]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"appserver: {reason} is declared by appserver.")
    assert " and by " in line


PLUGIN = """
from dataclasses import dataclass
from typing import ClassVar
from appserver.listeners.http import HttpListener
from appserver.options import option

@dataclass(frozen=True)
class PlugOptions:
    '''Plugged in.'''

    plug_socket: tuple[str, ...] = option((), "Serve plugs.", expects="address", mounts=True)

class Plug(HttpListener):
    name: ClassVar[str] = "{name}"
    Options: ClassVar[type] = PlugOptions
"""


# What the table of the AJP example's README says, and nothing else: a request for each datagram.
DATAGRAMS = """
import io, socket
from dataclasses import dataclass
import gevent
from gevent.socket import wait_read
from appserver.address import AddressError
from appserver.listeners.listener import Listener
from appserver.options import option
from appserver.protocols import cgi
from appserver.protocols.framing import CgiAnswers

@dataclass(frozen=True)
class PlugOptions:
    '''Plugged in.'''

    plug_socket: tuple[str, ...] = option((), "Serve datagrams.", expects="address", mounts=True)

class Channel:
    gone = False

    def __init__(self, sock, peer):
        self.sock, self.peer = sock, peer

    def send(self, pieces, more=False):
        self.sock.sendto(b"".join(pieces), self.peer)

    def abort(self):
        pass

class Task:
    def __init__(self, listener, x, channel):
        self.listener, self.x, self.channel = listener, x, channel

    def work(self):
        self.listener.service.respond(self.x, self.channel)

    def done(self):
        self.listener.running -= 1

    def refuse(self, error):
        self.listener.service.refuse(self.x, self.channel, error)

class Plug(Listener):
    name = "{name}"
    Options = PlugOptions
    subscribes = False
    sock = reader = None
    running = 0

    @property
    def address(self):
        return self.spec if self.sock is None else "%s:%d" % self.sock.getsockname()

    def bind(self, passed):
        host, _, port = self.spec.rpartition(":")
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind((host, int(port)))
        self.sock.setblocking(False)

    def start(self, service):
        self.service = service
        self.reader = gevent.spawn(self.read)

    def read(self):
        while True:
            wait_read(self.sock.fileno())
            try:
                path, peer = self.sock.recvfrom(65536)
            except BlockingIOError:
                continue
            pairs = [("REQUEST_METHOD", "GET"), ("REQUEST_URI", path.decode()), ("PATH_INFO", path.decode()),
                     ("SERVER_PROTOCOL", "HTTP/1.1"), ("REMOTE_ADDR", peer[0])]
            x = cgi.exchange(cgi.merged(pairs) | self.service.environ | {"appserver.listener": self.name}, CgiAnswers())
            x.environ["wsgi.input"] = io.BytesIO()
            self.running += 1
            self.service.cores.run(Task(self, x, Channel(self.sock, peer)))

    def stop(self):
        self.reader.kill()

    def busy(self):
        return self.running

    def close(self):
        if self.sock is not None:
            self.sock.close()
            self.sock = None
"""


def install(directory, name, code=PLUGIN):
    """Put a distribution ``appserver-plug`` into a directory; return the environment that has it."""
    (directory / "plug.py").write_text(code.replace("{name}", name))
    info = directory / "appserver_plug-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: appserver-plug\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\nplug = plug:Plug\n")
    return {**os.environ, "PYTHONPATH": f"{directory}:{ROOT}"}


def run_with_plugin(directory, name, *arguments):
    """Run the command with a distribution on the path that provides ``plug``."""
    env = install(directory, name)
    return subprocess.run(
        [sys.executable, "-m", "appserver", *arguments], cwd=directory, capture_output=True, text=True, timeout=30, env=env,
    )  # fmt: skip


def test_a_plugin_is_mounted_from_an_ini_file(tmp_path):
    (tmp_path / "site.ini").write_text(
        "[uwsgi]\nplug-socket = 127.0.0.1:0\nhttp-socket = :0\nmodule = wsgiref.simple_server:demo_app\n"
    )
    done = run_with_plugin(tmp_path, "plug", "--check", "site.ini")
    assert done.stderr == ""
    assert "\nlistener: plug 127.0.0.1:0\nlistener: http :0\n" in done.stdout


def test_a_malformed_plugin_stops_the_command_with_one_line(tmp_path):
    done = run_with_plugin(tmp_path, "another", "--version")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        "appserver: the listener plug of plug:Plug (appserver-plug) is malformed: it calls itself 'another'\n"
    )


def test_the_parts_are_those_of_the_contract():
    contract = {name for name in vars(Listener) if name[0] != "_"} | set(Listener.__annotations__)
    assert set(_PARTS) == contract - {"spec", "settings", "address"}


def test_the_readme_of_the_example_has_them_in_its_table():
    readme = (ROOT / "examples" / "appserver-ajp" / "README.md").read_text()
    rows = re.findall(r"^\| (`.*?) \|.*?(may be left out|left out,|\|$)", readme, re.MULTILINE)
    told = {name: may for names, may in rows for name in re.findall(r"`([a-zA-Z_]+)[`(]", names)}
    assert set(told) == {*_PARTS, "__init__", "address"}
    assert {name for name, may in told.items() if may == "|"} == {
        "name", "Options", "subscribes", *Listener.__abstractmethods__,
    }  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [[], ["--gevent", 2], ["--threads", 2], ["--master", "--stats", "127.0.0.1:0"]],
    ids=["one", "gevent", "threads", "master"],
)
def test_what_the_table_requires_is_all_that_a_listener_needs(tmp_path, options):
    env = install(tmp_path, "plug", DATAGRAMS)
    arguments = ["--plug-socket", "127.0.0.1:0", "--module", "wsgiref.simple_server:demo_app", *options]
    with (
        Server(*arguments, cwd=tmp_path, env=env) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        host, port = server.addresses["plug"].rsplit(":", 1)
        client.settimeout(20)
        client.connect((host, int(port)))
        client.send(b"/hello")
        answer = client.recv(65536)
        assert answer.startswith(b"Status: 200 OK\r\n")
        assert b"PATH_INFO = '/hello'" in answer
        assert server.stop() == 0
        assert "Traceback" not in server.log
