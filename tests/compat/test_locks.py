"""Locks between processes, threads and greenlets."""

from __future__ import annotations

import fcntl
import importlib
import os
import signal
import subprocess
import sys
import threading

import pytest

from appserver.compat.dues import Dues
from appserver.compat.locks import LOCKS, Locks
from tests.compat.test_compat import _no_finder, modules  # noqa: F401  (fixtures)
from tests.support.fronts import poll


@pytest.fixture
def locks():
    made = Locks()
    made.share()
    yield made
    os.close(made._fd)


class Other:
    """A forked process that takes a lock, and tells when it has it."""

    def __init__(self, locks, number=0):
        self._told, told = os.pipe()
        read, self._end = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            os.close(self._end)
            locks.acquire(number)
            os.write(told, b"x")
            os.read(read, 1)
            locks.release(number)
            os.write(told, b"y")
            os.read(read, 1)
            os._exit(0)
        for fd in (told, read):
            os.close(fd)

    def wait(self):
        return os.read(self._told, 1)

    def go_on(self):
        os.write(self._end, b"x")

    def end(self, number=signal.SIGKILL):
        os.kill(self.pid, number)
        os.waitpid(self.pid, 0)
        for fd in (self._told, self._end):
            os.close(fd)


def test_one_process_has_it(locks):
    other = Other(locks)
    assert other.wait() == b"x"
    assert locks.holder(0) == other.pid
    assert locks.holder(1) == 0
    taken = threading.Event()
    thread = threading.Thread(target=lambda: (locks.acquire(0), taken.set()))
    thread.start()
    assert not taken.is_set()
    other.go_on()
    assert other.wait() == b"y"
    thread.join(20)
    assert taken.is_set()
    assert locks.holder(0) == os.getpid()
    locks.release(0)
    assert locks.holder(0) == 0
    other.end()


def test_a_process_that_dies_has_none(locks):
    other = Other(locks)
    assert other.wait() == b"x"
    other.end()
    assert locks.holder(0) == 0
    locks.acquire(0)
    locks.release(0)


def test_what_a_parent_holds_its_child_does_not(locks):
    locks.acquire(0)
    other = Other(locks)
    assert locks.holder(0) == os.getpid()
    locks.release(0)
    assert other.wait() == b"x"
    other.end()


