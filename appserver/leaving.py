"""The end of a process by os._exit: what Python would have done before its own."""

from __future__ import annotations

import atexit
import sys
from contextlib import suppress


def finish() -> None:
    """Call the functions of ``atexit``, and write out what has been printed; wait for no threads."""
    with suppress(Exception):
        atexit._run_exitfuncs()  # noqa: SLF001  (Python calls them only when it has waited for threads)
    flush()


def flush() -> None:
    """Write out what has been printed."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # it may be closed, or None
            stream.flush()
