"""The modules ``uwsgi`` and ``uwsgidecorators``: alone, and in an application that is served."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import nullcontext
from types import SimpleNamespace

import gevent
import pytest

from appserver import __version__, wsgi
from appserver import clock as clocks
from appserver.clock import Clock
from appserver.compat import dues, finder, signals
from appserver.compat.dues import Dues
from appserver.compat.features import ABSENT, REFUSED
from appserver.compat.module import WithLogvars
from appserver.compat.signals import Alarm, Signals, Timer
from appserver.configuration import Configuration
from appserver.wsgi import Harakiri
from tests.support.fronts import poll
from tests.support.server import Server
from tests.support.wall import Ended, Wall, seconds

NAMES = ("uwsgi", "uwsgidecorators")


@pytest.fixture(autouse=True)
def _no_finder(monkeypatch):
    """Leave out what other tests of this process have installed, and leave nothing behind."""
    others = [each for each in sys.meta_path if not isinstance(each, finder.Finder)]
    monkeypatch.setattr(sys, "meta_path", others)


@pytest.fixture
def modules(monkeypatch):
    """Import both as an application does, and leave nothing behind."""
    shared = Signals()
    for module in (
        sys.modules["appserver.compat.module"],
        sys.modules["appserver.compat.decorators"],
        finder,
    ):
        monkeypatch.setattr(module, "SIGNALS", shared)
    arguments = [
        "--http",
        ":0",
        "--module",
        "x",
        "--processes",
        "3",
        "--env",
        "A=1",
        "--env",
        "B=2",
        "--vacuum",
    ]
    finder.install(Configuration(arguments).settings, supervised=False)
    yield [importlib.import_module(name) for name in NAMES]
    for name in NAMES:
        sys.modules.pop(name, None)


def test_there_is_no_such_module_without_the_server():
    for name in NAMES:
        assert name not in sys.modules
        with pytest.raises(ImportError):
            importlib.import_module(name)


def test_the_options_are_as_uwsgi_has_them(modules):
    uwsgi, _ = modules
    assert uwsgi.opt["module"] == b"x"
    assert uwsgi.opt["env"] == [b"A=1", b"B=2"]
    assert uwsgi.opt["vacuum"] is True
    assert uwsgi.opt["enable-threads"] is uwsgi.opt["py-call-uwsgi-fork-hooks"] is True
    assert uwsgi.numproc == 3
    assert uwsgi.version.startswith(b"appserver ")


@pytest.mark.parametrize("section", ["uwsgi", "appserver"])
def test_the_options_have_variables(tmp_path, monkeypatch, section):
    ini = tmp_path / "site.ini"
    ini.write_text(
        f"[{section}]\nhttp-socket = :0\nmodule = x\nset-placeholder = who=me\nset-ph = greeting=hello %(who)\n"
        "if-exists = /nowhere\nset-ph = left=out\nendif =\n"
    )
    configuration = Configuration(["--ini", str(ini)])
    assert (configuration.problems, configuration.warnings) == ([], [])
    finder.install(configuration.settings, supervised=False)
    uwsgi = importlib.import_module("uwsgi")
    del sys.modules["uwsgi"]
    assert (uwsgi.opt["who"], uwsgi.opt["greeting"]) == (b"me", b"hello %(who)")  # as uWSGI has it
    assert "left" not in uwsgi.opt


@pytest.mark.parametrize("supervised", [True, False])
def test_signals_are_for_the_server_whoever_is_the_parent(monkeypatch, supervised):
    """A process that the application forks has another one, and so has a worker whose master was killed."""
    server = os.getppid() if supervised else os.getpid()
    sent, there = [], True

    def kill(pid, number):
        sent.append((pid, number))
        if not there:
            raise ProcessLookupError

    settings = Configuration(["--http", ":0", "--module", "x"]).settings
    finder.install(settings, supervised=supervised)
    monkeypatch.setattr(os, "getppid", lambda: 1)
    monkeypatch.setattr(os, "getpid", lambda: 2)
    monkeypatch.setattr(os, "kill", kill)
    uwsgi = importlib.import_module("uwsgi")
    del sys.modules["uwsgi"]
    assert uwsgi.masterpid() == (server if supervised else 0)
    uwsgi.stop()
    if supervised:
        assert uwsgi.reload() is True
        there = False
        assert uwsgi.reload() is False
    uwsgi.stop()
    assert {pid for pid, _ in sent} == {server}


def test_what_a_process_is(modules):
    uwsgi, _ = modules
    assert (
        uwsgi.worker_id(),
        uwsgi.mule_id(),
        uwsgi.masterpid(),
        uwsgi.in_farm(),
        uwsgi.i_am_the_spooler(),
    ) == (1, 0, 0, False, False)
    rss, vsz = uwsgi.mem()
    assert 0 < rss < vsz


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_is_not_here_can_be_imported_and_says_so_when_it_is_called(modules, name):
    uwsgi, _ = modules
    function = getattr(uwsgi, name)
    with pytest.raises(NotImplementedError, match=rf"^uwsgi\.{name}: "):
        function("x", y=1)


@pytest.mark.parametrize("name", sorted(ABSENT))
def test_what_a_uwsgi_may_be_without_is_not_there(modules, name):
    uwsgi, _ = modules
    assert not hasattr(uwsgi, name)
    with pytest.raises(AttributeError, match=rf"^uwsgi\.{name}: {ABSENT[name][:9]}"):
        getattr(uwsgi, name)


def test_code_that_asks_does_without(modules):
    """As engineio, and others that would rather not have a time limit or sleep in uWSGI's way."""
    uwsgi, _ = modules
    with pytest.raises(ImportError):
        from uwsgi import async_sleep  # noqa: F401
    assert not hasattr(uwsgi, "websocket_handshake")
    assert not hasattr(uwsgi, "set_user_harakiri")


