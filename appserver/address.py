"""Addresses of stream listeners: how they are written, bound, given away and removed."""

from __future__ import annotations

import errno
import os
import socket
import stat
from dataclasses import dataclass
from grp import getgrnam
from ipaddress import ip_address
from pwd import getpwnam

from appserver.options import BadValue, option

_FORMS = "host:port, :port, /path.sock, ./path.sock, @abstract or fd://N"
_Socket = socket.socket  # the real one, also where gevent replaces it later
_SOMAXCONN = "/proc/sys/net/core/somaxconn"
_FIRST_PASSED_FD = 3  # sd_listen_fds(3)
_LAST_FD, _LAST_ID = 2**31 - 1, 2**32 - 2  # what the kernel's types hold


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
        uid = _number(user, _LAST_ID) if user[:1].isdigit() else getpwnam(user).pw_uid if user else -1
    except (KeyError, ValueError):
        raise BadValue(f"user, user:group or :group; there is no user {user}") from None
    try:
        gid = _number(group, _LAST_ID) if group[:1].isdigit() else getgrnam(group).gr_gid if group else -1
    except (KeyError, ValueError):
        raise BadValue(f"user, user:group or :group; there is no group {group}") from None
    return uid, gid


def _number(text: str, last: int) -> int:
    """Return a number from 0 to *last*; raise `ValueError` for anything else."""
    if not (text.isascii() and text.isdigit() and int(text) <= last):
        raise ValueError(text)
    return int(text)


@dataclass(frozen=True)
class BindOptions:
    """Sockets."""

    chmod_socket: int | None = option(
        None, "Permissions of Unix sockets.", short="C", aliases=("chmod",), convert=mode, danger=open_to_all,
        expects="octal digits",
    )  # fmt: skip
    chown_socket: tuple[int, int] | None = option(
        None, "Owner of Unix sockets.", convert=owner, expects="user[:group]"
    )
    listen: int = option(
        1024,
        "Connections that may wait to be accepted.",
        short="l",
        note="100 there, and a start fails above net.core.somaxconn; here it is lowered to it.",
    )
    reuse_port: bool = option(False, "Share the addresses with other servers (SO_REUSEPORT).")
    abstract_socket: bool = option(
        False, "Put all Unix sockets into the abstract namespace: they have no file and no permissions.",
        short="a", note="One that is written @name is there anyway; uWSGI puts a NUL byte behind its name.",
    )  # fmt: skip
    vacuum: bool = option(False, "Remove our Unix sockets at exit.", note="The pid files are always removed.")


class AddressError(Exception):
    """Say why an address cannot be listened on, and what to try.

    ``address`` is the option's value, where one value is to blame.
    """

    def __init__(self, reason: str, address: str = "") -> None:
        super().__init__(reason)
        self.address = address


def parse(text: str) -> tuple[str, int] | str | int:
    """Return a host and port, a path (abstract with a leading NUL) or an inherited descriptor.

    Raise `BadValue` for anything else.
    """
    text = text.strip()
    if text.startswith("fd://"):
        try:
            return _number(text[5:], _LAST_FD)
        except ValueError:
            raise BadValue("fd:// and the number of an inherited socket") from None
    if text.startswith("@") and len(text) > 1:
        return _path("\0" + text[1:])
    scheme, _, rest = text.partition(":")
    if rest.startswith("//") or (scheme == "unix" and rest.startswith("/")):
        raise BadValue(f"an address without {scheme}: in front: {_FORMS}")
    host, colon, port = text.rpartition(":")
    if colon and "/" not in text:
        try:
            number = _number(port, 65535)
        except ValueError:
            raise BadValue("host:port with a port from 0 to 65535") from None
        if host.startswith("[") != host.endswith("]") or (":" in host and host[0] != "["):
            raise BadValue("[address]:port for IPv6")
        return host.strip("[]"), number
    if "/" not in text and not text.endswith((".sock", ".socket")):
        raise BadValue(_FORMS)
    return _path(text)


def _path(name: str) -> str:
    """Return the name of a Unix socket, checked; an abstract one begins with NUL."""
    if "\0" in name[1:]:
        raise BadValue("a path without NUL")
    if len(os.fsencode(name)) > 107:
        raise BadValue("a path of 107 bytes at most, the kernel's limit")
    return name


def checked(text: str) -> str:
    """Convert an address: checked, and kept as it is written."""
    parse(text)
    return text.strip()


def public(text: str) -> bool:
    """Tell whether others than this machine and private networks may reach an address as it is written."""
    address = parse(text)
    if isinstance(address, str):
        return False
    try:
        if isinstance(address, int):
            with _Socket(fileno=os.dup(address)) as sock:
                if sock.family == socket.AF_UNIX:
                    return False
                host = sock.getsockname()[0]
        else:
            host = socket.getaddrinfo(address[0] or "0.0.0.0", None)[0][4][0]  # noqa: S104
        found = ip_address(str(host).partition("%")[0])
    except (OSError, UnicodeError):  # binding it will tell
        return False
    return found.is_unspecified or not (found.is_private or found.is_link_local)


