"""CURVE: the keys by which ZeroMQ encrypts a connection and knows its other end (rfc.zeromq.org/spec/26)."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from appserver.options import BadValue

if TYPE_CHECKING:
    from typing import Any

    import zmq

_LENGTH = 40  # characters of a key, in Z85


def server_key(text: str) -> str:
    """Convert a public key: its 40 characters, or the file of a certificate that has it."""
    import zmq.auth  # noqa: PLC0415  (most logs do without ZeroMQ)
    from zmq.utils import z85  # noqa: PLC0415

    if len(text) == _LENGTH:
        with suppress(ValueError, KeyError, TypeError):
            if len(z85.decode(text)) == _LENGTH * 4 // 5:
                return text
    try:
        return zmq.auth.load_certificate(text)[0].decode()
    except (OSError, ValueError) as error:
        why = (
            f"a public key of {_LENGTH} characters (Z85; in an ini file with %% for each %), or the file of a"
            f" certificate: {error}"
        )
        raise BadValue(why) from None


class Curve(NamedTuple):
    """The other end's public key and our own pair, each 40 characters of Z85."""

    server: bytes
    public: bytes
    secret: bytes

    def apply(self, socket: zmq.Socket[Any]) -> None:
        """Have *socket* connect to nobody else; to be called before it connects."""
        socket.curve_serverkey = self.server
        socket.curve_publickey = self.public
        socket.curve_secretkey = self.secret


def keys(server: str, own: str) -> Curve | None:
    """Return the keys for a *server*'s public one, None where there is none.

    *own* is the file of our secret certificate; without one a pair is made that holds until the process
    ends. Raise `OSError` where the file cannot be had, others can read it or it stands alone, or where
    ZeroMQ has no CURVE.
    """
    if not server:
        if own:
            raise OSError("the collector's public key is missing; set log-zeromq-server-key, too")
        return None
    import zmq.auth  # noqa: PLC0415  (most logs do without ZeroMQ)

    if not zmq.has("curve"):
        raise OSError("this libzmq is built without CURVE (libsodium)")
    if not own:
        return Curve(server.encode(), *zmq.curve_keypair())
    if os.stat(own).st_mode & (stat.S_IRGRP | stat.S_IROTH):
        raise OSError(f"others can read the secret key in {own}; chmod 600 it")
    try:
        public, secret = zmq.auth.load_certificate(own)
    except ValueError as error:
        raise OSError(f"{own} is no certificate of ZeroMQ: {error}") from None
    if secret is None:
        raise OSError(f"{own} has no secret key; its name usually ends with .key_secret")
    return Curve(server.encode(), public, secret)
