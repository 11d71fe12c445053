"""The life of a server: bind all, start all, wait, stop all, finish, close in reverse."""

from __future__ import annotations

import logging
import signal
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING

import gevent
from gevent import get_hub
from gevent.event import Event

from appserver import __version__, address
from appserver.cores import Cores, GreenletCores, ThreadCores
from appserver.listeners.listener import Service
from appserver.log import Access, Errors
from appserver.options import option
from appserver.wsgi import FileWrapper

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from appserver.listeners.listener import Listener
    from appserver.plan import Plan
    from appserver.wsgi import Application

log = logging.getLogger("appserver")

_CHECK = 0.02  # seconds between looks at what is still in hand while stopping


@dataclass(frozen=True)
class StopOptions:
    """Stopping."""

    worker_reload_mercy: float = option(60.0, "Seconds that requests in hand may take when the server stops.")


class Loop:
    """One thread that serves: its hub, its cores, and its share of every listener."""

    def __init__(
        self, listeners: Sequence[Listener], plan: Plan, app: Application, access: Access | None,
        environ: dict[str, Any],
    ) -> None:  # fmt: skip
        self._listeners = listeners
        self._plan = plan
        self._app = app
        self._access = access
        self._environ = environ
        self._hub = get_hub()
        self._stopping = Event()
        self._hurrying = False

    def serve(self, mercy: float) -> None:
        """Serve until `stop`, then finish within *mercy* seconds what is in hand."""
        count = self._plan.cores
        cores: Cores = ThreadCores(count) if self._plan.native else GreenletCores(count)
        service = Service(self._app, cores, self._access, self._environ)
        with ExitStack() as stack:
            stack.callback(cores.stop)
            for listener in self._listeners:
                stack.callback(listener.close)
                listener.start(service)
            self._stopping.wait()
            for listener in self._listeners:
                listener.stop()
            deadline = monotonic() + mercy
            while any(listener.busy() for listener in self._listeners):
                if monotonic() > deadline or self._hurrying:
                    log.warning("stopped with requests in hand")
                    break
                gevent.sleep(_CHECK)

    def stop(self) -> None:
        """Begin to stop; the second time, finish nothing more. Safe from any thread."""
        self._hub.loop.run_callback_threadsafe(self._stop)

    def _stop(self) -> None:
        self._hurrying = self._stopping.is_set()
        self._stopping.set()


class Server:
    """Serve one application through some listeners in this process."""

    def __init__(
        self,
        listeners: Sequence[Listener],
        plan: Plan,
        app: Application,
        access: Access | None,
        options: StopOptions,
    ) -> None:
        self._listeners = listeners
        self._plan = plan
        self._app = app
        self._access = access
        self._options = options
        self._loops: list[Loop] = []
        self._stopping = False

    def run(self, what: str) -> None:
        """Serve until SIGTERM or SIGINT; *what* names the application in the log.

        Raise `AddressError` where an address cannot be had.
        """
        with ExitStack() as stack:
            passed = address.names_of_passed()
            for listener in self._listeners:
                stack.callback(listener.close)
                listener.bind(passed)
            for name in passed:
                log.warning("systemd passes a socket for %s, which no option names", name)
            for number in (signal.SIGTERM, signal.SIGINT):
                watcher = gevent.signal_handler(number, self.stop)
                stack.callback(watcher.cancel)
            self._announce(what)
            if self._plan.loops == 1:
                loop = self._loop()
                self._loops.append(loop)
                loop.serve(self._options.worker_reload_mercy)
            else:
                self._serve_in_threads()
            log.info("stopped")

    def stop(self) -> None:
        """Begin to stop; the second time, finish nothing more."""
        self._stopping = True
        log.info("stopping")
        for loop in self._loops:
            loop.stop()

    def _loop(self) -> Loop:
        environ = {
            "wsgi.version": (1, 0),
            "wsgi.errors": Errors(),
            "wsgi.multithread": self._plan.threaded,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
            "wsgi.file_wrapper": FileWrapper,
            "appserver.listeners": tuple((each.name, each.address) for each in self._listeners),
        }
        return Loop(self._listeners, self._plan, self._app, self._access, environ)

    def _serve_in_threads(self) -> None:
        """Give every thread a loop, and wait for signals in this one; raise what a thread raised."""
        failed: list[BaseException] = []
        in_this_loop = get_hub().loop.run_callback_threadsafe

        def serve(ended: Event) -> None:
            try:
                loop = self._loop()
                self._loops.append(loop)
                if self._stopping:  # it came before this loop was known
                    loop.stop()
                loop.serve(self._options.worker_reload_mercy)
            except BaseException as error:  # noqa: BLE001  (raised again below)
                failed.append(error)
            finally:
                get_hub().destroy()
                in_this_loop(ended.set)

        all_ended = []
        for number in range(1, self._plan.loops + 1):
            all_ended.append(Event())
            Thread(target=serve, args=(all_ended[-1],), name=f"thread-{number}", daemon=True).start()
        awake = get_hub().loop.timer(3600, 3600)  # a hub with nothing to wait for gives up
        awake.start(lambda: None)
        for ended in all_ended:
            ended.wait()
            if failed and not self._stopping:
                self.stop()
        awake.close()
        if failed:
            raise failed[0]

    def _announce(self, what: str) -> None:
        log.info("appserver %s serves %s: %s", __version__, what, self._plan.reason)
        for listener in self._listeners:
            log.info("listening: %s %s", listener.name, listener.address)
        for warning in self._plan.warnings:
            log.warning("%s", warning)
        log.info("ready")
