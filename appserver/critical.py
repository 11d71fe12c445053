"""Locks whose holder does not wait, whatever garbage is collected meanwhile.

Greenlets of one thread cannot wait for each other's locks: who does keeps the thread, and the holder never
goes on. So nothing waits while it has one of these. But garbage is collected anywhere, and a ``__del__`` of
the application's may want to.
"""

from __future__ import annotations

import gc
from _thread import RLock
from typing import Any, NoReturn
from weakref import ref

from gevent import getcurrent
from gevent.exceptions import BlockingSwitchOutError

_locks: list[ref[Any]] = []


def lock() -> Any:
    """Return a real lock, also where gevent replaces those; what is called from within may take it again."""
    made = RLock()
    _locks.append(ref(made, _locks.remove))
    return made


def _held() -> bool:
    """Tell whether this thread has one of them."""
    known = (there for each in _locks if (there := each()) is not None)
    return any(each._is_owned() for each in known)  # noqa: SLF001  (as `threading.Condition` asks)


class _Collection:
    """Have gevent refuse what would wait as garbage is collected where a lock is held.

    It calls ``switch_out`` of the greenlet that would be left (`gevent.hub.Hub`). Collections never overlap.
    """

    _current: Any = None

    def __call__(self, phase: str, _: object) -> None:
        if self._current is not None:
            del self._current.switch_out
            self._current = None
        elif phase == "start" and _held():
            self._current = getcurrent()
            self._current.switch_out = self._refuse

    def _refuse(self) -> NoReturn:
        raise BlockingSwitchOutError("a __del__ cannot wait here: the server is in the middle of something")


gc.callbacks.append(_Collection())