# What dir() returns of the modules of uWSGI 2.0.21, as Debian 12 has it.
REAL = {
    "uwsgi": """
SPOOL_IGNORE SPOOL_OK SPOOL_RETRY SymbolsImporter SymbolsZipImporter ZipImporter accepting add_cron
add_file_monitor add_rb_timer add_timer add_var alarm applications async_connect async_sleep buffer_size
cache_clear cache_dec cache_del cache_div cache_exists cache_get cache_inc cache_keys cache_mul
cache_num cache_set cache_update call chunked_read chunked_read_nb cl close connect connection_fd cores
disconnect embedded_data extract farm_get_msg farm_msg get_logvar green_schedule has_threads hostname
i_am_the_lord i_am_the_spooler in_farm is_a_reload is_connected is_locked listen_queue lock log
log_this_request logsize loop lord_scroll magic_table masterpid mem metric_dec metric_div metric_get
metric_inc metric_mul metric_set metric_set_max metric_set_min micros mule_get_msg mule_id mule_msg
numproc offload opt parsefile ready ready_fd recv register_rpc register_signal reload request_id route
rpc rpc_list scrolls send sendfile set_logvar set_user_harakiri set_warning_message setprocname signal
signal_received signal_registered signal_wait sockets start_response started_on stop suspend
total_requests unbit unlock version version_info wait_fd_read wait_fd_write websocket_handshake
websocket_recv websocket_recv_nb websocket_send websocket_send_binary worker_id workers
""",
    "uwsgidecorators": """
cron erlang farm farm_loop filemon get_free_signal harakiri lock manage_spool_request mule mule_brain
mule_brainloop mule_functions mule_msg_dispatcher mulefunc muleloop mulemsg mulemsg_loop postfork
postfork_chain postfork_chain_hook rbtimer rpc signal spool spool_decorate spooler_functions
spoolforever spoolraw thread timer
""",
}


@pytest.mark.parametrize("name, attribute", [(name, each) for name in NAMES for each in REAL[name].split()])
def test_all_names_of_uwsgis_are_known(modules, name, attribute):
    assert hasattr(modules[NAMES.index(name)], attribute) or (name == "uwsgi" and attribute in ABSENT)


def test_what_a_server_is(modules, monkeypatch):
    uwsgi, decorators = modules
    assert (uwsgi.buffer_size, uwsgi.has_threads, uwsgi.loop, uwsgi.applications) == (65536, 1, None, None)
    assert uwsgi.version == f"appserver {__version__}".encode()
    assert (2, 0, 30) <= uwsgi.version_info[:3] < (2, 1)
    assert uwsgi.is_a_reload is False
    assert abs(uwsgi.started_on - time.time()) < 3600
    assert abs(uwsgi.micros() / 1e6 - time.time()) < 3600
    assert (uwsgi.ready(), uwsgi.accepting(), uwsgi.cl()) == (None, None, 0)
    finder.begin()
    assert uwsgi.ready() is True
    free = decorators.get_free_signal()
    decorators.signal(free)(print)
    assert decorators.get_free_signal() != free
    decorators.postfork_chain_hook()
    monkeypatch.setattr(sys.modules["appserver.compat.module"], "generation", lambda: 2)
    finder.install(
        Configuration(["--http", ":0", "--module", "x", "--gevent", "3"]).settings, supervised=True
    )
    sys.modules.pop("uwsgi")
    uwsgi = importlib.import_module("uwsgi")
    assert (uwsgi.is_a_reload, uwsgi.loop) == (True, b"gevent")


