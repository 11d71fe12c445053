"""Calls of the application ended from outside: an exception is raised where their greenlet waits.

What runs at that moment, and a native thread, cannot be reached so. It learns of its end from its channel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gevent import getcurrent

from appserver.thread_locals import shared
from appserver.wsgi import Cancelled

if TYPE_CHECKING:
    from types import FrameType

    from appserver.exchange import Exchange

# Greenlets in which a call was ended where it was: what they have in a `threading.local`, a connection to a
# database perhaps, can be in the middle of something. Their cores take others, and forget them here.
spoilt: set[object] = set()


def interrupt(x: Exchange, error: type[BaseException]) -> bool:
    """Raise *error* in the greenlet that waits in the application's call for *x*; tell whether there is one.

    To be called in the hub of its loop, from a callback.
    """
    core = x.core
    # Threads, and greenlets of other threads, have another parent; what runs has no frame.
    if core is None or core.gr_frame is None or core.parent is not getcurrent():
        return False
    if not shared():  # else it waits in what is the server's own
        spoilt.add(core)
    x.spared = True  # what is tidied up now is not to be broken off
    core.throw(error)
    return True


def cancel(x: Exchange) -> None:
    """End the call for *x*, whose client has gone; to be called in the hub of its loop, from a callback.

    The channel must say that it is ``gone`` already, so that a call that runs learns it when it sends.
    Nothing happens to one whose answer is whole, to the iterable's ``close``, nor to a call that was ended
    before: it may be rolling back.
    """
    if not x.ended and not x.spared:
        interrupt(x, Cancelled)


def wait_of(x: Exchange) -> tuple[FrameType, int] | None:
    """Return where the call for *x* waits, the same until it goes on; None where it runs or is over."""
    frame = None if x.core is None else x.core.gr_frame
    return None if frame is None else (frame, frame.f_lasti)
