"""Pid files: locked by the server that lives, taken over from one that died."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from fcntl import LOCK_EX, LOCK_NB, flock
from time import CLOCK_BOOTTIME, CLOCK_REALTIME, clock_gettime

from appserver.lifecycle.error import StartError
from appserver.options import option, relative_path

_LONGEST = 32  # bytes; more is no pid file
_LINK = "it is a symbolic link; name the file itself"
_CLOCKS = 0.1  # seconds by which the clocks of processes and files differ; a process needs longer to end


@dataclass(frozen=True)
class PidOptions:
    """Pid files."""

    pidfile: str = option(
        "",
        "Write the master's pid to this file, before privileges are dropped.",
        expects="file",
        example="/run/mysite.pid",
        note="It is locked, taken over from a server that has died, and refused where its process lives.",
        restart=True,
    )
    pidfile2: str = option(
        "",
        "Write the master's pid to this file, after privileges are dropped.",
        expects="file",
        relative=relative_path,
        example="/run/mysite.pid",
        restart=True,
    )
    safe_pidfile: str = option(
        "",
        "Write the master's pid to this file once the application is loaded.",
        expects="file",
        relative=relative_path,
        example="/run/mysite.pid",
        restart=True,
    )


def pid_files(options: PidOptions) -> dict[str, PidFile]:
    """Return the pid files that the options name, by option; those of one path have the same one."""
    named = {"pidfile": options.pidfile, "pidfile2": options.pidfile2, "safe-pidfile": options.safe_pidfile}
    made: dict[str, PidFile] = {}
    found = {}
    try:
        for name, path in named.items():
            if path:
                above, file = os.path.split(os.path.abspath(path))
                where = os.path.join(os.path.realpath(above), file)
                found[name] = made[where] = made.get(where) or PidFile(name, path)
    except StartError:
        for each in made.values():
            each.remove()
        raise
    return found


class PidFile:
    """The pid file of this process, which holds its lock (flock(2)) until `remove`.

    Nothing changes before `write`: a start that fails sooner leaves what it found. Raise `StartError`
    where another server holds the file, or lives without holding it, as uWSGI does.
    """

    def __init__(self, option: str, path: str) -> None:
        self._option = option
        self._given = path
        self._path = os.path.abspath(path)  # chdir comes later
        self._written = False
        self._fd = self._locked(0)

    def write(self) -> None:
        """Write this process's pid; raise `StartError` where that cannot be done."""
        if self._fd is None:
            self._fd = self._locked(os.O_CREAT)
        assert self._fd is not None
        self._written = True
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, b"%d\n" % os.getpid(), 0)  # readers see nothing or all of it
        except OSError as error:
            raise self._error(f"{error.strerror}") from None

    def remove(self) -> None:
        """Remove the file if we wrote it and it is still ours, and give up the lock; safe twice."""
        if self._fd is None:
            return
        with suppress(OSError):
            if self._written and self._is_at_path(self._fd):
                try:
                    os.unlink(self._path)
                except PermissionError:
                    os.ftruncate(self._fd, 0)  # all that is left to do in a directory that was root's
        self.close()

    def close(self) -> None:
        """Close this process's copy, as a child must whose parent keeps the lock; safe twice."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def _locked(self, create: int) -> int | None:
        """Return the file open and locked; None where there is none and *create* is 0."""
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        while True:
            try:
                fd = self._opened(flags, create)
            except FileNotFoundError:
                if not create and os.path.isdir(os.path.dirname(self._path)):
                    return None
                raise self._error("the directory must exist") from None
            except OSError as error:
                raise self._error(_LINK if error.errno == errno.ELOOP else f"{error.strerror}") from None
            try:
                self._claim(fd)
                if self._is_at_path(fd):
                    return fd
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)  # its server removed it just now

    def _opened(self, flags: int, create: int) -> int:
        if create:
            with suppress(FileExistsError):
                fd = os.open(self._path, flags | os.O_CREAT | os.O_EXCL, 0o644)
                os.fchmod(fd, 0o644)  # whatever the umask is: the pid is no secret
                return fd
        return os.open(self._path, flags)

    def _claim(self, fd: int) -> None:
        """Lock a file; raise `StartError` unless it is a pid file whose server has ended."""
        if why := _other(fd):
            raise self._error(why)
        text = os.pread(fd, _LONGEST + 1, 0).strip()
        try:
            flock(fd, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            pid = f" (pid {text.decode()})" if text else ""
            raise self._error(f"another server{pid} holds it; stop that one or choose another path") from None
        if text and (name := _writer(int(text), os.fstat(fd).st_mtime)):
            pid = f"{name} (pid {text.decode()})"
            raise self._error(f"it is that of {pid}, which runs; stop that one or choose another path")

    def _is_at_path(self, fd: int) -> bool:
        try:
            there = os.lstat(self._path)
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(fd))

    def _error(self, reason: str) -> StartError:
        return StartError(self._option, f"cannot use the pid file {self._given}: {reason}", self._given)


def unfit(path: str) -> str:
    """Return why no server can have its pid file at *path*; empty where one can, or nobody may look."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return _LINK if error.errno == errno.ELOOP else ""
    try:
        return _other(fd)
    finally:
        os.close(fd)


def _other(fd: int) -> str:
    """Return why what is open is no pid file; empty where it is one."""
    mode = os.fstat(fd).st_mode
    if stat.S_ISDIR(mode):
        return "Is a directory"
    if not stat.S_ISREG(mode):
        return "it is no regular file; choose another path"
    text = os.pread(fd, _LONGEST + 1, 0).strip()
    if text and not (text.isdigit() and len(text) <= _LONGEST):
        return "the file there holds something else than a pid; choose another path"
    return ""


def _writer(pid: int, written: float) -> str:
    """Return the name of the process that a file has named since *written*; empty if it is not known to run.

    A process that began later has got the number of one that ended.
    """
    if pid == os.getpid():
        return ""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            name, _, rest = file.read().partition(b"(")[2].rpartition(b")")
    except OSError:
        return ""
    state, began = rest.split()[0], int(rest.split()[19]) / os.sysconf("SC_CLK_TCK")
    since_boot = clock_gettime(CLOCK_REALTIME) - clock_gettime(CLOCK_BOOTTIME)
    ended = state in {b"Z", b"X"}
    return "" if ended or since_boot + began > written + _CLOCKS else ascii(os.fsdecode(name))[1:-1]
