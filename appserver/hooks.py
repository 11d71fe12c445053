"""Commands and small actions at stages of the server's life: ``exec-...`` and ``hook-...``."""

from __future__ import annotations

import grp
import logging
import os
import pwd
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from appserver.options import BadValue, UnsupportedValue, option

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger("appserver.hooks")


class HookError(Exception):
    """Say what did not work; ``option`` is its option, ``value`` is in the option's value."""

    def __init__(self, option: str, value: str, reason: str) -> None:
        super().__init__(reason)
        self.option = option
        self.value = value


class _Failed(Exception):
    pass


def _exec(command: str) -> None:
    import subprocess  # noqa: PLC0415  (most sites run no commands)

    # It is the site's own configuration, and as trusted as its application.
    done = subprocess.run(["/bin/sh", "-c", command], stdin=subprocess.DEVNULL, check=False)  # noqa: S603
    if done.returncode > 0:
        raise _Failed(f"the command exited with {done.returncode}")
    if done.returncode:
        raise _Failed(f"the command was ended by signal {-done.returncode}")


def _safeexec(command: str) -> None:
    try:
        _exec(command)
    except _Failed as error:
        log.warning("%s: %s", command, error)


def _chmod(argument: str) -> None:
    path, _, mode = argument.rpartition(" ")
    os.chmod(path, int(mode, 8))


def _chown(argument: str) -> None:
    path, user, group = argument.rsplit(" ", 2)
    uid = int(user) if user.isdigit() else pwd.getpwnam(user).pw_uid
    gid = int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
    os.chown(path, uid, gid)


def _writer(mode: str, end: str) -> Callable[[str], None]:
    def write(argument: str) -> None:
        path, _, text = argument.partition(" ")
        with open(path, mode, encoding="utf-8", errors="surrogateescape") as file:
            file.write(text + end)

    return write


def _putenv(argument: str) -> None:
    name, _, value = argument.partition("=")
    os.environ[name] = value


def _signal(argument: str) -> None:
    """Do nothing: SIGTERM is what this action asks for, anyway."""


_ACTIONS: dict[str, Callable[[str], None]] = {
    "exec": _exec, "safeexec": _safeexec, "print": lambda text: log.info("%s", text),
    "log": lambda text: log.info("%s", text), "mkdir": os.mkdir, "chmod": _chmod, "chown": _chown,
    "unlink": os.unlink, "creat": _writer("w", ""), "write": _writer("w", ""), "writen": _writer("w", "\n"),
    "append": _writer("a", ""), "appendn": _writer("a", "\n"), "putenv": _putenv, "chdir": os.chdir,
    "unix_signal": _signal,
}  # fmt: skip
_FORMS = f"action:argument; actions are {', '.join(_ACTIONS)}"


def action(text: str) -> tuple[str, str]:
    """Convert ``hook-...``: ``action:argument``."""
    name, colon, argument = text.partition(":")
    if name == "unix_signal" and argument.split() != ["15", "gracefully_kill_them_all"]:
        raise UnsupportedValue("unix_signal:15 gracefully_kill_them_all, which SIGTERM does, anyway")
    if not colon or name not in _ACTIONS:
        raise UnsupportedValue(_FORMS)
    return name, argument


def command(text: str) -> str:
    """Convert ``exec-...``: a shell's command."""
    if not text:
        raise BadValue("a shell's command")
    return text


def _hook(
    when: str, example: str = "writen:/run/mysite/up 1", *, restart: bool = False
) -> tuple[tuple[str, str], ...]:
    told: tuple[tuple[str, str], ...] = option(
        (), f"Do this {when}.", convert=action, expects="action:argument", example=example,
        note="Not all actions are known; `--check` names them.", restart=restart,
    )  # fmt: skip
    return told


def _command(when: str, note: str = "", *, restart: bool = False) -> tuple[str, ...]:
    told: tuple[str, ...] = option(
        (), f"Run this command by the shell {when}.", convert=command, expects="command",
        example="/srv/mysite/prepare", note=note, restart=restart,
    )  # fmt: skip
    return told


_ONCE = "Always, and once; in uWSGI repeatedly while it stays root, and never where it is another user."


@dataclass(frozen=True)
class HookOptions:
    """Commands and actions."""

    exec_asap: tuple[str, ...] = _command(
        "before all else; it has env and unenv, not yet envdir and chdir", restart=True
    )
    exec_as_root: tuple[str, ...] = _command(
        "when the sockets are bound, before privileges are dropped; not yet in chdir", _ONCE, restart=True
    )
    exec_as_user: tuple[str, ...] = _command(
        "once privileges are dropped; not yet in chdir", _ONCE, restart=True
    )
    exec_pre_app: tuple[str, ...] = _command("before the application is loaded")
    exec_post_app: tuple[str, ...] = _command("once the application is loaded")
    exec_as_user_atexit: tuple[str, ...] = _command("when the server has stopped")
    hook_asap: tuple[tuple[str, str], ...] = _hook("before all else", restart=True)
    hook_as_root: tuple[tuple[str, str], ...] = _hook("when the sockets are bound, as root", restart=True)
    hook_as_user: tuple[tuple[str, str], ...] = _hook("once privileges are dropped", restart=True)
    hook_pre_app: tuple[tuple[str, str], ...] = _hook("before the application is loaded")
    hook_post_app: tuple[tuple[str, str], ...] = _hook("once the application is loaded")
    hook_post_fork: tuple[tuple[str, str], ...] = _hook("in each worker when it begins", "putenv:A=1")
    hook_master_start: tuple[tuple[str, str], ...] = _hook(
        "in the master when it begins", "unix_signal:15 gracefully_kill_them_all", restart=True
    )
    hook_as_user_atexit: tuple[tuple[str, str], ...] = _hook(
        "when the server has stopped", "unlink:/run/mysite/up"
    )


def wanted(options: HookOptions, stage: str) -> bool:
    """Tell whether anything is wanted at *stage*."""
    return any(_of(options, stage))


def run(options: HookOptions, stage: str) -> None:
    """Do all that is wanted at *stage* (``asap``, ``pre-app`` ...): actions, then commands.

    Raise `HookError` at the first that fails.
    """
    actions, commands = _of(options, stage)
    for name, argument in actions:
        _attempt(f"hook-{stage}", f"{name}:{argument}", partial(_ACTIONS[name], argument))
    for shell in commands:
        _attempt(f"exec-{stage}", shell, partial(_exec, shell))


def _of(options: HookOptions, stage: str) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """Return the actions and the commands of a stage."""
    field = stage.replace("-", "_")
    return getattr(options, f"hook_{field}"), getattr(options, f"exec_{field}", ())


def _attempt(option: str, value: str, do: Callable[[], None]) -> None:
    log.info("%s: %s", option, value)
    try:
        do()
    except _Failed as error:
        raise HookError(option, value, str(error)) from None
    except OSError as error:
        raise HookError(option, value, error.strerror or str(error)) from None
    except (ValueError, KeyError) as error:
        raise HookError(option, value, f"it is malformed: {error}") from None