def passed_fds(environ: dict[str, str] | None = None) -> list[int]:
    """Return the descriptors that systemd passes (sd_listen_fds), and mark them as taken."""
    env = os.environ if environ is None else environ
    if env.get("LISTEN_PID") != str(os.getpid()):
        return []
    try:
        count = _number(env.get("LISTEN_FDS", ""), 65535)
    except ValueError:
        return []
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        env.pop(name, None)
    return list(range(_FIRST_PASSED_FD, _FIRST_PASSED_FD + count))


def bind(text: str, options: BindOptions, passed: dict[str, int]) -> socket.socket:
    """Return a listening socket for an address; the caller closes it.

    *passed* are systemd's sockets by address: one of the same address is taken from it and used.
    Raise `AddressError` where the address cannot be had.
    """
    address = parse(text)
    try:
        if isinstance(address, int):
            for name in [name for name, fd in passed.items() if fd == address]:
                del passed[name]
            return _inherited(address)
        for name, fd in list(passed.items()):
            if _same(name, text):
                del passed[name]
                return _inherited(fd)
        if isinstance(address, tuple):
            return _bind_tcp(address, options)
        if options.abstract_socket and not address.startswith("\0"):
            address = _path("\0" + address)
        return _bind_unix(address, options)
    except OSError as error:
        raise AddressError(f"cannot listen on {text}: {_explained(error)}", text) from None
    except UnicodeError:  # of the idna codec
        raise AddressError(f"cannot listen on {text}: that is no host name", text) from None


def _bind_tcp(address: tuple[str, int], options: BindOptions) -> socket.socket:
    host, port = address
    family, _, _, _, where = socket.getaddrinfo(
        host or "0.0.0.0",  # noqa: S104  (`:port` means every IPv4 address, as in uWSGI)
        port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE,
    )[0]  # fmt: skip
    sock = _Socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if options.reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted ones inherit it
        if family == socket.AF_INET6:
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
    """Bind, and set the file's owner and mode: before listen(), so that nobody connects meanwhile.

    Where they are set at all, the file is nobody else's from the moment at which it is there: it never has
    wider permissions than it ends with, and not those of a group that it is given away from.
    """
    given = options.chmod_socket is not None or options.chown_socket is not None
    umask = os.umask(0o177) if given else None
    try:
        sock.bind(path)
    finally:
        if umask is not None:
            os.umask(umask)
    try:
        if options.chown_socket is not None:
            os.chown(path, *options.chown_socket)
        if umask is not None:
            os.chmod(path, 0o777 & ~umask if options.chmod_socket is None else options.chmod_socket)
    except OSError:
        os.unlink(path)
        raise


def _remove_stale(path: str) -> None:
    """Remove the socket file that a dead server left; raise `OSError` for a live one's."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError(
                errno.EEXIST, "a file that is no socket is there; move it away or choose another path"
            )
    except FileNotFoundError:
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
    sock.listen(min(options.listen, _longest_backlog()))
    sock.setblocking(False)
    return sock


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
    sock.setblocking(False)
    return sock


def name_of(sock: socket.socket) -> str:
    """Return the address that a socket really has, as an ini file would write it."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        if isinstance(name, bytes):
            name = name.decode("utf-8", "surrogateescape")
        return f"@{name[1:]}" if name.startswith("\0") else str(name)
    host, port = name[:2]
    return f"[{host}]:{port}" if sock.family == socket.AF_INET6 else f"{host}:{port}"


def names_of_passed() -> dict[str, int]:
    """Return systemd's sockets by address."""
    found = {}
    for fd in passed_fds():
        try:
            with _Socket(fileno=os.dup(fd)) as sock:
                found[name_of(sock)] = fd
        except OSError as error:
            raise AddressError(f"LISTEN_FDS names descriptor {fd}: {error.strerror}") from None
    return found


def _same(name: str, text: str) -> bool:
    if name == text or name == os.path.abspath(text):
        return True
    every = (f"0.0.0.0{text}", f"[::]{text}")  # noqa: S104  (a name to compare)
    return text.startswith(":") and name in every


def _explained(error: OSError) -> str:
    hints = {
        errno.EADDRINUSE: "; stop the other server or choose another address",
        errno.EACCES: "; ports below 1024 and foreign directories need more rights",
        errno.ENOENT: "; the directory must exist",
        errno.EBADF: "; who starts this server must pass it",
        errno.EPERM: "; only root gives files to other users",
        errno.EADDRNOTAVAIL: "; no interface of this machine has the address",
    }
    return f"{error.strerror or error}{hints.get(error.errno or 0, '')}"
