"""The server with all listeners, and real nginx and Mongrel2 before it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from tests.support.fronts import Configs, Mongrel2, Nginx
from tests.support.server import Server

DOORS = {"http": 8080, "nginx-uwsgi": 8101, "nginx-fastcgi": 8102, "nginx-scgi": 8103, "nginx-http": 8104,
         "mongrel2": 6767}  # fmt: skip


class Soaked:
    """A directory with everything, on ports of its own; a context manager that starts and ends it."""

    def __init__(self, directory, *options):
        self.configs = Configs(directory)
        shutil.copy(Path(__file__).with_name("app.py"), self.configs.directory)
        text = self.configs.ini("site.ini").read_text()
        text = re.sub(r"wsgi-file = .*", "wsgi-file = %dapp.py\ndisable-logging = true", text)
        self.configs.ini("soak.ini").write_text(text + "".join(f"{option}\n" for option in options))
        self.ledger = self.configs.directory / "ledger"
        self.ledger.touch()
        self.nginx, self.mongrel2 = Nginx(self.configs), Mongrel2(self.configs)
        self.server = None

    @property
    def doors(self):
        return {name: self.configs.port(port) for name, port in DOORS.items()}

    def workers(self):
        """Return the pids of the workers that have answered last."""
        lines = self.ledger.read_text().splitlines()[-200:]
        return sorted({int(line.split()[1]) for line in lines})

    def __enter__(self):
        self.server = Server("--ini", self.configs.ini("soak.ini"), cwd=self.configs.directory)
        try:
            self.server.start()
            self.nginx.start()
            self.mongrel2.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.mongrel2.stop()
        self.nginx.stop()
        self.server.__exit__()
