"""Sockets of stream listeners: how addresses are taken, and files given away and removed."""

from __future__ import annotations

import dataclasses
import errno
import os
import socket
import stat
from dataclasses import dataclass
from grp import getgrnam
from ipaddress import IPv6Address
from pwd import getpwnam
from typing import TYPE_CHECKING

from appserver.activation import same
from appserver.address import AddressError, number, over_ip, parse, resolved
from appserver.options import BadValue, changed, option

if TYPE_CHECKING:
    from collections.abc import Iterable

    from appserver.listeners.socket_file import SocketFile

_Socket = socket.socket  # the real one, also where gevent replaces it later
_SOMAXCONN = "/proc/sys/net/core/somaxconn"
NO_SOCKET = "a file that is no socket is there; move it away or choose another path"
_LAST_ID = 2**32 - 2  # what the kernel's type holds


def mode(text: str) -> int:
    """Convert ``chmod-socket``: three octal digits; none means 666, as in uWSGI."""
    if text in {"", "1"}:
        return 0o666
    if len(text) not in {3, 4} or set(text) - set("01234567"):
        raise BadValue("three octal digits, such as 660")
    return int(text, 8)


def open_to_all(text: str) -> str:
    """Return what is dangerous in a mode."""
    if mode(text) & 0o002:
        return "Everybody on this machine may talk to the application as if they were its front end; try 660."
    return ""


def owner(text: str) -> tuple[int, int]:
    """Convert ``chown-socket``: ``user``, ``user:group`` or ``:group``, by name or number."""
    user, _, group = text.partition(":")
    if not user and not group:
        raise BadValue("user, user:group or :group")
    try:
        uid = number(user, _LAST_ID) if user[:1].isdigit() else getpwnam(user).pw_uid if user else -1
    except (KeyError, ValueError):
        raise BadValue(f"user, user:group or :group; there is no user {user}") from None
    try:
        gid = number(group, _LAST_ID) if group[:1].isdigit() else getgrnam(group).gr_gid if group else -1
    except (KeyError, ValueError):
        raise BadValue(f"user, user:group or :group; there is no group {group}") from None
    return uid, gid


@dataclass(frozen=True)
class BindOptions:
    """Sockets."""

    chmod_socket: int | None = option(
        None, "Permissions of Unix sockets.", short="C", aliases=("chmod",), convert=mode, danger=open_to_all,
        expects="octal digits", bare=True,
    )  # fmt: skip
    chown_socket: tuple[int, int] | None = option(
        None, "Owner of Unix sockets (default: uid and gid).", convert=owner, expects="user[:group]"
    )
    listen: int = option(
        1024,
        "Connections that may wait to be accepted.",
        short="l",
        note="100 in uWSGI, and a start fails above net.core.somaxconn; here it is lowered to it.",
    )
    reuse_port: bool = option(
        False,
        "Share the addresses with other servers (SO_REUSEPORT). A reload changes it only for new sockets.",
    )
    abstract_socket: bool = option(
        False, "Put all Unix sockets into the abstract namespace: they have no file and no permissions.",
        short="a",
        note="One that is written @name is abstract anyway; uWSGI puts a NUL byte behind its name.",
    )  # fmt: skip
    vacuum: bool = option(
        False, "Remove our Unix sockets at exit.",
        note="Pid files are always removed, or emptied where the directory is not writable.",
    )  # fmt: skip


def bind(
    text: str, options: BindOptions, passed: dict[str, int], beside: Iterable[str] = ()
) -> socket.socket:
    """Return a listening socket for an address; the caller closes it.

    *passed* are systemd's sockets by address: one of the same address is taken from it and used. *beside*
    are the addresses of other sockets of this server: see `leaves_ipv4`.
    Raise `AddressError` where the address cannot be had.
    """
    address = parse(socket_name(text, options))
    try:
        if isinstance(address, int):
            for name in [name for name, fd in passed.items() if fd == address]:
                del passed[name]
            return _inherited(address)
        for name, fd in list(passed.items()):
            if same(name, text):
                del passed[name]
                return _inherited(fd)
        if isinstance(address, tuple):
            return _bind_tcp(address, options, apart=leaves_ipv4(text, (*beside, *passed)))
        return _bind_unix(address, options)
    except OSError as error:
        raise AddressError(f"cannot listen on {text}: {explained(error)}", text) from None
    except UnicodeError:  # of the idna codec
        raise AddressError(f"cannot listen on {text}: that is no host name", text) from None


def socket_name(text: str, options: BindOptions) -> str:
    """Return an address as it is written where no option says that it is abstract."""
    address = parse(text)
    path = isinstance(address, str) and not address.startswith("\0")
    return f"@{text.strip()}" if path and options.abstract_socket else text


