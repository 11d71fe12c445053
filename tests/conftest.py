"""What holds for every test."""

from __future__ import annotations

import os
import signal

import pytest
import zmq
from hypothesis import settings

from tests.support import server

settings.register_profile("appserver", deadline=None, print_blob=True)
settings.load_profile("appserver")

# Tests interrupt processes. What a shell runs in the background ignores that, and so would its children.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_skipped = []


def pytest_ignore_collect(collection_path, config):
    """Read no file without tests against real front ends where only those are asked for: every worker reads all."""
    if config.option.markexpr == "peers" and collection_path.suffix == ".py":
        return "peers" not in collection_path.read_text() or None
    return None


def pytest_runtest_setup():
    """Forget the servers that ended before this test."""
    server.started[:] = [each for each in server.started if each.process.returncode is None]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """Show what the servers of a test that fails have logged last."""
    report = yield
    if report.failed:
        for each in server.started:
            report.sections.append((f"log of the server with pid {each.process.pid}", each.log[-20000:]))
    return report


def pytest_runtest_logreport(report):
    if report.skipped and "peers" in report.keywords:
        _skipped.append(report.nodeid)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    """Fail a CI run that left out tests against real front ends: it would prove nothing."""
    if _skipped and os.environ.get("CI") and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter):
    for report in terminalreporter.stats.get("rerun", ()):
        terminalreporter.section(f"failed at first: {report.nodeid}")
        terminalreporter.line(report.longreprtext)
        for title, text in report.sections:
            terminalreporter.section(title, "-")
            terminalreporter.line(text)
    if _skipped and os.environ.get("CI"):
        terminalreporter.section("tests against real front ends were skipped, which CI does not allow")
        for nodeid in _skipped:
            terminalreporter.line(nodeid)


@pytest.fixture
def collector(tmp_path):
    """Return a collector's endpoint, and a function that makes it listen and returns its socket."""
    with zmq.Context() as context:
        sockets = []

        def listen():
            sockets.append(context.socket(zmq.PULL))
            sockets[0].rcvtimeo = 20000
            sockets[0].bind(f"ipc://{tmp_path}/collector")
            return sockets[0]

        yield f"ipc://{tmp_path}/collector", listen
        for sock in sockets:
            sock.close(linger=0)
