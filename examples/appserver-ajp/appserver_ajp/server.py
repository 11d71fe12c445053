"""What flup's connections ask their server for: how requests are made, and how they are answered."""

from __future__ import annotations

import hmac
import logging
from typing import TYPE_CHECKING

from flup.server import ajp_base

from appserver.body import Body, too_long
from appserver.protocols.codec import ProtocolError
from appserver_ajp.answer import Answer
from appserver_ajp.request import AjpRequest

if TYPE_CHECKING:
    from appserver.exchange import Exchange
    from appserver.listeners.listener import Service
    from appserver_ajp.listener import AjpListener

log = logging.getLogger("appserver.listeners.ajp")

# flup gives its logger a handler of its own; what it says goes where all of the log goes.
logging.getLogger(ajp_base.LoggerName).handlers.clear()

_PIECE = 65536


class AjpServer(ajp_base.BaseAJPServer):
    """Answer flup's requests with appserver's application.

    flup's own WSGI gateway is `handler`; this one replaces it. Its list of allowed peers is not
    consulted: addresses and the secret decide who may talk to us.
    """

    requestClass = AjpRequest  # noqa: N815  (flup's name)

    def __init__(self, listener: AjpListener, service: Service) -> None:
        super().__init__(service.app, allowedServers=None, loggingLevel=logging.WARNING)
        self.service = service
        self.options = listener.options
        self._listener = listener
        self._base = service.environ | {"appserver.listener": listener.name}

    def handler(self, request: AjpRequest) -> None:
        """Read the body, then have the request answered in a core; in its connection's greenlet."""
        body = Body(self.options.post_buffering, self.options.limit_post)
        try:
            x = self._read(request, body)
            Answer(self._listener, self.service, request.connection, x).run()
        except ProtocolError as error:
            self.warn(error.reason)
            request.refuse(error)
        except EOFError:  # flup would answer; nobody waits for an answer to half a request
            request.connection.failed = True
            self.warn("a request's body ends in its middle")
        finally:
            body.close()

    def _read(self, request: AjpRequest, body: Body) -> Exchange:
        """Return the request with all of its body; raise `ProtocolError` for one that is refused."""
        secret = self._listener.secret.encode()
        if secret and not hmac.compare_digest(request.secret, secret):
            raise ProtocolError("403 Forbidden", "The front end does not send the secret.")
        x = request.exchange(self._base)
        if 0 < self.options.limit_post < x.body_left:
            raise too_long(self.options.limit_post)
        while data := request.input.read(_PIECE):
            body.add(data)
        body.give_to(x.environ)
        return x

    def error(self, request: AjpRequest) -> None:
        """Answer 500 for a fault of this plug-in; flup, which has logged it, would answer 200."""
        request.refuse(ProtocolError("500 Internal Server Error", "Internal Server Error"))

    def warn(self, reason: str) -> None:
        """Log why a peer gets no answer of the application."""
        log.warning("%s %s: %s", self._listener.name, self._listener.address, reason)
