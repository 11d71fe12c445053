"""ZeroMQ's own thread gives way to the loop."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace

import pytest
import zmq

from appserver.configuration import Configuration
from appserver.listeners.mongrel2 import Mongrel2Listener
from appserver.listeners.pull import Pull
from appserver.listeners.responder import Responder
from appserver.listeners.zeromq import context, next_event
from tests.support.fronts import GUARD, poll


def threads():
    return {int(each.name) for each in Path("/proc/self/task").iterdir()}


def policies(threads):
    return {os.sched_getscheduler(thread) for thread in threads}


def test_its_threads_are_batch_threads():
    before = threads()
    made = context()
    made.socket(zmq.PUSH).close()  # the first socket starts them
    # Each becomes one by itself, once it runs.
    poll(lambda: policies(threads() - before) == {os.SCHED_BATCH}, "there is another thread")
    made.term()


def test_what_a_monitor_tells_is_forgotten():
    """pyzmq would keep each descriptor and pause that it has been told, as a flag of an enumeration."""
    known = len(zmq.Event._value2member_map_)
    told = []
    with zmq.Context() as made, made.socket(zmq.PULL) as pull, made.socket(zmq.PUSH) as push:
        monitor = pull.get_monitor_socket(zmq.EVENT_CONNECTED)
        assert next_event(None) is next_event(monitor) is None
        pull.connect(f"tcp://127.0.0.1:{push.bind_to_random_port('tcp://127.0.0.1')}")
        assert monitor.poll(GUARD * 1000)
        told.append(next_event(monitor))
        pull.disable_monitor()
        monitor.close()
    [(kind, fd)] = told
    assert kind == zmq.EVENT_CONNECTED
    assert fd > 2
    assert len(zmq.Event._value2member_map_) == known


def test_nobody_waits_for_a_context_that_does_not_end():
    """Who ends a process that does not end by itself closes its listeners, too."""
    terminating, go_on = Event(), Event()
    listener = Mongrel2Listener("tcp://127.0.0.1:1,tcp://127.0.0.1:2", Configuration([]).settings)
    listener._context = SimpleNamespace(term=lambda: (terminating.set(), go_on.wait(GUARD)))
    listener._responder = SimpleNamespace(close=lambda: None)
    first, second = (Thread(target=listener.close) for _ in range(2))
    first.start()
    try:
        assert terminating.wait(GUARD)
        second.start()
        second.join(GUARD)
        assert not second.is_alive()
        assert first.is_alive()
    finally:
        go_on.set()
        first.join()


@pytest.mark.parametrize("dispatch", ["shared", "worker"])
def test_a_reload_says_what_the_running_receiver_does_not_heed(dispatch, caplog):
    """Workers are begun anew, so where each subscribes by itself there is nothing to say."""

    def listener(*options):
        spec = "tcp://127.0.0.1:1,tcp://127.0.0.1:2"
        settings = Configuration(["--zeromq-dispatch", dispatch, *options]).settings
        return Mongrel2Listener(spec, settings)

    old = listener("--mongrel2-keepalive", "5", "--socket-timeout", "60")
    listener("--mongrel2-keepalive", "5").take_over(old)
    assert not caplog.records
    listener("--zeromq-max-message", "0", "--socket-timeout", "7", "--min-rate", "9").take_over(old)
    told = sorted(each.getMessage() for each in caplog.records)
    if dispatch == "worker":
        assert not told
    else:
        assert len(told) == 4
        assert "min-rate has changed from 500 to 9" in told[0]
        assert (
            "mongrel2-keepalive has changed from 5.0 to 30.0; the receiver that runs goes on with 5.0"
            in told[1]
        )
        assert "socket-timeout has changed from 60.0 to 7.0" in told[2]
        assert "zeromq-max-message has changed from 268435456 to 0" in told[3]


@pytest.mark.parametrize("left", [*range(14), 30])
@pytest.mark.parametrize("dispatch", ["shared", "worker"])
def test_a_server_that_is_short_of_descriptors_is_told_so(left, dispatch):
    """A reload that adds a Mongrel2 would be the end of the master: libzmq aborts."""
    code = f"""if True:
        import resource, os
        from appserver.address import AddressError
        from appserver.configuration import Configuration
        from appserver.listeners.mongrel2 import Mongrel2Listener

        settings = Configuration(["--zeromq-dispatch", {dispatch!r}]).settings
        listener = Mongrel2Listener("tcp://127.0.0.1:1,tcp://127.0.0.1:2", settings)
        import zmq  # what is imported later needs descriptors, too
        import appserver.listeners.zeromq
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + {left}, 1000))
        try:
            listener.bind({{}})
        except AddressError as error:
            print(error)
        else:
            print("good")
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    told = "cannot serve tcp://127.0.0.1:1,tcp://127.0.0.1:2: Too many open files; raise RLIMIT_NOFILE"
    assert (done.stdout, done.stderr) == (f"{told if left < 20 else 'good'}\n", "")


def kept_alive(port):
    """Tell whether a connection to *port* has a timer by which the kernel asks for its other end."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    found = [line[5][:2] for line in lines if line[2].endswith(f":{port:04X}") and line[3] == "01"]
    return bool(found) and set(found) == {"02"}


@pytest.mark.parametrize("kind", ["pull", "responder"])
def test_a_mongrel2_that_goes_without_a_word_is_noticed(kind):
    """Else who only reads would never connect again."""
    made = context()
    peer = made.socket(zmq.PUSH if kind == "pull" else zmq.SUB)
    port = peer.bind_to_random_port("tcp://127.0.0.1")
    endpoint = f"tcp://127.0.0.1:{port}"
    ours = Pull(made, endpoint, "me") if kind == "pull" else Responder(made, endpoint, 1.0)
    try:
        poll(lambda: kept_alive(port), "nobody would ask for it")
    finally:
        ours.close()
        peer.close(0)
        made.term()
