"""Serving in one process: its loops, from the first request to the last.

The listeners are bound already; hubs, ZeroMQ contexts and threads are made here, after any fork.
"""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack
from dataclasses import dataclass
from math import inf
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING

import gevent
from gevent import get_hub
from gevent.event import Event

from appserver.compat.signals import SIGNALS
from appserver.cores.greenlets import GreenletCores
from appserver.cores.threads import ThreadCores
from appserver.file_wrapper import FileWrapper
from appserver.harakiri import LimitedService, Watchdog
from appserver.listeners import strays
from appserver.listeners.service import Service
from appserver.log.errors import Errors
from appserver.options import option
from appserver.streams import Streams
from appserver.websocket.link import joined
from appserver.websocket.meeting import NOBODYS, PUBLISHED, SIGNAL, STRAY
from appserver.websocket.publish import deliver

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from appserver.cores.contract import Cores, Load
    from appserver.fairqueue import QueueOptions
    from appserver.gateway import AccessLog
    from appserver.listeners.listener import Listener
    from appserver.log.access import Access
    from appserver.plan import Plan
    from appserver.stats.tally import Counting, Tally
    from appserver.wsgi import Application

log = logging.getLogger("appserver")

_MERCY_AFTER_FAILURE = 10.0  # seconds for what the other loops have in hand
_CHECK = 0.02  # seconds between looks at what is still in hand while stopping
_LOOK = 1.0  # seconds between looks at the open connections, where they are counted
# Once something so large has been freed, glibc keeps up to twice as much of its heap (M_TRIM_THRESHOLD in
# mallopt(3)); else the memory of each body goes back to the kernel, and comes again one page fault at a time.
_HEAP = 1 << 23

# What takes what other workers send, by its kind.
_TAKERS = {PUBLISHED: deliver, SIGNAL: SIGNALS.hear, STRAY: strays.hear, NOBODYS: strays.come_back}


@dataclass(frozen=True)
class StopOptions:
    """Stopping."""

    worker_reload_mercy: float = option(
        60.0, "Seconds that requests in hand may take when a worker or the server stops.",
        aliases=("reload-mercy",),
        note="`reload-mercy` is the master's in uWSGI; here both are one.",
    )  # fmt: skip
    stream_reload_mercy: float = option(
        10.0,
        "As worker-reload-mercy, but for answers that have begun and have no Content-Length, so that nobody"
        " knows their end.",
        note="own",
    )


class Loop:
    """One thread that serves: its hub, its cores, and its share of every listener."""

    def __init__(self, server: Server, number: int) -> None:
        self._server = server
        self._listeners = server.listeners
        self._load = server.load(number)
        self._tally = server.tally(number)
        self._hub = get_hub()
        self._stopping = Event()
        self._deadline = inf
        self._end_of_streams = inf

    def serve(self, started: Callable[[], None]) -> None:
        """Serve until `stop`, then finish what is in hand; *started* is called in between."""
        server = self._server
        kind = ThreadCores if server.plan.native else GreenletCores
        cores: Cores = kind(server.plan.cores, self._load, server.queue)
        if server.watchdog is not None:
            server.watchdog.attach()
        streams = Streams(cores)
        tally = self._tally
        with ExitStack() as stack:
            if server.watchdog is not None:
                stack.callback(server.watchdog.detach)  # what runs at the exit may take its time
            stack.callback(cores.stop)
            if server.access is not None and server.plan.loops == 1 and not server.plan.native:
                stack.callback(self._log_by_turns(server.access))
            for number, listener in enumerate(self._listeners):
                stack.callback(listener.close)
                listener.start(
                    server.service(
                        cores, tally.counting(number, server.app, server.access) if tally else None
                    )
                )
            if tally is not None:
                looking = self._hub.loop.timer(_LOOK, _LOOK)
                stack.callback(looking.close)
                looking.start(tally.look, self._listeners)
            started()
            self._stopping.wait()
            for listener in self._listeners:
                listener.stop()
            while any(listener.busy() for listener in self._listeners):
                now = monotonic()
                if now >= self._deadline:
                    log.warning("stopped with requests in hand")
                    break
                if now >= self._end_of_streams:
                    streams.end()
                gevent.sleep(_CHECK)

    def _log_by_turns(self, access: Access) -> Callable[[], None]:
        """Have the lines of quick requests written together, once a turn; return what ends that."""
        watcher = self._hub.loop.prepare(ref=False)
        watcher.start(access.flush)
        os.register_at_fork(before=access.flush)  # a child of the application's would write them again
        access.turns = True

        def end() -> None:
            access.turns = False
            access.flush()
            watcher.stop()
            watcher.close()

        return end

    def stop(self, mercy: float) -> None:
        """Begin to stop, or go on to stop sooner. Safe from any thread, and once it has ended."""
        self._hub.loop.run_callback_threadsafe(self._stop, mercy)

    def _stop(self, mercy: float) -> None:
        now = monotonic()
        self._deadline = min(self._deadline, now + mercy)
        if mercy < inf:
            self._end_of_streams = min(self._end_of_streams, now + self._server.stream_mercy)
        self._stopping.set()


