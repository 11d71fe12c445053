"""The ini language: whatever a file has in it is read, or told with its place, and nothing else happens."""

from __future__ import annotations

import os
from unittest import mock

from appserver.ini import reader
from appserver.ini.error import IniError
from appserver.ini.reader import Reader
from appserver.ini.written import written

_NAME = "site.ini"
_LIMIT = 2000  # bytes; loops in loops make many settings of few lines
PIECES = [
    b"[appserver]\n", b"[uwsgi]\n", b"[other]\n", b"a = b\n", b"a =\n", b"a\n", b"; c\n", b"# c\n", b"a = b ; c\n", b"\r\n", b"\\\n",
    b"x = %d%n%c%%\n", b"x = %(a)\n", b"x = %(a + 1)\n", b"x = %(a / 0)\n", b"x = $(HOME)\n", b"x = $(NO:-text)\n",
    b"x = @(file)\n", b"x = @(exec://id)\n", b"x = @(http://x)\n", b"include = site.ini:other\n", b"ini = :other\n",
    b"inherit = site.ini:other\n", b"include = site.ini\n", b"if-env = HOME\n", b"if-opt = a=b\n", b"if-not-exists = /x\n",
    b"else =\n", b"endif =\n", b"for = a b c\n", b"for-times = 3\n", b"for-glob = *\n", b"v = %(_)\n", b"endfor =\n",
    b"set = a=b\n", b"set-ph = a=b\n", b"print = x\n", b"plugins = x\n", b"=", b"%", b"$", b"@", b"(", b")", b"\0", b"\xff",
]  # fmt: skip


def check(data: bytes) -> None:
    """Fail where something else than a problem with its place comes of a file; no other file is read and no command run."""
    text = data[:_LIMIT].decode("utf-8", "surrogateescape")

    def only_this(path):
        if path != _NAME:
            raise IniError(f"{path}: there is no such file")
        return text

    with (
        mock.patch.object(reader, "_text", only_this),
        mock.patch.object(reader, "contents", lambda source: source[::-1]),
        mock.patch.object(os, "access", return_value=False),
    ):
        made = Reader(lambda name: name in {"a", "x"})
        made.read(_NAME)
        found = made.settings()
        for problem in made.problems + made.warnings:
            assert problem.strip()
        for setting in found:
            assert setting.name or setting.value is not None  # "= x" has no name, as in uWSGI
            assert setting.value is None or isinstance(setting.value, str)
        if not made.problems:
            written(found)
