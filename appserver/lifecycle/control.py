"""The control socket: one command a connection, its progress in lines, then ``ok`` or ``failed: why``.

Only the user that the master runs as, and root, may connect: the file's mode says so, and the
credentials of whoever connects are asked for (SO_PEERCRED, unix(7)).
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING

from appserver.address import AddressError
from appserver.binding import BindOptions, bind
from appserver.lifecycle.error import StartError
from appserver.listeners.warnings import Warnings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from appserver.lifecycle.options import ControlOptions

    Handler = Callable[[list[str], Callable[[str], None]], Awaitable[str | None]]

log = logging.getLogger("appserver.lifecycle")

_LONGEST = 1000  # bytes of a command
_PATIENCE = 10.0  # seconds that a client may take to send it, and to read the last line
_PAUSE = 1.0  # seconds without accepting when descriptors run out
_UNREAD = 65536  # bytes of progress that wait for a client
_UCRED = struct.Struct("iII")  # unix(7)


class Control:
    """The control socket of this server; `remove` ends it, `close` closes a child's copies."""

    def __init__(self, options: ControlOptions) -> None:
        self._given = options.control_socket
        self._path = os.path.abspath(self._given)  # chdir comes later
        self._sock: socket.socket | None = None
        self._file: os.stat_result | None = None
        self._handler: Handler | None = None
        self._clients: set[socket.socket] = set()
        self._commands: set[asyncio.Task[None]] = set()
        self._warnings = Warnings("the control socket")

    def bind(self, uid: int = -1) -> None:
        """Make the socket, and give it to *uid* where the master is to become another user.

        Raise `StartError` where it cannot be had, or another server answers on it.
        """
        options = BindOptions(chmod_socket=0o600, chown_socket=(uid, -1))
        try:
            self._sock = bind(self._given, options, {})
        except AddressError as error:
            raise StartError("control-socket", str(error), self._given) from None
        self._file = os.lstat(self._path)

    def start(self, handler: Handler) -> None:
        """Take commands in the running loop.

        *handler* gets the words and a function that reports progress, and returns None or why it
        failed, one reason a line. It goes on when its client leaves.
        """
        self._handler = handler
        self._go_on()

    async def finish(self, seconds: float = _PATIENCE) -> None:
        """Wait until the commands in hand have had their last line."""
        if self._commands:
            await asyncio.wait(self._commands, timeout=seconds)

    def remove(self) -> None:
        """Take no more commands and remove the file if it is still ours; safe twice."""
        if self._sock is None:
            return
        if self._handler is not None:
            with suppress(RuntimeError):  # there is no loop any more
                asyncio.get_running_loop().remove_reader(self._sock)
        with suppress(OSError):
            if self._file is not None and os.path.samestat(self._file, os.lstat(self._path)):
                os.unlink(self._path)
        self._sock.close()
        self._sock = None

    def close(self) -> None:
        """Close this process's copies, as a child must whose parent goes on; the loop is not touched."""
        if self._sock is not None:
            self._sock.close()
        self._sock = None
        for client in self._clients:
            client.close()

    def _go_on(self) -> None:
        if self._sock is not None:  # else it has been removed meanwhile
            asyncio.get_running_loop().add_reader(self._sock, self._accept)

    def _accept(self) -> None:
        assert self._sock is not None
        try:
            client, _ = self._sock.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            self._warnings.tell(f"cannot accept for now: {error.strerror}")
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._sock)  # which stays readable, so the loop would spin
            loop.call_later(_PAUSE, self._go_on)
            return
        client.setblocking(False)
        self._clients.add(client)
        command = asyncio.get_running_loop().create_task(self._serve(client))
        self._commands.add(command)
        command.add_done_callback(self._commands.discard)

    async def _serve(self, client: socket.socket) -> None:
        answer = _Answer(client)
        try:
            try:
                words = await _words(client)
            except _Refused as refused:
                failure: str | None = str(refused)
            else:
                failure = await self._obey(words, answer.report)
            await answer.end(["ok"] if failure is None else _failed(failure))
        finally:
            self._clients.discard(client)
            client.close()

    async def _obey(self, words: list[str], report: Callable[[str], None]) -> str | None:
        assert self._handler is not None
        try:
            return await self._handler(words, report)
        except Exception as error:
            log.exception("the command %s failed", " ".join(words))
            return f"{type(error).__name__}: {error}; the log tells where"


class _Refused(Exception):
    """Say why no command is taken from a client."""


class _Answer:
    """The lines that a client gets, as fast as it reads them."""

    def __init__(self, client: socket.socket) -> None:
        self._client = client
        self._unsent = bytearray()

    def report(self, text: str) -> None:
        """Send progress; a client that has gone, or reads nothing, misses it."""
        if len(self._unsent) < _UNREAD:
            for line in text.splitlines():
                self._unsent += f"{line}\n".encode("utf-8", "backslashreplace")
        with suppress(OSError):
            del self._unsent[: self._client.send(self._unsent)]

    async def end(self, lines: list[str]) -> None:
        """Send what is left and the last lines."""
        self._unsent += "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")
        loop = asyncio.get_running_loop()
        with suppress(OSError):  # it is gone, or too slow: TimeoutError
            await asyncio.wait_for(loop.sock_sendall(self._client, self._unsent), _PATIENCE)
            for _ in range(10):  # closing with something unread would take the answer back
                self._client.recv(_UNREAD)
        with suppress(OSError):
            self._client.shutdown(socket.SHUT_RDWR)  # a child may still have its copy


def _failed(why: str) -> list[str]:
    """Return the last lines of an answer: one for each reason."""
    return [f"failed: {' '.join(line.split())}" for line in why.splitlines() if line.strip()] or ["failed: "]


async def _words(client: socket.socket) -> list[str]:
    """Return the command that a client sends; raise `_Refused`."""
    line = b""
    try:
        async with asyncio.timeout(_PATIENCE):
            while b"\n" not in line:
                data = await asyncio.get_running_loop().sock_recv(client, _LONGEST + 1)
                line += data
                if len(line.partition(b"\n")[0]) > _LONGEST:
                    raise _Refused(f"the command is longer than {_LONGEST} bytes")
                if not data:
                    raise _Refused("no command came")
    except TimeoutError:
        raise _Refused(f"no command came within {_PATIENCE:g} s") from None
    except OSError as error:
        raise _Refused(f"no command came: {error.strerror}") from None
    _, uid, _ = _UCRED.unpack(client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    if uid not in {0, os.geteuid()}:
        raise _Refused(f"user {uid} may not control this server")
    return line.partition(b"\n")[0].decode("utf-8", "backslashreplace").split()