@pytest.mark.parametrize("name", ["manage_spool_request", "mule_msg_dispatcher"])
def test_functions_of_decorators_say_so_when_they_are_called(modules, name):
    with pytest.raises(NotImplementedError, match=rf"^uwsgidecorators\.{name}: there"):
        getattr(modules[1], name)(b"message")


def test_what_never_was_is_not_there(modules):
    uwsgi, decorators = modules
    assert not hasattr(uwsgi, "no_such_thing")
    assert not hasattr(decorators, "no_such_thing")


def test_reload_needs_a_master(modules):
    with pytest.raises(NotImplementedError, match="set master = true"):
        modules[0].reload()


def test_logvars_are_those_of_the_request(modules):
    uwsgi, _ = modules
    uwsgi.set_logvar("a", "outside")

    def app(environ, start_response):
        before = uwsgi.get_logvar("a")
        uwsgi.set_logvar("a", environ["n"])
        uwsgi.set_logvar("b", b"bytes")
        return [before, uwsgi.get_logvar("a")]

    one, two = {"n": "1"}, {"n": "2"}
    assert WithLogvars(app)(one, None) == [None, b"1"]
    assert WithLogvars(app)(two, None) == [None, b"2"]
    assert one["appserver.logvars"] == {"a": "1", "b": "bytes"}


def test_functions_run_after_the_fork(modules):
    uwsgi, decorators = modules
    told = []
    decorators.postfork(lambda: told.append("all"))

    @decorators.postfork(wid=1)
    def first():
        told.append("first")

    @decorators.postfork(wid=2)
    def second():
        told.append("second")

    decorators.postfork(1)(lambda: told.append("first by uWSGI's form"))
    decorators.postfork(2)(lambda: told.append("second by uWSGI's form"))
    decorators.postfork(0)(lambda: told.append("all by uWSGI's form"))
    decorators.postfork()(lambda: told.append("all without arguments"))
    uwsgi.post_fork_hook = lambda: told.append("hook")
    finder.begin()
    assert told == [
        "hook", "all", "first", "first by uWSGI's form", "all by uWSGI's form", "all without arguments",
    ]  # fmt: skip
    first()
    assert told[-1] == "first"


def test_signals_call_their_handlers(modules):
    uwsgi, decorators = modules
    told = []

    @decorators.signal(7)
    def handler(number):
        told.append(number)

    uwsgi.signal(7)
    assert told == [7]
    assert (uwsgi.signal_registered(7), uwsgi.signal_registered(8)) == (True, False)
    with pytest.raises(ValueError, match="signal 8 has no handler"):
        uwsgi.signal(8)
    with pytest.raises(ValueError, match="256 is no signal"):
        uwsgi.register_signal(256, "", print)
    with pytest.raises(NotImplementedError, match="there are only workers"):
        uwsgi.register_signal(1, "mule1", print)
    uwsgi.register_signal(9, "", lambda _: 1 / 0)
    uwsgi.signal(9)