def test_one_thread_has_it(locks):
    count = 0

    def run():
        nonlocal count
        for _ in range(300):
            locks.acquire(1)
            before = count
            order.append(threading.get_ident())
            count = before + 1
            locks.release(1)

    order = []
    threads = [threading.Thread(target=run) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert count == len(order) == 1200


def test_threads_that_wait_for_locks_of_other_processes_threads_are_no_deadlock(locks, monkeypatch):
    """This process has 0 and waits for 1, another one the reverse, but in other threads than those that have them."""
    told, tell = os.pipe()
    locks.acquire(0)
    other = os.fork()
    if not other:
        locks.acquire(1)
        thread = threading.Thread(target=lambda: (locks.acquire(0), locks.release(0), locks.release(1)))
        os.write(tell, b"x")
        thread.start()
        thread.join()
        os._exit(0)
    os.read(told, 1)
    poll(lambda: _waits(other), "it does not wait")
    tried = tries(monkeypatch)
    taken = []
    thread = threading.Thread(target=lambda: (locks.acquire(1), taken.append(locks.holder(1))))
    thread.start()
    assert tried.wait(20)
    locks.release(0)
    thread.join(20)
    assert taken == [os.getpid()]
    locks.release(1)
    assert os.waitpid(other, 0)[1] == 0
    for fd in (told, tell):
        os.close(fd)


def tries(monkeypatch):
    """Return an event for when a lock is tried, instead of waited for."""
    tried, lockf = threading.Event(), fcntl.lockf

    def seen(fd, how, *where):
        if how & fcntl.LOCK_NB:
            tried.set()
        return lockf(fd, how, *where)

    monkeypatch.setattr(fcntl, "lockf", seen)
    return tried


def test_a_timer_s_numbers_are_no_part_of_a_deadlock(locks, monkeypatch):
    """Another process has them and waits for 0, which a thread of this one has while its timer wants them."""
    dues = Dues()
    dues.share()
    told, tell = os.pipe()
    locks.acquire(0)
    other = os.fork()
    if not other:
        fcntl.lockf(dues._fd, fcntl.LOCK_EX)
        os.write(tell, b"x")
        locks.acquire(0)
        os._exit(0)
    os.read(told, 1)
    poll(lambda: _waits(other), "it does not wait")
    tried, had = tries(monkeypatch), []

    def run():
        with dues.of(1, 1):
            had.append(1)

    thread = threading.Thread(target=run)
    thread.start()
    assert tried.wait(20)
    locks.release(0)
    thread.join(20)
    assert had == [1]
    assert os.waitpid(other, 0)[1] == 0
    for fd in (told, tell, dues._fd):
        os.close(fd)


def _waits(pid):
    """Tell whether a process waits for a lock (proc(5), /proc/locks)."""
    with open("/proc/locks") as file:
        return any(each.split()[1] == "->" and each.split()[5] == str(pid) for each in file)


def test_what_is_not_held_is_not_released(locks):
    locks.release(0)
    other = Other(locks)
    assert other.wait() == b"x"
    locks.release(0)
    assert locks.holder(0) == other.pid
    other.end()


def test_greenlets_go_on_while_one_waits(tmp_path):
    """Another process has the lock; with gevent nothing may block the thread."""
    program = tmp_path / "program.py"
    program.write_text(
        "from gevent import monkey; monkey.patch_all()\n"
        "import os, time, gevent\n"
        "from appserver.compat.locks import Locks\n"
        "locks = Locks(); locks.share()\n"
        "told, tell = os.pipe(); ended, end = os.pipe()\n"
        "if not os.fork():\n"
        "    locks.acquire(0); os.write(tell, b'x'); os.read(ended, 1); os._exit(0)\n"
        "os.read(told, 1)\n"
        "waiting = gevent.spawn(locks.acquire, 0)\n"
        "second = gevent.spawn(locks.acquire, 0)\n"
        "gevent.sleep(0.01); assert not waiting.ready()\n"
        "os.write(end, b'x'); waiting.get(timeout=20); assert locks.holder(0) == os.getpid()\n"
        "assert not second.ready(); locks.release(0); second.get(timeout=20); print('done')\n"
    )
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "done\n", done.stderr


def test_the_module(modules):  # noqa: F811
    uwsgi, decorators = modules
    assert uwsgi.is_locked() is False
    uwsgi.lock()
    assert uwsgi.is_locked() is True
    uwsgi.unlock()
    assert uwsgi.is_locked(0) is False
    for function in (uwsgi.lock, uwsgi.unlock, uwsgi.is_locked):
        for number in (1, -1):
            with pytest.raises(ValueError, match=f"{number} is no lock: expected 0 to 0"):
                function(number)

    @decorators.lock
    def held(one, *, two):
        return uwsgi.is_locked(), one, two

    assert held(1, two=2) == (True, 1, 2)
    assert LOCKS.holder(0) == 0
    with pytest.raises(TypeError):
        held()
    assert LOCKS.holder(0) == 0
    assert importlib.import_module("uwsgi") is uwsgi


APP = """
import os, time
import uwsgi

def application(environ, start_response):
    what = environ["PATH_INFO"][1:]
    if what == "lock":
        uwsgi.lock(2)
        open("locked", "w").close()
        while not os.path.exists("released"):
            time.sleep(0.005)
        uwsgi.unlock(2)
    elif what == "die":
        uwsgi.lock(2)
        os._exit(1)
    elif what == "count":
        for _ in range(50):
            uwsgi.lock()
            number = int(open("count").read())
            open("count", "w").write(str(number + 1))
            uwsgi.unlock()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{uwsgi.worker_id()} {uwsgi.is_locked(2)}".encode()]
"""


def test_threads_that_come_first_have_the_same_locks(monkeypatch):
    from appserver.compat import locks as module

    locks = module.Locks()
    found, make = [], module._Process

    def make_between():
        monkeypatch.setattr(module, "_Process", make)
        other = threading.Thread(target=lambda: found.append(locks._here()))
        other.start()
        other.join()
        return make()

    monkeypatch.setattr(module, "_Process", make_between)
    assert [locks._here()] == found
