"""``appserver ctl``: give a running server a command over its control socket, and print what it says."""

from __future__ import annotations

import os
import re
import socket
import sys
from typing import TYPE_CHECKING

from appserver.ini.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Sequence

_USAGE = """\
usage: appserver ctl [--socket PATH | --ini FILE[:SECTION]] COMMAND

Give a running server a command. PATH is its option control-socket, which FILE may tell.

  reload             Load the configuration and the application anew, then replace all workers.
  chain-reload       The same, one worker after the other.
  stop               Stop accepting, answer what was received, exit.
  drain              The same, however long the answers take; a stop behind it gives them the time of a stop.
  workers +N|-N|N    Have more workers, less, or so many.
  status             Tell of every worker.
  stacks             Write the stack of every thread and greenlet to the log.
  reopen-logs        Open the log files anew, after they were moved away.
  rotate-logs        Move the log files away, and begin new ones.

The exit code is 0 when it is done, 1 when it failed.
"""

_COMMANDS = (
    "reload",
    "chain-reload",
    "stop",
    "drain",
    "workers",
    "status",
    "stacks",
    "reopen-logs",
    "rotate-logs",
)
_INTERRUPTED = 130  # 128 and SIGINT, as shells have it


class _Problem(Exception):
    """Say why a command cannot be given."""


def main(arguments: Sequence[str]) -> int:
    """Give the command to the server and return the exit code: 0, or 1 with the reason on stderr."""
    if not arguments or {"-h", "--help"} & set(arguments):
        print(_USAGE, end="")
        return 0 if arguments else 1
    try:
        path, words = _read(list(arguments))
        failure = _give(path, " ".join(words))
    except _Problem as problem:
        failure = str(problem)
    except KeyboardInterrupt:
        print("appserver: no longer waiting; the server goes on with the command", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:  # appserver ctl status | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    for reason in [] if failure is None else failure.split("\n"):
        print(f"appserver: {reason}", file=sys.stderr)
    return 0 if failure is None else 1


def _read(rest: list[str]) -> tuple[str, list[str]]:
    """Return the socket's path and the words of the command."""
    path = ""
    while rest and rest[0].startswith("--"):
        name, equals, value = rest.pop(0).partition("=")
        if name not in {"--socket", "--ini"}:
            raise _Problem(f"{name}: there is no such option; see appserver ctl --help")
        if not equals:
            value = rest.pop(0) if rest else ""
        if not value:
            raise _Problem(
                f"{name}: a value is missing; expected a {'path' if name == '--socket' else 'file'}"
            )
        path = value if name == "--socket" else _path_in(value)
    if not rest or rest[0] not in _COMMANDS:
        what = f"there is no command {rest[0]}" if rest else "a command is missing"
        raise _Problem(f"{what}; expected {', '.join(_COMMANDS[:-1])} or {_COMMANDS[-1]}")
    if rest[0] == "workers" and not (len(rest) == 2 and re.fullmatch(r"[+-]?[0-9]+", rest[1])):
        raise _Problem("workers: expected a number, or one with + or - in front: appserver ctl workers +1")
    if rest[0] != "workers" and len(rest) > 1:
        raise _Problem(f"{rest[0]}: {rest[1]} is one word too many")
    if not path:
        raise _Problem(
            "which server? Give --socket PATH, or --ini FILE of one with the option control-socket"
        )
    return path, rest


def _path_in(name: str) -> str:
    reader = Reader()
    reader.read(name)
    given = [setting.value for setting in reader.settings() if setting.name == "control-socket"]
    if reader.problems:
        raise _Problem(reader.secrets().hidden(reader.problems[0]))
    if not given or not given[-1]:
        raise _Problem(
            f"{name} has no option control-socket: set control-socket = /run/site/control.sock and restart"
        )
    return given[-1]


def _give(path: str, command: str) -> str | None:
    """Send a command and print the lines as they come; return why it failed, or None."""
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(path)
            sock.sendall(f"{command}\n".encode("utf-8", "surrogateescape"))
        except BrokenPipeError:
            pass  # it has refused us without reading, and says why
        except OSError as error:
            raise _Problem(f"cannot reach a server at {path}: {_explained(path, error)}") from None
        last: list[str] = []
        try:
            with sock.makefile("r", encoding="utf-8", errors="backslashreplace", newline="\n") as lines:
                for line in lines:
                    told = line.removesuffix("\n")
                    failed = told.startswith("failed: ")
                    if not (failed and last and last != ["ok"]):  # only the last lines mean that
                        for each in last:
                            print(each, flush=True)
                        last.clear()
                    if failed or told == "ok":
                        last.append(told)
                    else:
                        print(told, flush=True)
        except ConnectionResetError:
            last.clear()
    if last == ["ok"]:
        return None
    reasons = [each.removeprefix("failed: ") for each in last]
    return "\n".join(reasons) or "the server ended before the command was done; its log tells more"


def _explained(path: str, error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError) and (os.path.isfile(path) or os.path.isdir(path)):
        return "it is no socket; give the path of the option control-socket"
    hints = {
        FileNotFoundError: "there is no such socket; is the server running?",
        ConnectionRefusedError: "nobody listens there; is the server running?",
        PermissionError: "Permission denied; run this as the server's user or as root",
    }
    return hints.get(type(error), error.strerror or str(error))