class TestTargets:
    """Where handlers are called."""

    @pytest.fixture
    def sent(self, monkeypatch):
        """Return what is sent to other workers."""
        sent = []
        link = SimpleNamespace(send=lambda *message: sent.append(message))
        monkeypatch.setattr(signals, "Link", SimpleNamespace(here=link))
        monkeypatch.setattr(signals, "worker_id", lambda: 2)
        return sent

    @pytest.mark.parametrize(
        "target, here, others",
        [
            ("", True, False), ("worker", True, False), ("worker0", True, False), ("workers", True, True),
            ("active-workers", True, True), ("worker2", True, False), ("worker1", False, True),
        ],
    )  # fmt: skip
    def test_they_are_called_here_or_in_other_workers(self, modules, sent, target, here, others):
        uwsgi, _ = modules
        told = []

        def handler(number):
            told.append(number)

        uwsgi.register_signal(7, target, handler)
        uwsgi.signal(7)
        assert told == [7] * here
        assert sent == [(signals.SIGNAL, f"{__name__}.{handler.__qualname__}", b"\7")] * others

    @pytest.mark.parametrize(
        "target, worker, runs",
        [("workers", 2, True), ("worker2", 2, True), ("worker2", 1, False), ("", 1, False)],
    )
    def test_what_others_raise_is_heard(self, monkeypatch, target, worker, runs):
        monkeypatch.setattr(signals, "worker_id", lambda: worker)
        begun = []
        monkeypatch.setattr(signals._thread, "start_new_thread", lambda *call: begun.append(call))
        made = Signals()
        made.register(7, target, print)
        made.hear("builtins.print", b"\7")
        made.hear("builtins.input", b"\7")  # of another generation, which has another function there
        made.hear("builtins.print", b"\10")
        assert [arguments for _, arguments in begun] == [(7, print)] * runs

    def test_a_worker_that_is_about_to_end_leaves_them_to_its_successor(self, monkeypatch):
        monkeypatch.setattr(signals, "worker_id", lambda: 2)
        begun = []
        monkeypatch.setattr(signals._thread, "start_new_thread", lambda *call: begun.append(call))
        old, new = Signals(), Signals()
        for each in (old, new):
            each.register(7, "worker2", print)
        old.end()
        for each in (old, new):
            each.hear("builtins.print", b"\7")
        assert [function for function, _ in begun] == [new._obey]

    def test_without_a_master_there_is_one_worker(self, modules):
        uwsgi, _ = modules
        told = []
        uwsgi.register_signal(7, "workers", told.append)
        uwsgi.register_signal(8, "worker2", told.append)
        uwsgi.signal(7)
        assert told == [7]
        with pytest.raises(ValueError, match="signal 8 is for worker2, and there is one worker"):
            uwsgi.signal(8)

    def test_while_nobody_serves_others_are_not_reached(self, modules, monkeypatch, caplog):
        uwsgi, _ = modules
        monkeypatch.setattr(signals, "Meeting", SimpleNamespace(here=object()))
        uwsgi.register_signal(7, "workers", lambda _: None)
        uwsgi.signal(7)
        assert caplog.messages == ["signal 7 does not reach workers before this worker serves"]

    @pytest.mark.parametrize(
        "target", ["mules", "mule1", "farm_x", "spooler", "subscribed", "bogus", "worker-1"]
    )
    def test_there_are_only_workers(self, modules, target):
        with pytest.raises(NotImplementedError, match="there are only workers"):
            modules[0].register_signal(1, target, print)


DROPPING = """
import os
import uwsgi

def told(name):
    def handler(number):
        with open(name, "a") as file:
            file.write(f"{uwsgi.worker_id()}\\n")
    return handler

uwsgi.register_signal(10, "workers", told("all"))
uwsgi.register_signal(12, "worker2", told("second"))

def application(environ, start_response):
    uwsgi.signal(int(environ["PATH_INFO"][1:]))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"raised"]
"""


@pytest.mark.parametrize("options", [(), ("--gevent", "3"), ("--threads", "2"), ("--lazy-apps",)])
def test_signals_go_to_the_workers_that_they_are_for(tmp_path, options):
    (tmp_path / "app.py").write_text(DROPPING)
    with Server(
        "--http", "127.0.0.1:0", "--module", "app", "--master", "--processes", "3", "--warm-up", "none",
        *options, cwd=tmp_path,
    ) as server:  # fmt: skip
        for number in (10, 12, 12):
            urllib.request.urlopen(f"http://{server.addresses['http']}/{number}", timeout=20).close()

        def found(name):
            path = tmp_path / name
            return sorted(path.read_text().split()) if path.exists() else []

        poll(lambda: found("all") == ["1", "2", "3"], "not all workers hear it")
        poll(lambda: found("second") == ["2", "2"], "worker 2 does not hear it")
        assert server.stop() == 0


def test_timers_run_from_the_beginning_of_a_worker(modules):
    uwsgi, decorators = modules
    ran = threading.Event()

    @decorators.timer(0.01)
    def tick(number):
        ran.set()

    finder.begin()
    assert ran.wait(20)
    late = threading.Event()
    uwsgi.register_signal(3, "", lambda _: late.set())
    uwsgi.add_rb_timer(3, 0.01, 1)
    assert late.wait(20)


