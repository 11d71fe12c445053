"""What systemd is told, and what it asks for: sd_notify(3), sd_watchdog_enabled(3).

Newlines separate the variables of a message, so none is left inside a value.
"""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from socket import AF_UNIX, SOCK_DGRAM, socket  # the real ones, also where gevent replaces them later

_LONGEST = 500  # characters of a status
_PATIENCE = 1.0  # seconds that systemd may take to make room for a message


class Notifier:
    """Tell systemd of this server, if it was systemd that started it; nothing here raises.

    Make it once, in the process that systemd has started: it takes systemd's variables out of the
    environment, lest workers speak in the server's name. ``interval`` is the time in seconds after
    which `watchdog` is due again, 0 where systemd does not watch.
    """

    def __init__(self, environ: dict[str, str] | None = None) -> None:
        env = os.environ if environ is None else environ
        taken = {name: env.pop(name, "") for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")}
        path = taken["NOTIFY_SOCKET"]
        self._address = f"\0{path[1:]}" if path[:1] == "@" else path if path[:1] == "/" else ""
        self._pid = os.getpid()
        self.interval = 0.0
        usec, pid = taken["WATCHDOG_USEC"], taken["WATCHDOG_PID"]
        if self._address and re.fullmatch(r"[0-9]{1,18}", usec) and pid in {"", str(self._pid)}:
            self.interval = int(usec) / 1e6 / 2  # half of it, as sd_watchdog_enabled(3) advises

    def ready(self, status: str = "") -> None:
        """Tell that the server is up, or up again after `reloading`."""
        lines = ["READY=1"]
        if os.getpid() != self._pid:  # daemonized since; systemd wants NotifyAccess=all for that
            lines.append(f"MAINPID={os.getpid()}")
        self._send(*lines, *_status(status))

    def reloading(self, status: str = "") -> None:
        """Tell that the server reloads, since now."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={now}", *_status(status))

    def stopping(self, status: str = "") -> None:
        """Tell that the server goes down."""
        self._send("STOPPING=1", *_status(status))

    def status(self, text: str) -> None:
        """Give the line that ``systemctl status`` shows."""
        self._send(*_status(text or " "))

    def watchdog(self) -> None:
        """Tell that the server lives."""
        self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        # A socket for each message: none to close in children.
        with suppress(OSError), socket(AF_UNIX, SOCK_DGRAM) as sock:
            sock.settimeout(_PATIENCE)
            sock.sendto("\n".join(lines).encode("utf-8", "backslashreplace"), self._address)


def _status(text: str) -> list[str]:
    return [f"STATUS={' '.join(text.split())[:_LONGEST]}"] if text else []
