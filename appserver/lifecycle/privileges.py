"""Privileges: what a server started by root gives up once its sockets are bound (credentials(7))."""

from __future__ import annotations

import os
from dataclasses import dataclass
from grp import getgrgid, getgrnam
from pwd import getpwnam, getpwuid

from appserver.lifecycle.error import StartError
from appserver.options import BadValue, option

_LIBRARY = (os.__file__, __file__)
_LAST_ID = 2**32 - 2  # what the kernel's type holds; the one above means "leave it"


def user(text: str) -> str:
    """Convert ``uid``: the name or number of a user."""
    try:
        _number(text) if text[:1].isdigit() else getpwnam(text)
    except (KeyError, ValueError):
        raise BadValue(f"a user's name or number; there is no user {text}") from None
    return text


def group(text: str) -> int:
    """Convert ``gid`` and ``add-gid``: the name or number of a group."""
    try:
        return _number(text) if text[:1].isdigit() else getgrnam(text).gr_gid
    except (KeyError, ValueError):
        raise BadValue(f"a group's name or number; there is no group {text}") from None


def umask(text: str) -> int:
    """Convert ``umask``: octal digits."""
    if not 1 <= len(text) <= 4 or set(text) - set("01234567") or int(text, 8) > 0o777:
        raise BadValue("octal digits, such as 027")
    return int(text, 8)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= _LAST_ID):
        raise ValueError(text)
    return int(text)


@dataclass(frozen=True)
class PrivilegeOptions:
    """Privileges."""

    uid: str = option(
        "", "Become this user once the sockets are bound; a name brings the groups of the account.",
        convert=user, expects="user",
        note="All groups but those of the account and of add-gid are dropped.", restart=True,
    )  # fmt: skip
    gid: int | None = option(
        None,
        "Become this group instead of the user's own.",
        convert=group,
        expects="group",
        restart=True,
    )
    add_gid: tuple[int, ...] = option(
        (), "Be in this group besides.", convert=group, expects="group", restart=True
    )
    master_as_root: bool = option(
        False, "Let the master stay root; only what it forks becomes the user.", restart=True
    )
    umask: int | None = option(
        None,
        "Permissions that new files do not get.",
        convert=umask,
        expects="octal digits",
        example="027",
        restart=True,
    )


@dataclass(frozen=True)
class _Identity:
    uid: int
    gid: int
    groups: frozenset[int]


def drop(options: PrivilegeOptions) -> None:
    """Become the user and the groups that the options name, for good.

    The groups besides are those of the account if ``uid`` is a name, and ``add-gid``; none is
    inherited. Without ``uid``, ``gid`` and ``add-gid`` nothing changes. Call it after the bind and
    before `lifetime.die_with_parent`, which the kernel forgets here. Raise `StartError`.
    """
    wanted = _wanted(options)
    if wanted is None or _is(wanted):
        return
    option = "uid" if options.uid else "gid" if options.gid is not None else "add-gid"
    try:
        os.setgroups(sorted(wanted.groups))
        os.setresgid(wanted.gid, wanted.gid, wanted.gid)
        os.setresuid(wanted.uid, wanted.uid, wanted.uid)
    except PermissionError:
        raise StartError(option, f"{_refused(wanted)}; start as root or remove {option}") from None
    except OSError as error:
        raise StartError(option, f"cannot become {_described(wanted)}: {error.strerror}") from None
    if wanted.uid and _can_be_root():
        raise StartError(option, "root's rights could be had again; take CAP_SETUID from this process")


def mask(options: PrivilegeOptions) -> None:
    """Withhold permissions from the files that this process makes from now on, as ``umask`` says."""
    if options.umask is not None:
        os.umask(options.umask)


def lacking(options: PrivilegeOptions) -> str:
    """Return why only root can do `drop`, where this process is not root's; raise `StartError`."""
    wanted = _wanted(options)
    return "" if wanted is None or _is(wanted) or not os.geteuid() else _refused(wanted)


