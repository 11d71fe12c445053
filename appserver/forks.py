"""Forks: a child that the server forks may serve as well, one that the application forks never does.

Whatever forks in Python tells of it (`os.register_at_fork`): os.fork, multiprocessing, and subprocess where
gevent has patched it. The application's child keeps what the application has, and loses the server around it:
its signals, its loop, and the answer. It ends where the application's code returns to the server.
"""

from __future__ import annotations

import _thread
import gc
import os
import signal
import sys
import traceback
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

import gevent
from gevent import monkey
from gevent.exceptions import LoopExit
from greenlet import getcurrent, greenlet

from appserver import leaving, stacks, wsgi
from appserver.errors import ClientGone

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from gevent.hub import Hub

# The real ones, also where gevent replaces them later.
_fork, _get_ident = os.fork, _thread.get_ident

# Watchers of the loop. Others are for threads, of which a child has none, or tell of the fork itself.
_WATCHERS = {"check", "child", "idle", "io", "prepare", "signal", "stat", "timer"}
_LOOPS = ("gevent.libev", "gevent.libuv")

_handlers: dict[int, Any] = {}  # the server's own, by signal
_masks: dict[int, set[int]] = {}  # of blocked signals, as they were before a fork, by thread
_serving = False  # the child that is being forked is the server's own


def begin() -> None:
    """Tell the application's children from the server's own, from now on and in the latter as well."""
    os.register_at_fork(before=_hold_signals, after_in_parent=_let_signals_come, after_in_child=_forked)


def fork() -> int:
    """Fork a child that may serve; return as os.fork does."""
    global _serving  # noqa: PLW0603  (there is one process)
    _serving = True
    try:
        with warnings.catch_warnings():
            # 3.12 warns of the thread that waits for the master's end, which each process starts for itself.
            warnings.simplefilter("ignore", DeprecationWarning)
            return _fork()
    finally:
        _serving = False


def handle(handlers: dict[int, Callable[[int, Any], object]]) -> None:
    """Handle signals in this process; children that the application forks take them as any process does."""
    for number, handler in handlers.items():
        signal.signal(number, handler)
        signal.siginterrupt(number, False)
    own(*handlers)


def own(*numbers: int) -> None:
    """Note that the handlers of these signals are the server's."""
    _handlers.update((number, signal.getsignal(number)) for number in numbers)


def leave(error: BaseException | None = None) -> None:
    """End this process if the application has forked it: its code has returned to the server, or raised."""
    if wsgi.end is not None:
        wsgi.end(error)


def _hold_signals() -> None:
    """Have signals wait that come to a child before it has lost the server's handlers.

    But for SIGCHLD: gevent's os.fork asks for it when the child is there, which may have ended by then, and
    would be waited for without end.
    """
    # Others may stand around gevent's, or Python's.
    hub = _hub_if_exists() if not _serving and monkey.is_object_patched("os", "fork") else None
    if hub is not None and hub.loop.default:
        hub.loop.install_sigchld()
    _masks[_get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, _handlers)


def _let_signals_come() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _masks.pop(_get_ident()))


def _forked() -> None:
    """Be the server's child, or the application's."""
    if not _serving:
        wsgi.end = _end
        frame = sys._getframe()  # noqa: SLF001  (there is no other way)
        _take_answer(frame)
        hub = _hub_if_exists()
        if hub is not None and not _becomes_program(frame):
            _empty(hub)
        for number, handler in _handlers.items():
            if signal.getsignal(number) is handler:
                signal.signal(number, signal.SIG_DFL)
        _handlers.clear()
    _let_signals_come()


def _hub_if_exists() -> Hub | None:
    found: Hub | None = gevent._hub_local.get_hub_if_exists()  # noqa: SLF001  (get_hub would make one)
    return found


def _take_answer(frame: FrameType | None) -> None:
    """Have the call of the application that a stack belongs to say no more: the answer is the parent's."""
    call = stacks.call_on(frame)
    if call is not None:
        call.channel.gone = True


def _becomes_program(frame: FrameType | None) -> bool:
    """Tell whether gevent's subprocess has forked, which need not wait while a loop is emptied."""
    while frame is not None:
        if frame.f_globals.get("__name__") == "gevent.subprocess":
            return True
        frame = frame.f_back
    return False


def _empty(hub: Hub) -> None:
    """Leave nothing in the loop, and have this greenlet alone go on, as a fork leaves no other thread."""
    loop = hub.loop
    for each in gc.get_referrers(hub, loop):
        if isinstance(each, greenlet):  # which this one may wake
            _take_answer(each.gr_frame)
        elif type(each).__name__ in _WATCHERS and type(each).__module__.startswith(_LOOPS):
            each.stop()
    for each in loop._callbacks:  # noqa: SLF001  (there is no other way)
        each.stop()
    gevent.reinit(hub)
    here = getcurrent()
    if here is not hub.parent:
        main = greenlet(_stand_for, hub.parent)
        main.switch(here)
        hub.parent = main
    if hub and here is not hub:
        # It has called this greenlet in the middle of the server, and would go on there.
        loop.run_callback(here.switch)
        hub.throw()


def _stand_for(forker: greenlet) -> None:
    """Be the main greenlet, which may not be a child of the hub's, in the place of the one that forked."""
    error: BaseException | None = None
    while True:
        try:
            if error is None:
                forker.switch()
            else:
                forker.throw(error)
        except BaseException as raised:  # noqa: BLE001  (thrown by the hub: nothing goes on, or sys.exit())
            if forker.dead:
                _end(None if isinstance(raised, LoopExit) else raised)
            error = raised


def _end(error: BaseException | None) -> NoReturn:
    """End this process as Python ends with *error*, but for what is to be done at the end of the server."""
    code = 0
    if isinstance(error, SystemExit) and (error.code is None or isinstance(error.code, int)):
        code = error.code or 0
    elif error is not None and not isinstance(error, ClientGone):
        code = 1
        with suppress(Exception):
            if isinstance(error, SystemExit):
                print(error.code, file=sys.stderr)
            else:
                traceback.print_exception(error)
    leaving.flush()
    os._exit(code & 0xFF)
