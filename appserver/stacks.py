"""The Python stacks of this process: of native threads, and of greenlets that wait."""

from __future__ import annotations

import _thread
import dis
import gc
import logging
import os
import sys
import threading
import traceback
from typing import TYPE_CHECKING, NamedTuple

from gevent import get_hub
from greenlet import greenlet

from appserver import identity, wsgi

if TYPE_CHECKING:
    from types import FrameType

    from appserver.exchange import Channel, Exchange

log = logging.getLogger("appserver")

# The real ones, also where gevent replaces them later.
_start, _get_ident = _thread.start_new_thread, _thread.get_ident
_writing = _thread.allocate_lock()
_main = _get_ident()  # who imports this first
_Nameless = threading._DummyThread  # noqa: SLF001  (it has no public name; one may be of a thread that has ended)
_OURS = frozenset({"gevent.hub", "__main__", "runpy"})  # where hubs and the main greenlet begin


class Call(NamedTuple):
    """A call of the application, found on a stack."""

    x: Exchange
    channel: Channel


def call_on(frame: FrameType | None) -> Call | None:
    """Return the call of the application that a stack belongs to, None where it belongs to none."""
    while frame is not None:
        if frame.f_code is wsgi.call.__code__:
            found = frame.f_locals
            return Call(found["x"], found["channel"])
        frame = frame.f_back
    return None


def spawned(frame: FrameType | None) -> bool:
    """Tell whether a stack is of a greenlet that the application has made, or of a thread that is one.

    Its outermost frame tells: nobody else begins where the hub, the main greenlet and the server's do.
    """
    if frame is None:
        return False
    while frame.f_back is not None:
        frame = frame.f_back
    name = frame.f_globals.get("__name__", "")
    return name not in _OURS and not name.startswith("appserver.")


def request_line(x: Exchange) -> str:
    """Return what identifies a request in the log; its query may be a secret, but the access log has it."""
    return ascii(f"{x.method} {x.uri} {x.protocol}")[1:-1]


def line_of(frame: FrameType) -> int:
    """Return the line that *frame* is in, or that it comes to next where a jump belongs to none.

    In CPython 3.11 that is the jump back of a loop that ends with an ``if``; threads are switched just there.
    """
    line: int | None = frame.f_lineno
    if line is not None:
        return line
    code, at = frame.f_code, frame.f_lasti
    for each in dis.get_instructions(code):
        if each.offset == at and each.opcode in dis.hasjrel:
            at = each.argval
            break
    lines = (line for _, end, line in code.co_lines() if end > at and line is not None)
    return next(lines, code.co_firstlineno)


def described(what: str, frame: FrameType) -> str:
    """Return the stack that ends with *frame* as lines of text, and whose request it serves."""
    call = call_on(frame)
    request = f", serving {request_line(call.x)}" if call is not None else ""
    stack = traceback.StackSummary.extract((each, line_of(each)) for each, _ in traceback.walk_stack(frame))
    stack.reverse()
    return f"{what}{request}:\n{''.join(stack.format()).rstrip()}"


def all_stacks() -> list[str]:
    """Return the stack of every other native thread and of every greenlet that does not run now.

    Greenlets are looked for twice, as they go on meanwhile: one that runs for a moment would be in neither.
    """
    names = {
        thread.ident: thread.name for thread in threading.enumerate() if not isinstance(thread, _Nameless)
    }
    names[_main] = threading.main_thread().name  # where gevent has given it another identity
    waiting = _waiting()
    threads = sys._current_frames()  # noqa: SLF001  (there is no other way)
    waiting |= _waiting()
    found = [
        described(f"thread {names.get(ident) or _begun(frame)} ({ident})", frame)
        for ident, frame in threads.items()
        if ident != _get_ident()
    ]
    return found + [described(what, frame) for what, frame in waiting.items()]


def _begun(frame: FrameType) -> str:
    """Return the function that a thread began with, for one that `threading` does not know."""
    while frame.f_back is not None:
        frame = frame.f_back
    return f"{frame.f_globals.get('__name__', '?')}.{frame.f_code.co_qualname}"


def _waiting() -> dict[str, FrameType]:
    """Return the greenlets that wait, and where."""
    return {
        f"greenlet {id(each):#x} ({type(each).__name__})": frame
        for each in gc.get_objects()
        if isinstance(each, greenlet) and (frame := each.gr_frame) is not None
    }


def log_all() -> None:
    """Have all stacks written to the log; for signal handlers.

    A native thread does it: what the handler has interrupted may be writing to the log itself. Where there
    can be no more threads, the loop does.
    """
    if _writing.acquire(blocking=False):  # else they are just being written
        try:
            _start(_write, ())
        except RuntimeError:
            _writing.release()
            get_hub().loop.run_callback_threadsafe(write)


def write() -> None:
    """Write all stacks to the log; not for signal handlers."""
    _writing.acquire()
    _write()


def wait() -> None:
    """Wait until the stacks that are being written are."""
    with _writing:
        pass


def _write() -> None:
    number = identity.worker_id()
    who = f"worker {number}" if number else "preloader"
    try:
        for text in all_stacks():
            log.info("%s (pid %d): %s", who, os.getpid(), text)
    finally:
        _writing.release()