@pytest.mark.parametrize(("error", "what"), [
    (Harakiri, "took too long"), (gevent.Timeout(1), "failed"), (SystemExit(3), "failed"),
    (gevent.GreenletExit, "failed"),
])  # fmt: skip
def test_a_timer_whose_handler_was_interrupted_goes_on(monkeypatch, caplog, error, what):
    monkeypatch.setattr(signals.time, "sleep", lambda seconds: None)
    made = Signals()
    raised = []

    def tick(number):
        raised.append(number)
        if len(raised) == 1:
            raise error

    made.register(3, "", tick)
    numbers = [0.0, 0.0]
    made._run(Timer(3, 0.01, 2), lambda: nullcontext(numbers), made.raise_)
    assert raised == [3, 3]
    assert f"the handler of signal 3 {what}" in caplog.text


@pytest.mark.parametrize("error", [None, SystemExit(7), gevent.Timeout(1)])
def test_a_child_of_a_handler_ends_as_it_says(monkeypatch, caplog, error):
    ends = []
    monkeypatch.setattr(wsgi, "end", ends.append)

    def handler(number):
        if error is not None:
            raise error

    made = Signals()
    made._obey(3, handler)
    assert ends[0] is error


@pytest.mark.parametrize("minute, times", [(7, ["10:07"]), (-1, ["10:06", "10:07", "10:08", "10:09"])])
def test_the_clock_raises_a_signal_in_its_minute(monkeypatch, minute, times):
    wall = Wall("2026-03-01 10:05:30", "2026-03-01 10:08:30")
    for module in (signals, clocks):
        monkeypatch.setattr(module, "time", wall)
    raised = []
    made = Signals()
    made.register(3, "", lambda _: raised.append(wall.now))
    numbers = [0.0]
    with pytest.raises(Ended):
        made._run(Alarm(3, Clock(minute, -1, -1, -1, -1)), lambda: nullcontext(numbers), made.raise_)
    assert raised == [seconds(f"2026-03-01 {each}:00") for each in times]


@pytest.mark.parametrize(
    "target, worker, runs", [("", 1, True), ("", 2, False), ("workers", 2, True), ("worker2", 2, True)]
)
def test_one_worker_runs_a_timer_unless_all_are_to(monkeypatch, target, worker, runs):
    monkeypatch.setattr(signals, "worker_id", lambda: worker)
    started = []
    monkeypatch.setattr(
        signals.threading, "Thread", lambda **named: started.append(named) or threading.Event()
    )
    monkeypatch.setattr(threading.Event, "start", lambda _: None, raising=False)
    mine = Signals()
    mine.register(1, target, print)
    mine.add(Timer(1, 60))
    mine.begin()
    assert bool(started) is runs


class Steady:
    """Stand for the module ``time`` in the thread of a test: who sleeps wakes in the moment asked for."""

    def __init__(self):
        self.now = self.until = 1000.0
        self._thread = threading.get_ident()

    def monotonic(self):
        return self.now if threading.get_ident() == self._thread else time.monotonic()

    def sleep(self, length):
        if threading.get_ident() != self._thread:  # other tests have left it
            time.sleep(length)
        elif self.now + length > self.until:
            self.now = self.until
            raise Ended
        else:
            self.now += length


class Workers:
    """Workers that follow each other, with the same timers, in a time that a test makes pass."""

    def __init__(self, monkeypatch, *timers):
        self.time, self.dues, self.ticks = Steady(), Dues(), []
        monkeypatch.setattr(signals, "time", self.time)
        self._monkeypatch, self._timers = monkeypatch, timers

    def begin(self, number=1, generation=1):
        """Begin a worker, and return what runs its timers until it has to wait any longer."""
        begun = []
        self._monkeypatch.setattr(signals, "worker_id", lambda: number)
        self._monkeypatch.setattr(signals, "generation", lambda: generation)
        self._monkeypatch.setattr(signals.threading, "Thread", lambda **named: begun.append(named) or self)
        made = Signals(self.dues)
        for timer in self._timers:
            made.register(timer.number, "", lambda _: self.ticks.append(self.time.now - 1000))
            made.add(timer)
        made.begin()

        def run():
            for each in begun:
                with pytest.raises(Ended) if each["args"] else nullcontext():
                    each["target"](*each["args"])

        run.signals, run.begun = made, begun
        return run

    def start(self):
        """Stand for a thread."""

    def until(self, seconds, worker):
        """Let the time pass until then, with the timers of a worker."""
        self.time.until = 1000 + seconds
        worker()


