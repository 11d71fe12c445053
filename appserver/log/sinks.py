"""Destinations of log lines: stderr, files, and several together; none blocks or fails the server."""

from __future__ import annotations

import errno
import fcntl
import os
import sys
from collections import deque
from contextlib import suppress
from itertools import chain, count
from threading import Lock
from time import time
from typing import TYPE_CHECKING, ClassVar, Protocol

from appserver.log.pipe import pipe_at

if TYPE_CHECKING:
    from collections.abc import Callable

    from appserver.log.pipe import Pipe

_LINKS = 40  # that lead to one file, as in the kernel


class Sink(Protocol):
    """Where lines go.

    Nobody waits here for a lock: who has it may be what a signal's handler or a ``__del__`` has interrupted,
    in the same thread, or wait for the lock of a handler of ``logging`` in such a ``__del__`` of its own. So
    who finds somebody at it leaves that one its lines.
    """

    def write(self, line: str, later: bool = False) -> None:
        """Take a line without its end; never block, never raise.

        With *later* it may be held until the next line or `flush`, which somebody will call soon.
        """

    def flush(self) -> None:
        """Hand over lines that are held; never raise."""

    def reopen(self) -> None:
        """Go on with the file that has the path now; never raise."""

    def rotate(self) -> None:
        """Move the file away and begin a new one; never raise."""

    def forked(self) -> None:
        """Go on in a forked child; never raise."""

    def close(self) -> int:
        """Hand over what is held, and return how many lines were not taken; safe twice."""


def open_file(path: str, flags: int, mode: int) -> int:
    """Open a log file; as root follow no link that another user has made, who would choose the file.

    The kernel refuses those in sticky directories only (proc(5), protected_symlinks). Raise `OSError`.
    """
    if os.geteuid():
        return os.open(path, flags, mode)
    for _ in range(_LINKS):
        try:
            return os.open(path, flags | os.O_NOFOLLOW, mode)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
        target = _target(path)
        if target is None:
            return os.open(path, flags, mode)
        path = os.path.join(os.path.dirname(path), target)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)


def open_given(path: str, flags: int, mode: int, owner: tuple[int, int]) -> int:
    """Open a log file likewise, and give a new one to *owner*: a user, a group. Raise `OSError`.

    A new one never has wider permissions than it ends with.
    """
    try:
        fd = open_file(path, flags | os.O_EXCL, mode)
    except FileExistsError:
        return open_file(path, flags, mode)
    with suppress(OSError):  # whoever is not root gives nothing away
        os.fchown(fd, *owner)
    return fd


def _target(path: str) -> str | None:
    """Return what a link of root's says, None for one that only the kernel can follow; raise `OSError`."""
    link = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)  # so that it is no other one meanwhile
    try:
        found = os.fstat(link)
        if found.st_dev == os.lstat("/proc/self").st_dev:  # a descriptor, which may have no path
            return None
        if found.st_uid:
            told = f"a link of user {found.st_uid} is there, which root does not follow; name the file itself"
            raise OSError(errno.ELOOP, told, path)
        return os.readlink("", dir_fd=link)
    finally:
        os.close(link)


class _Holding:
    """Write lines together that may be written later: a system call costs more than a line."""

    def __init__(self) -> None:
        self._pipe: Pipe | None = None  # which sees to all that itself
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        """Hold nothing: what a child finds is for its parent to write."""
        self._held: deque[str] = deque()  # whose ends two threads may use at once
        self._writing = Lock()

    def write(self, line: str, later: bool = False) -> None:
        self._held.append(line)
        if not later:
            self.flush()

    def flush(self) -> None:
        held = self._held
        if self._pipe is not None:
            if held:
                self._pipe.put(self._take())
            return
        writing = self._writing
        while held and writing.acquire(blocking=False):
            try:
                self._put(self._take())
            finally:
                writing.release()

    def _take(self) -> str:
        """Return the lines that are held, with their ends, and hold them no more."""
        held = self._held
        lines = []
        try:
            while held:
                lines.append(held.popleft())
        except IndexError:  # another thread has taken the last one
            pass
        lines.append("")
        return "\n".join(lines)

    def _put(self, text: str) -> None:
        """Write *text*, lines with their ends, as the only one who does; never raise."""
        raise NotImplementedError

    def close(self) -> int:
        self.flush()
        return 0 if self._pipe is None else self._pipe.close()


