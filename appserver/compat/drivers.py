"""The drivers of python-engineio, below python-socketio and Flask-SocketIO: whether they can work here.

The library takes the first one that can be imported. That is the one for uWSGI with gevent, as there is a
module ``uwsgi``. The one for threads is `engineio`'s where requests run in some.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

    from appserver.plan import Plan

log = logging.getLogger("appserver.compat")

_GREENLETS = frozenset({"engineio.async_drivers.gevent_uwsgi", "engineio.async_drivers.gevent"})
_THREADS = "engineio.async_drivers.threading"
_ALL = _GREENLETS | {_THREADS}


class Drivers:
    """Judge each driver when it is imported; the log is told once."""

    def __init__(self, plan: Plan | None) -> None:
        self._alone = plan is not None and not plan.threaded
        self._native = plan is not None and (plan.native or plan.loops > 1)
        self._told = False

    def check(self, name: str) -> None:
        """Raise `ImportError` for a driver that hangs, so that the library takes another one."""
        if name not in _ALL:
            return
        if self._alone:
            self._tell(
                "python-engineio (python-socketio, Flask-SocketIO) serves clients here, and requests run one"
                " at a time: a client that waits for news holds up all others; set gevent = N or threads = N"
            )
        elif self._native and name in _GREENLETS:
            self._tell(
                "python-engineio (python-socketio, Flask-SocketIO) uses async_mode='threading' here: requests"
                " run in native threads, where its greenlets would never run; gevent = N gives it greenlets"
            )
            raise ImportError(f"{name} hangs with threads = N: requests run in native threads", name=name)

    def makes(self, name: str) -> bool:
        """Tell whether a module is `made` here instead of the library's."""
        return self._native and name == _THREADS

    def made(self) -> ModuleType:
        """Return it."""
        from appserver.compat.engineio import driver  # noqa: PLC0415  (WebSocket is for those who have some)

        return driver(_THREADS)

    def _tell(self, text: str) -> None:
        if not self._told:
            self._told = True
            log.warning("%s", text)