def test_a_worker_goes_on_with_the_timers_of_the_one_before(monkeypatch):
    workers = Workers(monkeypatch, Timer(1, 15))
    for end in range(10, 51, 10):  # each lives for 10 s
        workers.until(end, workers.begin())
    assert workers.ticks == [15, 30, 45]


def test_a_timer_does_not_drift_and_makes_up_for_nothing(monkeypatch):
    workers = Workers(monkeypatch, Timer(1, 10))
    workers.until(5, workers.begin())
    workers.time.now += 28  # nobody was there
    workers.until(60, workers.begin())
    assert workers.ticks == [33, 43, 53]


def test_what_two_generations_have_ticks_once(monkeypatch):
    workers = Workers(monkeypatch, Timer(1, 10))
    old, new = workers.begin(), workers.begin(generation=2)
    for end in (5, 10, 15, 20):
        for each in (old, new):
            workers.time.now = 1000.0 + end - 5
            workers.until(end, each)
    assert workers.ticks == [10, 20]


def test_a_worker_that_is_about_to_end_raises_nothing_any_more(monkeypatch):
    workers = Workers(monkeypatch, Timer(1, 10))
    worker = workers.begin()
    worker.signals.end()
    workers.time.until += 60
    [begun] = worker.begun
    begun["target"](*begun["args"])
    assert workers.ticks == []


def test_a_timer_that_ticks_once_does_so_once_in_each_generation(monkeypatch):
    workers = Workers(monkeypatch, Timer(1, 1, 1), Timer(1, 1, 1))
    for generation in (1, 1, 2, 2):
        worker = workers.begin(generation=generation)
        workers.time.until += 10
        for each in worker.begun:
            each["target"](*each["args"])
    assert workers.ticks == [1, 2, 3, 4]  # twice in each, as there are two of them


def test_a_timer_that_no_generation_has_had_for_long_begins_anew(monkeypatch):
    workers = Workers(monkeypatch, Timer(1, 10))
    workers.until(5, workers.begin())
    monkeypatch.setattr(dues, "_lives", lambda _: False)
    workers.time.now += 3600
    workers.until(3620, workers.begin(generation=3))
    assert workers.ticks == [3615]


def test_a_timer_goes_on_behind_generations_that_have_failed(monkeypatch):
    """The worker that has it serves until there is one that can."""
    workers = Workers(monkeypatch, Timer(1, 10))
    workers.until(5, workers.begin())
    workers.until(60, workers.begin(generation=4))
    assert workers.ticks == [10, 20, 30, 40, 50, 60]


def test_the_clocks_minutes_are_those_of_all_workers(monkeypatch):
    """One has the minute, whichever is first; and one that comes between goes on where the last one was."""
    wall = Wall("2026-03-01 10:05:30", "2026-03-01 10:07:10")
    for module in (signals, clocks):
        monkeypatch.setattr(module, "time", wall)
    raised, dues = [], Dues()
    for begin, until in (("10:05:30", "10:07:00"), ("10:05:40", "10:07:00"), ("10:08:20", "10:08:21")):
        wall.now, wall.until = seconds(f"2026-03-01 {begin}"), seconds(f"2026-03-01 {until}")
        made = Signals()
        made.register(3, "", lambda _: raised.append(time.strftime("%H:%M:%S", time.localtime(wall.now))))
        with pytest.raises(Ended):
            made._run(Alarm(3, Clock(-1, -1, -1, -1, -1)), lambda: dues.of(1, 1), made.raise_)
    assert raised == ["10:06:00", "10:07:00", "10:08:20", "10:09:00"]


@pytest.mark.parametrize("length", [0, -1, 0.0])
def test_a_timer_of_no_length_never_ticks(modules, caplog, length):
    uwsgi, decorators = modules
    told = []
    decorators.timer(length)(told.append)
    finder.begin()
    uwsgi.register_signal(9, "", told.append)
    uwsgi.add_timer(9, length)
    uwsgi.add_rb_timer(9, length, 1)
    assert caplog.messages == [
        f"signal {number}: a timer of {length} seconds never ticks" for number in (255, 9, 9)
    ]
    assert told == []


def test_another_worker_has_a_timer_that_it_adds_itself(modules, monkeypatch):
    uwsgi, _ = modules
    monkeypatch.setattr(signals, "worker_id", lambda: 2)
    finder.begin()
    ran = threading.Event()
    uwsgi.register_signal(11, "", lambda _: ran.set())
    uwsgi.add_timer(11, 0.01)
    assert ran.wait(20)