class StderrSink(_Holding):
    """Write lines to stderr."""

    def __init__(self) -> None:
        super().__init__()
        if sys.stderr is not None:  # it was closed when the process began
            with suppress(OSError, ValueError):
                self._pipe = pipe_at(sys.stderr.fileno())

    def _put(self, text: str) -> None:
        if sys.stderr is not None:
            with suppress(OSError, ValueError):  # the terminal is gone: requests go on
                sys.stderr.write(text)
                sys.stderr.flush()

    def reopen(self) -> None:
        pass

    def rotate(self) -> None:
        pass

    def forked(self) -> None:
        pass


class FileSink(_Holding):
    """Append lines to a file; raise `OSError` where it cannot be opened.

    At *most* bytes it becomes *backup*, or has the time behind its name, and a number where there is such a
    file already, and a new one is begun; *most* 0 is no limit. Several processes may have the same file.
    A new one is given to *owner*: a user, a group. Lines for which the disk has no room are lost; before the
    next one stands how many, and why.
    """

    # For all files of this process: the kernel's lock, which keeps other processes away, is lost where any
    # descriptor of its file is closed.
    _moving: ClassVar[Lock]

    def __init__(
        self, path: str, mode: int | None = None, most: int = 0, backup: str = "",
        owner: tuple[int, int] = (-1, -1),
    ) -> None:  # fmt: skip
        super().__init__()
        self._path = os.path.abspath(path)  # chdir comes later
        self._mode = mode
        self._owner = owner
        self._most = most
        self._backup = os.path.abspath(backup) if backup else ""
        self._told = False  # why the log goes on in the old file
        self._due: deque[Callable[[], None]] = deque()  # what is to be done before the next line is written
        self._file = open(path, "ab", buffering=0, opener=self._open)  # noqa: SIM115  (closed by close)
        self._set_mode()
        self._pipe = pipe_at(self._file.fileno())  # as /dev/stdout may be

    def _begin(self) -> None:
        super()._begin()
        FileSink._moving = Lock()
        self._lost = 0  # lines, of which nothing is told yet
        self._why = ""
        self._cut = False  # the last line in the file is a part of one

    def _open(self, path: str, flags: int) -> int:
        return open_given(path, flags, 0o666 if self._mode is None else self._mode, self._owner)

    def _set_mode(self) -> None:
        if self._mode is not None:
            with suppress(OSError):  # another's file
                os.fchmod(self._file.fileno(), self._mode)

    def _put(self, text: str) -> None:
        if self._file.closed:
            return
        with suppress(OSError, ValueError):  # another thread may close it at any moment
            if self._most and not self._due and os.fstat(self._file.fileno()).st_size >= self._most:
                self._due.append(self._begin_anew_if_full)
            if self._due:
                self._do_what_is_due()
        if self._lost and not self._append(f"{self._lost} lines of the log were lost: {self._why}\n"):
            self._lost = 0
        self._lost += text.count("\n") if self._lost else self._append(text)

    def _append(self, text: str) -> int:
        """Write lines with their ends; return how many of them there was no room for."""
        end = b"\n" if self._cut else b""
        data = end + text.encode("utf-8", "backslashreplace")
        written = 0
        try:
            while written < len(data):
                written += os.write(self._file.fileno(), data[written:])
        except OSError as error:  # the disk is full
            self._why = error.strerror or ""
        except ValueError:  # it is closed
            self._why = "the file is closed"
        if written:
            self._cut = data[written - 1 : written] != b"\n"
        return data.count(b"\n", max(written, len(end)))

    def rotate(self) -> None:
        self._have_done(self._begin_anew)

    def reopen(self) -> None:
        self._have_done(self._go_on)

    def _have_done(self, what: Callable[[], None]) -> None:
        """Have something done with the file, behind the lines that are held."""
        if self._file.closed:
            return
        self.flush()
        self._told = False
        self._due.append(what)
        writing = self._writing
        if writing.acquire(blocking=False):
            try:
                self._do_what_is_due()
            finally:
                writing.release()
            self.flush()  # what has come meanwhile

    def _do_what_is_due(self) -> None:
        """Do it, unless somebody is moving a file: then the next line finds it."""
        moving = FileSink._moving
        if moving.acquire(blocking=False):
            try:
                while self._due:
                    self._due.popleft()()
            finally:
                moving.release()

    def _begin_anew_if_full(self) -> None:
        self._begin_anew(self._most)

    def _begin_anew(self, most: int = 1) -> None:
        """Begin a new file, or go on with the one that another process has begun, or with the old one."""
        try:
            move_away(self._path, self._file.fileno(), most, self._backup)
        except OSError as error:
            self._stay(f"moved away: {error.strerror}")
        else:
            self._go_on()

    def _go_on(self) -> None:
        """Go on with the file that has the path now, or the old one."""
        try:
            with open(self._path, "ab", opener=self._open) as file:
                os.dup2(file.fileno(), self._file.fileno(), inheritable=False)  # no line is lost between
            self._set_mode()
            self._told = self._cut = False
        except OSError as error:
            self._stay(f"opened: {error.strerror}")

    def _stay(self, why: str) -> None:
        """Tell in the old file what keeps the log there: once, as each line tries again."""
        if not self._told:
            self._told = True
            self._lost += self._append(f"the log goes on in the old file: {self._path} cannot be {why}\n")

    def forked(self) -> None:
        pass

    def close(self) -> int:
        lost = super().close()
        self._pipe = None
        if self._lost:
            self._put("")  # there may be room by now
        lost, self._lost = lost + self._lost, 0
        with suppress(OSError):
            self._file.close()
        return lost


