"""Find the file of a request: below its directory, or not at all."""

from __future__ import annotations

import os
from dataclasses import dataclass
from stat import S_ISDIR, S_ISREG
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from appserver.static.options import StaticOptions

_SOURCES = (".py", ".pyc", ".ini")
_DOTS = frozenset({".", ".."})
_DELETED = " (deleted)"  # behind the path of a file that has it no more (proc(5)); a file may be named so
_ATTEMPTS = 10  # to open one that is replaced while it is looked at


@dataclass
class Found:
    """An open file; whoever has it closes ``fd``."""

    fd: int
    path: str  # without symbolic links
    status: os.stat_result
    below: str  # the part of the path that the client has chosen; "" where the file itself is mapped
    index: str = ""  # the name of the file that stands for its directory, where that was asked for


class Roots:
    """The directories that files are served from, and what may be there."""

    def __init__(self, options: StaticOptions) -> None:
        # The application may change the directory later.
        self._maps = [(prefix, os.path.abspath(path), False) for prefix, path in options.static_map]
        self._maps += [(prefix, os.path.abspath(path), True) for prefix, path in options.static_map2]
        self._checked = [os.path.abspath(path) for path in options.check_static]
        self._safe = [os.path.abspath(path) for path in options.static_safe]
        self._index = options.static_index
        self._skipped = options.static_skip_ext
        self._hides = not options.static_hidden

    def find(self, path: str) -> Found | None:
        """Return the file at the path of a request, as WSGI has it; None if none is to be served."""
        try:
            name = os.fsdecode(path.encode("latin-1"))
        except UnicodeEncodeError:
            return None
        if "\0" in name:
            return None
        if "/." in name and not _DOTS.isdisjoint(name.split("/")):
            return None  # rules of ``route`` have seen another path than the file's; no browser sends such
        for root, rest in self._candidates(name):
            found = self._served(root, rest)
            if found is not None:
                return found
        return None

    def _candidates(self, name: str) -> Iterator[tuple[str, str]]:
        """Yield directories, and the paths in them that may be meant."""
        for root in self._checked:
            yield root, name
        for prefix, root, whole in self._maps:
            if name == prefix or name.startswith(f"{prefix}/"):
                yield root, name if whole else name[len(prefix) :]

    def _served(self, root: str, rest: str) -> Found | None:
        found = self._open(root, root + rest)
        if found is None:
            return None
        if S_ISDIR(found.status.st_mode):
            os.close(found.fd)
            for index in self._index:
                found = self._open(root, os.path.join(root + rest, index))
                if found is not None and self._allowed(found):
                    found.index = index
                    return found
            return None
        return found if self._allowed(found) else None

    def _allowed(self, found: Found) -> bool:
        """Tell whether it is a file to serve; close any other."""
        if (
            S_ISREG(found.status.st_mode)
            and not found.path.endswith(self._skipped)
            and not (self._hides and _is_hidden(found.below))
        ):
            return True
        os.close(found.fd)
        return False

    def _open(self, root: str, path: str) -> Found | None:
        """Open what is below *root*, or below where links may lead; None for all else.

        What has been opened is looked at, not the path: that could be another file by then. One that has
        lost its name meanwhile, as what is deployed by rename(2) does, is opened again.
        """
        for _ in range(_ATTEMPTS):
            try:
                fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
            except (OSError, ValueError):
                return None
            replaced = False
            try:
                real, status = os.readlink(f"/proc/self/fd/{fd}"), os.fstat(fd)
                replaced = real.endswith(_DELETED) and not _leads_to(real, status)
                if not replaced and (below := _below(real, [root, *self._safe])) is not None:
                    return Found(fd, real, status, below)
            except OSError:
                pass
            os.close(fd)
            if not replaced:
                return None
        return None

    def beside(self, found: Found, ending: str) -> Found | None:
        """Return the file that has the same path with *ending* behind it, if there is one."""
        other = self._open(os.path.dirname(found.path), found.path + ending)
        if other is not None and not S_ISREG(other.status.st_mode):
            os.close(other.fd)
            return None
        return other


def _below(path: str, roots: Iterable[str]) -> str | None:
    """Return the rest of a path behind that of the root that it is below, or None."""
    for root in roots:
        real = os.path.realpath(root).rstrip("/")
        if path == real:
            return ""
        if path.startswith(real + "/"):
            return path[len(real) :]
    return None


def _leads_to(path: str, status: os.stat_result) -> bool:
    """Tell whether a path is that of the file with this status."""
    try:
        return os.path.samestat(os.lstat(path), status)
    except OSError:
        return False


def _is_hidden(below: str) -> bool:
    """Tell whether a path leads to what is rarely meant for everybody: .git, .env, settings.py."""
    return "/." in below.replace("/.well-known/", "/") or below.endswith(_SOURCES)
