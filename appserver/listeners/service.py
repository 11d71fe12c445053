"""What a started listener gives its requests to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mypy_extensions import mypyc_attr

from appserver.gateway import Gateway

if TYPE_CHECKING:
    from collections.abc import Callable

    from appserver.cores.contract import Cores
    from appserver.gateway import AccessLog
    from appserver.wsgi import Application


@mypyc_attr(allow_interpreted_subclasses=True)
class Service(Gateway):
    """What one loop's listeners serve: the application and its access log, and the cores that it runs in.

    ``environ`` is what every environ starts from; listeners copy it and add their own. ``followed`` tells,
    once listeners are stopped, whether other processes go on to accept from the sockets that all share, and
    ``orphaned`` whether they are stopped because the master has gone.
    """

    def __init__(
        self,
        app: Application,
        access: AccessLog | None,
        cores: Cores,
        environ: dict[str, Any],
        *,
        followed: Callable[[], bool] = bool,
        orphaned: Callable[[], bool] = bool,
    ) -> None:
        super().__init__(app, access)
        self.cores = cores
        self.environ = environ
        self.followed = followed
        self.orphaned = orphaned