def move_away(path: str, fd: int, most: int, backup: str) -> None:
    """Rename the file at *path*, open as *fd*, if it is still there and has *most* bytes; raise `OSError`.

    It becomes *backup*, or has the time behind its name. Of several processes that do so one does, also of
    those that share the descriptor: locks of flock(2) would be theirs together.
    """
    fcntl.lockf(fd, fcntl.LOCK_EX)
    try:
        if _has_path(path, fd) and os.fstat(fd).st_size >= most:
            os.rename(path, backup or _unused(f"{path}.{int(time())}"))
    finally:
        fcntl.lockf(fd, fcntl.LOCK_UN)


def _has_path(path: str, fd: int) -> bool:
    """Tell whether the open file is the one at the path."""
    try:
        there, here = os.stat(path), os.fstat(fd)
    except OSError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def _unused(path: str) -> str:
    """Return *path*, or the first of ``path.1``, ``path.2`` ... that is not there."""
    names = (f"{path}.{number}" for number in count(1))
    return next(each for each in chain((path,), names) if not os.path.lexists(each))


class Sinks:
    """Several destinations in one."""

    def __init__(self, sinks: list[Sink]) -> None:
        self._sinks = sinks

    def write(self, line: str, later: bool = False) -> None:
        for sink in self._sinks:
            sink.write(line, later)

    def flush(self) -> None:
        for sink in self._sinks:
            sink.flush()

    def reopen(self) -> None:
        for sink in self._sinks:
            sink.reopen()

    def rotate(self) -> None:
        for sink in self._sinks:
            sink.rotate()

    def forked(self) -> None:
        for sink in self._sinks:
            sink.forked()

    def close(self) -> int:
        return sum(sink.close() for sink in self._sinks)
