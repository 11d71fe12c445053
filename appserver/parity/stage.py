"""A server of our own, with the listeners of a configuration on loopback addresses and `echo` to serve."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from appserver.ini.written import written
from appserver.listeners.options import Mongrel2ServerOptions, StreamOptions
from appserver.listeners.stream import StreamListener
from appserver.options import Setting
from appserver.parity.asking import Mongrel2, Unasked, ask, known
from appserver.spec import Spec
from appserver.trust import TrustOptions

if TYPE_CHECKING:
    from appserver.configuration import Configuration
    from appserver.listeners.listener import Listener
    from appserver.protocols.fronts import Answer, Request

# Who may connect, and what names directories of a Mongrel2 that is not there.
_LEFT_OUT = frozenset({"allow", "mongrel2_upload_dir", "mongrel2_chroot"})
_GRACE = 10.0  # seconds that the server has to stop


class Stage:
    """Serve what *configuration* says of requests, while the context lasts; nothing else of it holds.

    Its options of listeners and of trust are kept, but `allow`, and its application is not loaded.
    """

    def __init__(self, configuration: Configuration) -> None:
        self._ways: dict[Listener, Mongrel2 | str] = {}
        with ExitStack() as stack, ExitStack() as sockets:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="appserver-parity-"))
            settings = _kept(configuration)
            fds = []
            for listener, (_, setting) in zip(
                configuration.listeners, configuration.settings.mounts, strict=True
            ):
                value = ""
                if isinstance(listener, StreamListener) and known(listener.name):
                    sock = sockets.enter_context(socket.create_server(("127.0.0.1", 0)))
                    fds.append(sock.fileno())
                    self._ways[listener] = f"127.0.0.1:{sock.getsockname()[1]}"
                    value = f"fd://{sock.fileno()}"
                elif listener.name == "mongrel2":
                    front = self._ways[listener] = Mongrel2(f"{directory}/{len(self._ways)}")
                    stack.callback(front.close)
                    value = front.specs
                if value:
                    own = Spec(setting.value or "").written(
                        "trusted_proxies", "trusted_headers", "mongrel2_script_name"
                    )
                    settings.append(Setting(setting.name, value + own, setting.place))
            ini = f"{directory}/parity.ini"
            with open(ini, "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(written(settings)[0])
            self._process = subprocess.Popen(  # noqa: S603  (ourselves)
                [sys.executable, "-m", "appserver", "--ini", ini],
                stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, pass_fds=fds,
            )  # fmt: skip
            stack.callback(self._stop)
            sockets.close()  # a server that ends leaves nobody waiting
            self._wait()
            self._stack = stack.pop_all()

    def _wait(self) -> None:
        """Wait until the server is ready; raise `Unasked` where it will not be."""
        assert self._process.stderr is not None
        told = []
        for line in self._process.stderr:
            told.append(line.decode("utf-8", "replace").rstrip())
            if told[-1].endswith(" ready"):
                return
        raise Unasked("\n".join(["a server of our own does not start:", *told]))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def ask(self, listener: Listener, request: Request) -> Answer:
        """Send *request* to our copy of a listener; raise `Unasked`."""
        way = self._ways.get(listener)
        if isinstance(way, Mongrel2):
            return way.ask(request)
        if not isinstance(listener, StreamListener) or way is None or not known(listener.name):
            raise Unasked(f"nothing here speaks {listener.name}")
        return ask(listener, way, request)

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.communicate(timeout=_GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()


def _kept(configuration: Configuration) -> list[Setting]:
    """Return the settings that say something about requests, without what mounts."""
    ours = {
        StreamOptions,
        TrustOptions,
        Mongrel2ServerOptions,
        *(owner for owner, _ in configuration.settings.mounts),
    }
    ours |= {type(each).Options for each in configuration.listeners}
    kept = [
        each
        for each in configuration.effective()
        if (declared := configuration.catalogue.by_name[each.name]).owner in ours
        and not declared.mounts
        and declared.field not in _LEFT_OUT
    ]
    return [
        *kept,
        Setting("module", "appserver.parity.echo:application", ""),
        Setting("disable-logging", "true", ""),
    ]