def test_a_timer_without_a_handler_is_told_of(modules, caplog):
    uwsgi, _ = modules
    finder.begin()
    uwsgi.add_rb_timer(12, 0.01, 1)
    poll(lambda: "signal 12 has no handler here" in caplog.messages, "nothing is told")


class TestDues:
    """The memory of when timers are due."""

    def test_processes_have_the_same(self):
        dues = Dues()
        dues.share()
        told, tell = os.pipe()
        child = os.fork()
        if not child:
            with dues.of(7, 1) as row:
                row[0] = 3.5
            os.write(tell, b"x")
            signal.pause()
        os.read(told, 1)
        with dues.of(7, 1) as row:  # it begins later, so it is the one that goes on
            assert row[0] == 3.5
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        for fd in (told, tell):
            os.close(fd)

    def test_who_begins_last_has_a_timer_as_long_as_it_lives(self):
        dues = Dues()
        with dues.of(7, 1) as row:
            row[0] = 3.5
        told, tell = os.pipe()
        child = os.fork()
        if not child:
            dues._begun.clear()  # workers are forked before any of them begins
            with dues.of(7, 2) as row:
                row[0] *= 2
            os.write(tell, b"x")
            signal.pause()
        os.read(told, 1)
        with dues.of(7, 1) as row:
            assert row is None
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with dues.of(7, 1) as row:
            assert row[0] == 7
        for fd in (told, tell):
            os.close(fd)

    def test_there_is_room_for_those_that_are_in_use(self):
        dues = Dues()
        for key in range(1, 1025):
            with dues.of(key, 1) as row:
                row[0] = key
        with dues.of(5, 2) as row:
            assert row[0] == 5
        for key in range(2000, 2100):
            with dues.of(key, 2) as row:
                assert row[0] == 0
                row[0] = key
        for key in (5, *range(2000, 2100)):
            with dues.of(key, 2) as row:
                assert row[0] == key


def test_decorators_of_what_is_not_here_leave_the_function(modules, caplog):
    _, decorators = modules

    @decorators.spool
    def task(arguments):
        return arguments

    @decorators.filemon("/tmp")
    def changed(number):
        return "called"

    @decorators.harakiri(30)
    def slow():
        return "limited"

    assert (task(1), changed(0), slow()) == (1, "called", "limited")
    assert (
        "uwsgidecorators.harakiri: the limit of a request is that of the option harakiri" in caplog.messages
    )
    with pytest.raises(NotImplementedError, match=r"^uwsgidecorators.spool: there is no spooler"):
        task.spool(a=b"1")


def test_threads(modules):
    told = []

    @modules[1].thread
    def work(value):
        told.append(value)

    work(1).join()
    assert told == [1]


LATE = """
import os

def application(environ, start_response):
    import uwsgi
    uwsgi.set_logvar("mine", "seen " + environ["PATH_INFO"])
    uwsgi.atexit = lambda: open("atexit", "a").write(str(os.getpid()))
    start_response("200 OK", [("Content-Type", "text/plain")])
    assert uwsgi.cl() == int(environ.get("CONTENT_LENGTH") or 0) == (3 if environ["PATH_INFO"] == "/b" else 0)
    yield uwsgi.get_logvar("mine") + str(os.getpid()).encode()
"""


@pytest.mark.parametrize("options", [(), ("--threads", "2"), ("--gevent", "2"), ("--master",)])
def test_an_application_may_import_it_at_its_first_request(tmp_path, options):
    (tmp_path / "app.py").write_text(LATE)
    with Server(
        "--http", "127.0.0.1:0", "--module", "app", "--log-format", "mine=%(mine)", *options,
        "--warm-up", "none", cwd=tmp_path,
    ) as server:  # fmt: skip
        for path, body in (("/a", None), ("/b", b"abc")):
            url = f"http://{server.addresses['http']}{path}"
            with urllib.request.urlopen(url, body, timeout=20) as answer:
                text = answer.read().decode()
            assert text.startswith(f"seen {path}")
            server.wait_until(f"mine=seen {path}$")
        assert server.stop() == 0
    assert text.endswith((tmp_path / "atexit").read_text())


def test_one_that_sets_nothing_at_the_exit_ends_as_well(modules, monkeypatch):
    registered = []
    monkeypatch.setattr(finder.atexit, "register", registered.append)
    finder.begin()
    [end] = registered
    end()
    told = []
    modules[0].atexit = lambda: told.append("end")
    end()
    assert told == ["end"]
    sys.modules.pop("uwsgi")
    end()
    assert told == ["end"]


