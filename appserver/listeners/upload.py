"""Files in which Mongrel2 has put large request bodies (``upload.temp_store``).

Any client can send the headers that announce them. Mongrel2 overwrites those headers where it
does make a file, and only there: the message then has no body, and its Content-Length is above
zero and no more than a C int holds, or it has none and a chunked body (src/upload.c). A larger length
Mongrel2 takes for 0 (src/request.c), and passes the client's own headers on. Even so nothing outside
the configured directory is ever opened.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import IO

from appserver.protocols.codec import ProtocolError
from appserver.protocols.fields import CODING
from appserver.protocols.framing import BAD_REQUEST
from appserver.protocols.mongrel2 import Message, parse
from appserver.protocols.mongrel2_fields import DONE, START

_ERROR = "500 Internal Server Error"
_MOST = 2**31 - 1  # bytes that Mongrel2 takes for a length
_DONE, _HEAD = DONE.encode(), 65536  # what is looked for in so many bytes of a message


def announced(message: Message) -> bool:
    """Tell whether the upload headers of *message* are Mongrel2's own."""
    if message.body or not isinstance(message.aside.get(START), str):
        return False
    length = message.fields.get("CONTENT_LENGTH")
    if length is None:
        return message.fields.get(CODING) == "chunked"
    if not (length.isascii() and length.isdigit()):
        return False
    return len(length) < 19 and 0 < int(length) <= _MOST


def take(message: Message, directory: str, chroot: str) -> tuple[IO[bytes], int]:
    """Open the file of a finished upload and remove its name; return it and its size.

    *directory* is where this server sees Mongrel2's upload directory; with *chroot* the path that
    Mongrel2 names is looked up below that and must lie in *directory*. The caller closes the file.
    Raise `ProtocolError` where there is no such file or it may not be used.
    """
    path = message.aside[DONE]
    if not isinstance(path, str) or path != message.aside[START]:
        raise ProtocolError(BAD_REQUEST, "The upload's end names another file than its start.")
    if not directory:
        raise ProtocolError(
            _ERROR,
            "A large request body cannot be read.",
            hint="Set mongrel2-upload-dir to the directory of Mongrel2's upload.temp_store.",
        )
    parent, name = os.path.split(path)
    if chroot:
        seen = os.path.realpath(os.path.join(chroot, parent.lstrip("/")))
        if seen != os.path.realpath(directory):
            raise ProtocolError(
                _ERROR,
                "A large request body cannot be read.",
                hint=f"Mongrel2 puts uploads into {seen}, mongrel2-upload-dir is {directory}.",
            )
    if name in {"", ".", ".."} or "\0" in name:
        raise ProtocolError(BAD_REQUEST, "The upload's file has no name.")
    return _open(directory, name)


def discard(message: bytes, directory: str, chroot: str) -> None:
    """Remove the file of a finished upload whose message nobody will read; all others have none."""
    if message.find(_DONE, 0, _HEAD) < 0:
        return
    with suppress(ProtocolError):
        parsed = parse(message)
        if DONE in parsed.aside and announced(parsed):
            take(parsed, directory, chroot)[0].close()


def _open(directory: str, name: str) -> tuple[IO[bytes], int]:
    try:
        inside = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            fd = os.open(name, flags, dir_fd=inside)
            try:
                size = _size(fd)
                os.unlink(name, dir_fd=inside)  # nobody else will; the open file remains
            except BaseException:  # whatever it is, nobody else closes the descriptor
                os.close(fd)
                raise
        finally:
            os.close(inside)
    except OSError as error:
        raise ProtocolError(
            _ERROR,
            "A large request body cannot be read.",
            hint=f"{os.path.join(directory, name)}: {error.strerror}; "
            "this server must be able to read and remove files there.",
        ) from None
    return os.fdopen(fd, "rb"), size


def _size(fd: int) -> int:
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise ProtocolError(BAD_REQUEST, "The upload is no regular file.")
    return status.st_size
