"""What becomes of each of Mongrel2's messages in the receiver: a request, a piece of one, or a notice."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from appserver.protocols.codec import ProtocolError
from appserver.protocols.handoff import BODY, NOTICE
from appserver.protocols.mongrel2 import control, may_continue, parse, sender
from appserver.protocols.mongrel2_fields import CREDITS, LAST, OFFSET

if TYPE_CHECKING:
    from collections.abc import Callable

    from appserver.listeners.clients import Clients
    from appserver.listeners.dispatch import Dispatch, Job
    from appserver.listeners.loops import Loops
    from appserver.protocols.mongrel2 import Connection, Message

log = logging.getLogger("appserver.listeners")

# What is looked for in so many bytes of a request.
_CREDITS, _OFFSET, _HEAD = CREDITS.encode(), OFFSET.encode(), 65536
_MOST_AHEAD = 4194304  # bytes of a client's frames that may wait for its loop before one more is too many


class Arrivals:
    """Give requests to *dispatch*, and all else to the loop that has the request it belongs to.

    What is no message of Mongrel2's is told to *strange*.
    """

    def __init__(
        self, name: str, dispatch: Dispatch, loops: Loops, clients: Clients, strange: Callable[[str], None]
    ) -> None:
        self._name = name
        self._dispatch = dispatch
        self._loops = loops
        self._clients = clients
        self._strange = strange
        self._refused = 0  # requests in a row that there was no room for

    def take(self, message: bytes) -> None:
        """Take a message as Mongrel2 has sent it."""
        connection = sender(message)
        if connection is None:
            self._strange("The message does not begin with a UUID and a connection id.")
            return
        if message.startswith(b" @* ", len(connection[0]) + len(connection[1]) + 1):
            try:
                parsed = parse(message)
            except ProtocolError as error:
                self._strange(error.reason)
                return
            if parsed.notice is not None:
                self._notice(parsed, message)
                return
        switched = self._dispatch.switched
        if switched and (job := switched.get(connection)) is not None:
            self._pass_on(job, message)
            return
        if may_continue(message, connection) and self._continue(connection, message):
            return
        if not self._clients.flow_control and message.find(_CREDITS, 0, _HEAD) >= 0:
            with suppress(ProtocolError):  # a loop refuses it
                if parse(message).credits:
                    self._clients.rivals.begin(connection)
                    self._clients.learn()
        self._request(connection, message)

    def _pass_on(self, job: Job, message: bytes) -> None:
        """Pass a frame to the WebSocket's loop, unless too many of its client's wait for that."""
        if job.gone:
            return
        if job.ahead > _MOST_AHEAD:
            self._clients.shed(job)
        else:
            self._loops.pass_on(job, message)

    def _request(self, connection: Connection, message: bytes) -> None:
        attachment = self._clients.attachment
        uploads = message.find(_OFFSET, 0, _HEAD) >= 0 and _uploads(message)
        if uploads and self._dispatch.ended(connection):
            self._clients.release(connection, attachment)
        if self._dispatch.add(connection, message, attachment, uploads=uploads):
            if self._refused:
                log.info("%s: there is room again; %d requests were answered 503", self._name, self._refused)
                self._refused = 0
            return
        if not self._refused:
            log.error(
                "%s: zeromq-queue is full: %d requests wait for a worker; more are answered 503",
                self._name, self._dispatch.size,
            )  # fmt: skip
        self._refused += 1
        self._clients.refuse(connection, attachment, uploads=uploads)

    def _notice(self, notice: Message, message: bytes) -> None:
        """Take credit back; tell the loop that answers a client what else Mongrel2 tells of it."""
        clients, connection = self._clients, notice.connection
        job = self._dispatch.holder(connection)
        if notice.credits:
            clients.learn()
            freed = clients.credits.give((clients.attachment, connection), notice.credits)
            if freed:
                clients.go_on(connection)
            elif freed is None and not self._dispatch.ended(connection):
                clients.rivals.suspect(connection)
            return
        if job is not None:
            self._loops.tell(job, NOTICE, message)
        if notice.notice == "disconnect":
            clients.credits.forget((clients.attachment, connection))
            self._dispatch.disconnect(connection)

    def _continue(self, connection: Connection, message: bytes) -> bool:
        """Pass a later piece of a body to the loop that has its request; return False where it is none."""
        try:
            parsed = parse(message)
        except ProtocolError:  # a loop refuses it
            return False
        if not parsed.continues:
            return False
        job = self._dispatch.holder(connection)
        if job is not None and not job.gone:
            job.uploads = LAST not in parsed.aside
            self._loops.tell(job, BODY, message)
        else:
            if job is None and not self._dispatch.ended(connection):
                self._clients.rivals.suspect(connection)
            self._clients.order(control(connection, credits=1, cancel=True), self._clients.attachment)
        return True


def _uploads(message: bytes) -> bool:
    """Tell whether more of a request's body will come."""
    try:
        aside = parse(message).aside
    except ProtocolError:  # a loop refuses it
        return False
    return OFFSET in aside and LAST not in aside