def adapt(
    sock: socket.socket, file: SocketFile | None, before: BindOptions, wanted: BindOptions
) -> tuple[BindOptions, list[str]]:
    """Have a socket that was bound here, and listens as *before* says, be as *wanted* says.

    Return the options that it has now, and the names of those that only a new socket could have.
    """
    now = wanted
    if sock.family != socket.AF_UNIX:
        now = dataclasses.replace(now, reuse_port=before.reuse_port)
    if wanted.listen != before.listen:
        _listen(sock, wanted)
    if file is not None:
        mode, owners = _mode(wanted), _owners(wanted)
        try:
            if mode != _mode(before):
                file.change(lambda path: os.chmod(path, mode))
        except OSError:
            now = dataclasses.replace(now, chmod_socket=before.chmod_socket)
        try:
            if owners != _owners(before):
                file.change(lambda path: os.chown(path, *owners))
        except OSError:
            now = dataclasses.replace(now, chown_socket=before.chown_socket)
    return now, [each.name for each in changed(now, wanted)]


def _mode(options: BindOptions) -> int:
    """Return the mode that the file of a Unix socket is made with."""
    if options.chmod_socket is not None:
        return options.chmod_socket
    umask = os.umask(0o777)
    os.umask(umask)
    return 0o777 & ~umask


def _owners(options: BindOptions) -> tuple[int, int]:
    """Return whose the file of a Unix socket is."""
    uid, gid = options.chown_socket or (-1, -1)
    return os.geteuid() if uid < 0 else uid, os.getegid() if gid < 0 else gid


def leaves_ipv4(text: str, beside: Iterable[str]) -> bool:
    """Tell whether an address is all of IPv6, and of nothing else as one *beside* is of IPv4 on its port."""
    mine = over_ip(text)
    if mine is None or mine[0] != IPv6Address(0) or not mine[1]:
        return False
    others = map(over_ip, beside)
    return any(each is not None and each[0].version == 4 and each[1] == mine[1] for each in others)


def _bind_tcp(address: tuple[str, int], options: BindOptions, *, apart: bool) -> socket.socket:
    family, where = resolved(*address)
    sock = _Socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if options.reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted ones inherit it
        if apart:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(where)
        return _listening(sock, options)
    except OSError:
        sock.close()
        raise


def _bind_unix(path: str, options: BindOptions) -> socket.socket:
    sock = _Socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if not path.startswith("\0"):
            _remove_stale(path)
        if path.startswith("\0"):
            sock.bind(path)
        else:
            _make_file(sock, path, options)
        return _listening(sock, options)
    except OSError:
        sock.close()
        raise


def _make_file(sock: socket.socket, path: str, options: BindOptions) -> None:
    """Bind, and set the file's owner: before listen(), so that nobody connects meanwhile.

    The file has its mode from the moment at which it is there. Whoever may write in its directory can put
    a link in its place, so nothing is changed that a link leads to.
    """
    umask = None if options.chmod_socket is None else os.umask(0o777 & ~options.chmod_socket)
    try:
        sock.bind(path)
    finally:
        if umask is not None:
            os.umask(umask)
    if options.chown_socket is None:
        return
    try:
        os.chown(path, *options.chown_socket, follow_symlinks=False)
    except OSError:
        os.unlink(path)
        raise


def taken_by_a_file(path: str) -> bool:
    """Tell whether something that is no socket is at *path*; raise `OSError` where nobody may look."""
    try:
        return not stat.S_ISSOCK(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def _remove_stale(path: str) -> None:
    """Remove the socket file that a dead server left; raise `OSError` for a live one's."""
    if taken_by_a_file(path):
        raise FileExistsError(errno.EEXIST, NO_SOCKET)
    if not os.path.lexists(path):
        return
    with _Socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            os.unlink(path)
            return
        except PermissionError:
            raise
        except OSError:
            pass  # a full backlog times out: somebody lives there
    raise OSError(errno.EADDRINUSE, "another server answers on it")


def _listening(sock: socket.socket, options: BindOptions) -> socket.socket:
    _listen(sock, options)
    sock.setblocking(False)
    return sock


def _listen(sock: socket.socket, options: BindOptions) -> None:
    sock.listen(min(options.listen, _longest_backlog()))


def _longest_backlog() -> int:
    try:
        with open(_SOMAXCONN) as file:
            return int(file.read())
    except (OSError, ValueError):
        return socket.SOMAXCONN


def _inherited(fd: int) -> socket.socket:
    sock = _Socket(fileno=os.dup(fd))
    if sock.type != socket.SOCK_STREAM or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.close()
        raise OSError(errno.EINVAL, f"descriptor {fd} is no listening stream socket")
    os.set_inheritable(fd, False)  # workers have it by their fork; programs that are started do without
    sock.setblocking(False)
    return sock


def explained(error: OSError) -> str:
    """Return why an address could not be taken, and what to try."""
    hints = {
        errno.EADDRINUSE: "; stop the other server or choose another address",
        errno.EACCES: "; ports below 1024 and foreign directories need more rights",
        errno.ENOENT: "; the directory must exist",
        errno.EBADF: "; who starts this server must pass it",
        errno.EPERM: "; only root gives files to other users",
        errno.EADDRNOTAVAIL: "; no interface of this machine has the address",
    }
    return f"{error.strerror or error}{hints.get(error.errno or 0, '')}"
