"""The server with all listeners, and real nginx and Mongrel2 before it."""

from __future__ import annotations

import re
import shutil
from contextlib import ExitStack
from pathlib import Path

from tests.soak.ledger import Ledger
from tests.soak.servers import Appserver, Uwsgi
from tests.support.fronts import Configs, Mongrel2, Nginx

DOORS = {"http": 8080, "nginx-uwsgi": 8101, "nginx-fastcgi": 8102, "nginx-scgi": 8103, "nginx-http": 8104,
         "mongrel2": 6767}  # fmt: skip

_SOCKETS = re.compile(r"^(http-socket|socket|fastcgi-socket|scgi-socket) = .*\n", re.MULTILINE)
_BY_WORKERS = re.compile(r"zeromq-dispatch *= *worker")
_FAILED = re.compile(r"^.*\[error\] .*?: \*\d+ (.*?), client: .*? request: \"\w+ /\?([\w-]+)&", re.MULTILINE)


class Site:
    """A directory with everything, on ports of its own; a context manager that starts and ends it.

    *doors* are the front ends that are wanted, *options* lines of the ini file; *uwsgi* is the program to
    soak instead of appserver.
    """

    def __init__(self, directory, options=(), doors=tuple(DOORS), uwsgi=None):
        configs = Configs(directory)
        shutil.copy(Path(__file__).with_name("app.py"), configs.directory)
        text = configs.ini("site.ini").read_text()
        text = re.sub(r"wsgi-file = .*", "wsgi-file = %dapp.py\ndisable-logging = true", text)
        text = re.sub(r"^gevent = .*\n", "", text, flags=re.MULTILINE)
        if uwsgi:  # it ends connections that it was asked to keep, unannounced
            configs.edit("nginx.conf", "nginx.conf", ("fastcgi_keep_conn on;", ""))
        if set(doors) == {"mongrel2"}:
            text = _SOCKETS.sub("", text)
        ini = configs.ini("soak.ini")
        ini.write_text(text + "".join(f"{option}\n" for option in options))
        # A worker's own subscription to Mongrel2 dies with it; a receiver is what several share by default.
        self.shared = not uwsgi and not any(_BY_WORKERS.match(option) for option in options)
        self.doors = {name: configs.port(DOORS[name]) for name in doors}
        self.ledger = Ledger(configs.directory / "ledger")
        self.server = Uwsgi(uwsgi, ini) if uwsgi else Appserver(ini)
        self.mongrel2 = Mongrel2(configs)
        self._nginx = Nginx(configs)
        self._stack = ExitStack()

    def __enter__(self):
        with ExitStack() as stack:
            stack.callback(self.server.stop)
            self.server.start()
            if set(self.doors) - {"http", "mongrel2"}:
                stack.enter_context(self._nginx)
            stack.callback(self.mongrel2.stop)
            self.mongrel2.start()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self._stack.close()

    def explain(self, requests):
        """Note with each failure what nginx says of it; the last word counts, as it may try again."""
        if self._nginx.output.exists():
            told = {name: why for why, name in _FAILED.findall(self._nginx.output.read_text())}
            for sent in requests:
                sent.why = told.get(sent.name, "")