HOOKED = """
import uwsgi

class Answer:
    def __iter__(self):
        yield b"answer"

    def close(self):
        print("closed", flush=True)

def application(environ, start_response):
    if environ["PATH_INFO"] == "/raise":
        raise RuntimeError("mine")
    start_response("200 OK", [("Content-Length", "6")])
    return Answer()

calls = []

def hook():
    calls.append(1)
    print("after", len(calls), flush=True)
    if len(calls) > 1:
        raise SystemExit("the hook's")

uwsgi.after_req_hook = hook
"""


@pytest.mark.parametrize(
    "options",
    [(), ("--threads", "2"), ("--gevent", "2"), ("--harakiri", "60"), ("--master", "--stats", "127.0.0.1:0")],
)
def test_a_hook_is_called_after_each_request(tmp_path, options):
    """After the end of its answer; what it raises is not the request's, nor its server's."""
    (tmp_path / "app.py").write_text(HOOKED)
    out = tmp_path / "out"
    words = ["--http", "127.0.0.1:0", "--module", "app", "--limit-post", "10", *options]
    with out.open("w") as file, Server(*words, cwd=tmp_path, stdout=file) as server:
        url = f"http://{server.addresses['http']}"
        first = out.read_text()  # nobody has asked but the warm-up request, which is none
        asked = (("/", None, 200, 1), ("/raise", None, 500, 2), ("/", b"x" * 11, 413, 2), ("/", None, 200, 3))
        for path, body, status, calls in asked:
            try:
                answer = urllib.request.urlopen(url + path, body, timeout=20)
            except urllib.error.HTTPError as error:
                answer = error
            with answer:
                assert answer.status == status
            # The answer is there before the hook is called, and another thread may take the next request.
            poll(lambda told=f"after {calls}\n": told in out.read_text(), "the hook is not called")
        assert server.stop() == 0
    assert "after" not in first
    told = out.read_text().removeprefix(first).splitlines()
    assert told == ["closed", "after 1", "after 2", "closed", "after 3"]
    assert server.log.count("ERROR uwsgi.after_req_hook failed") == 2


def test_a_hook_may_be_taken_back(modules, monkeypatch):
    monkeypatch.setattr(wsgi, "after", None)
    uwsgi, _ = modules
    assert not hasattr(uwsgi, "after_req_hook")
    told = []
    uwsgi.after_req_hook = lambda: told.append(1)
    wsgi.after()
    assert told == [1]
    uwsgi.after_req_hook = None
    assert wsgi.after is None


def test_a_time_limit_that_ends_a_hook_is_for_its_request(modules, monkeypatch):
    monkeypatch.setattr(wsgi, "after", None)

    def hook():
        raise wsgi.Harakiri

    modules[0].after_req_hook = hook
    with pytest.raises(wsgi.Harakiri):
        wsgi.after()


APP = """
import json, os
try:
    import uwsgi
except ImportError:
    uwsgi = None
from uwsgidecorators import postfork, timer

started = []

@postfork
def begin():
    started.append(os.getpid())

@timer(3600)
def tick(number):
    pass

def application(environ, start_response):
    if environ["PATH_INFO"] == "/reload":
        uwsgi.reload()
    uwsgi.set_logvar("mine", "seen " + environ["PATH_INFO"])
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"pid": os.getpid(), "started": started, "worker": uwsgi.worker_id(), "master": uwsgi.masterpid()}).encode()]
"""


@pytest.mark.parametrize("options", [(), ("--master", "--processes", "2"), ("--master", "--lazy-apps")])
def test_an_application_has_them_while_it_is_served(tmp_path, options):
    (tmp_path / "app.py").write_text(APP)
    form = "mine=%(mine) uri=%(uri) wid=%(wid)"
    with Server(
        "--http", "127.0.0.1:0", "--module", "app", "--log-format", form, *options, cwd=tmp_path
    ) as server:
        with urllib.request.urlopen(f"http://{server.addresses['http']}/x", timeout=20) as answer:
            told = json.load(answer)
        server.wait_until(rf"mine=seen /x uri=/x wid={told['worker']}$")
        assert told["started"] == [told["pid"]]
        assert told["worker"] in {1, 2}
        assert told["master"] == (server.process.pid if options else 0)
        if options:
            urllib.request.urlopen(f"http://{server.addresses['http']}/reload", timeout=20).close()
            server.wait_until("generation 2: loading app")
        assert server.stop() == 0