class Server:
    """Serve one application in this process through listeners that are bound.

    *load* returns the counters that each loop keeps, by its number from 0, and *tally* what counts its
    requests more closely, if anything shall; *stream_mercy* are the seconds that a stop leaves to answers
    without a known end, unless it leaves any time to all; *queue* limits what waits for a core.
    """

    def __init__(
        self,
        listeners: Sequence[Listener],
        plan: Plan,
        app: Application,
        access: Access | None,
        *,
        queue: QueueOptions,
        load: Callable[[int], Load] = lambda _: [0, 0],
        tally: Callable[[int], Tally | None] = lambda _: None,
        stream_mercy: float = inf,
        watchdog: Watchdog | None = None,
    ) -> None:
        self.listeners = listeners
        self.plan = plan
        self.app = app
        self.access = access
        self.load = load
        self.tally = tally
        self.stream_mercy = stream_mercy
        self.queue = queue
        self.watchdog = watchdog
        self._loops: list[Loop] = []
        self._stopping = False
        self._followed = self._orphaned = False
        self._mercy = inf
        self.environ = {
            "wsgi.version": (1, 0),
            "wsgi.errors": Errors(),
            "wsgi.multithread": plan.threaded,
            "wsgi.multiprocess": plan.processes > 1,
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
            "wsgi.file_wrapper": FileWrapper,
            "appserver.listeners": tuple((each.name, each.address) for each in listeners),
        }

    def service(self, cores: Cores, counting: Counting | None) -> Service:
        """Return what a listener in this thread's loop serves, by way of what counts its requests."""

        def followed() -> bool:
            return self._followed

        def orphaned() -> bool:
            return self._orphaned

        app: Application = counting or self.app
        access: AccessLog | None = counting or self.access
        watchdog = self.watchdog
        if watchdog is not None and watchdog.limits:
            return LimitedService(
                watchdog, app, access, cores, self.environ, followed=followed, orphaned=orphaned
            )
        return Service(app, access, cores, self.environ, followed=followed, orphaned=orphaned)

    def serve(self, ready: Callable[[], None]) -> None:
        """Serve until `stop`, which may have come already; call *ready* once every loop takes requests."""
        if self._stopping:
            return
        bytes(_HEAP)  # which is freed at once
        link = joined(_TAKERS)  # in this thread, as other loops may end before what is for the rest has come
        try:
            if self.plan.loops == 1:
                loop = Loop(self, 0)
                self._loops.append(loop)
                loop.serve(ready)
            else:
                self._serve_in_threads(ready)
        finally:
            if link is not None:
                link.close()

    def stop(self, mercy: float, *, followed: bool = False, orphaned: bool = False) -> None:
        """Stop, and give what is in hand *mercy* seconds; a later call can only shorten them.

        With *followed* other processes go on to serve the sockets that are shared, so what waits to be
        accepted is theirs. With *orphaned* it is for the end of the master.
        """
        self._followed = followed
        self._orphaned = orphaned
        self._stopping = True
        self._mercy = min(self._mercy, mercy)
        for loop in self._loops:
            loop.stop(mercy)

    def _serve_in_threads(self, ready: Callable[[], None]) -> None:
        """Give every thread a loop, and wait for signals in this one; raise what a thread raised."""
        failed: list[BaseException] = []
        in_this_loop = get_hub().loop.run_callback_threadsafe
        starting = self.plan.loops

        def one_more() -> None:
            nonlocal starting
            starting -= 1
            if not starting:
                ready()

        def end(ended: Event) -> None:
            if failed and not self._stopping:
                self.stop(_MERCY_AFTER_FAILURE)
            ended.set()

        def serve(number: int, ended: Event) -> None:
            try:
                loop = Loop(self, number)
                self._loops.append(loop)
                if self._stopping:  # it came before this loop was known
                    loop.stop(self._mercy)
                loop.serve(lambda: in_this_loop(one_more))
            except BaseException as error:  # noqa: BLE001  (raised again below)
                failed.append(error)
            finally:  # the hub stays: without it whoever still calls into this loop would fail
                in_this_loop(end, ended)

        all_ended = []
        for number in range(self.plan.loops):
            all_ended.append(Event())
            arguments = (number, all_ended[-1])
            Thread(target=serve, args=arguments, name=f"thread-{number + 1}", daemon=True).start()
        awake = get_hub().loop.timer(3600, 3600)  # a hub with nothing to wait for gives up
        awake.start(lambda: None)
        for ended in all_ended:
            ended.wait()
        awake.close()
        if failed:
            raise failed[0]
