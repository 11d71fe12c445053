"""AJP 1.3 for Apache's mod_proxy_ajp."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import gevent

from appserver.listeners.stream import StreamListener
from appserver.options import option
from appserver.spec import checked
from appserver_ajp.connection import AjpConnection
from appserver_ajp.server import AjpServer

if TYPE_CHECKING:
    from appserver.listeners.listener import Service
    from appserver.options import Settings


@dataclass(frozen=True)
class AjpOptions:
    """AJP."""

    ajp_socket: tuple[str, ...] = option(
        (), "Serve AJP 1.3 on this address.", convert=checked, expects="address", mounts=True
    )
    ajp_secret: str = option("", "Refuse AJP requests that do not carry this secret.", expects="secret")


class AjpListener(StreamListener):
    """Listen for AJP; flup speaks it, in one greenlet for each connection.

    `StreamListener` binds the address, accepts, counts and closes ``connections`` and removes the
    socket's file; what it does with an accepted connection is replaced.
    """

    name: ClassVar[str] = "ajp"
    Options: ClassVar[type] = AjpOptions

    def __init__(self, spec: str, settings: Settings) -> None:
        super().__init__(spec, settings)
        self.secret: str = settings.of(AjpOptions).ajp_secret

    def start(self, service: Service) -> None:
        self._server = AjpServer(self, service)
        super().start(service)

    def accepted(self, fd: int, peer: Any) -> None:
        connection = AjpConnection(fd, peer, self._server)
        self.connections.add(connection)
        gevent.spawn(self._serve, connection)

    def _serve(self, connection: AjpConnection) -> None:
        try:
            connection.run()
        finally:
            self.connections.discard(connection)
