"""What flup's connections ask their server for: how requests are made, and how they are answered."""

from __future__ import annotations

import hmac
import logging
from typing import TYPE_CHECKING

from flup.server import ajp_base

from appserver.body import Body
from appserver.protocols.codec import ProtocolError
from appserver.protocols.framing import TOO_LARGE
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
        body = Body(self.options.post_buffering)
        try:
            x = self._read(request, body)
            Answer(self.service, request.connection, x).run()
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
        limit = self.options.limit_post
        size = x.body_left
        try:
            while not (limit and size > limit) and (data := request.input.read(_PIECE)):
                body.add(data)
                size = body.size
        except OSError as error:  # no room for the temporary file
            raise ProtocolError("507 Insufficient Storage", f"The body: {error.strerror}.") from None
        if limit and size > limit:
            raise ProtocolError(TOO_LARGE, f"The body has more than the {limit} bytes of limit-post.")
        x.environ["wsgi.input"] = body.reader()
        if body.size or "CONTENT_LENGTH" in x.environ:
            x.environ["CONTENT_LENGTH"] = str(body.size)
        return x

    def error(self, request: AjpRequest) -> None:
        """Answer 500 for a fault of this plug-in; flup, which has logged it, would answer 200."""
        request.refuse(ProtocolError("500 Internal Server Error", "Internal Server Error"))

    def warn(self, reason: str) -> None:
        """Log why a peer gets no answer of the application."""
        log.warning("%s %s: %s", self._listener.name, self._listener.address, reason)