def rehearse(options: PrivilegeOptions) -> str:
    """Do `drop` as a start does; without root's rights leave it, and say why. Raise `StartError`."""
    if why := lacking(options):
        return why
    drop(options)
    check_library(options)
    return ""


def check_library(options: PrivilegeOptions) -> None:
    """Raise `StartError` where the user that `drop` has made of this process cannot import any more."""
    if not options.uid:
        return
    for file in _LIBRARY:
        try:
            os.close(os.open(file, os.O_RDONLY))
        except OSError as error:
            raise _unreadable(os.geteuid(), f"{file}: {error.strerror}") from None


def _unreadable(uid: int, what: str) -> StartError:
    told = f"{named_user(uid)} cannot read the server's library, {what}"
    return StartError("uid", f"{told}; install Python and appserver where that user can read them")


def warning(options: PrivilegeOptions) -> str:
    """Return what is to be said about root's rights that the application keeps; empty if it has none."""
    root = (user_id(options) if options.uid else os.geteuid()) == 0
    return "the application runs as root; set uid = USER" if root else ""


def user_id(options: PrivilegeOptions) -> int:
    """Return the number of the user that `drop` becomes, -1 for none; for ``chown`` before it."""
    if not options.uid:
        return -1
    return int(options.uid) if options.uid[0].isdigit() else getpwnam(options.uid).pw_uid


def owner(options: PrivilegeOptions) -> tuple[int, int]:
    """Return the numbers of the user and the group that `drop` becomes, -1 for none; raise `StartError`."""
    wanted = _wanted(options)
    return (-1, -1) if wanted is None else (wanted.uid, wanted.gid)


def owner_of_sockets(options: PrivilegeOptions) -> tuple[int, int] | None:
    """Return to whom to give their files before `drop`, as uWSGI does; None where they stay as they are.

    It is the same afterwards, as a reload asks then.
    """
    if not options.uid and options.gid is None:
        return None
    uid, gid = user_id(options), -1 if options.gid is None else options.gid
    if os.geteuid() and (os.geteuid() != uid or gid not in {-1, os.getegid()}):
        return None
    return uid, gid


def _wanted(options: PrivilegeOptions) -> _Identity | None:
    if not options.uid and options.gid is None and not options.add_gid:
        return None
    uid = user_id(options) if options.uid else os.geteuid()
    gid = options.gid
    if gid is None:
        try:
            gid = getpwuid(uid).pw_gid if options.uid else os.getegid()
        except KeyError:
            raise StartError("uid", f"user {uid} has no account and so no group; set gid, too") from None
    groups = {gid, *options.add_gid}
    if options.uid and not options.uid[0].isdigit():
        groups.update(os.getgrouplist(options.uid, gid))
    return _Identity(uid, gid, frozenset(groups))


def _is(wanted: _Identity) -> bool:
    same = set(os.getresuid()) == {wanted.uid} and set(os.getresgid()) == {wanted.gid}
    groups = {*os.getgroups(), os.getegid()}
    # Who is not root cannot leave groups, and systemd's SupplementaryGroups= may have added some.
    return same and (groups == wanted.groups or (bool(os.geteuid()) and groups >= wanted.groups))


def _can_be_root() -> bool:
    try:
        os.setuid(0)
    except PermissionError:
        return False
    return True


def _refused(wanted: _Identity) -> str:
    return f"{named_user(os.geteuid())} cannot become {_described(wanted)}"


def _described(wanted: _Identity) -> str:
    groups = ", ".join(_group_named(gid) for gid in sorted(wanted.groups))
    return f"{named_user(wanted.uid)} with the group {_group_named(wanted.gid)} (of {groups})"


def named_user(uid: int) -> str:
    """Return a user as messages name one."""
    try:
        return f"user {getpwuid(uid).pw_name}"
    except KeyError:
        return f"user {uid}"


def _group_named(gid: int) -> str:
    try:
        return getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
