"""What the bench needs and does not install: whether it is there, and how to get it."""

from __future__ import annotations

import importlib.util
import os
import shutil
from dataclasses import dataclass, replace
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"


@dataclass(frozen=True)
class Requirement:
    """A program on the path, a module or a distribution of this interpreter, or a file."""

    kind: str  # program, module, distribution or file
    name: str
    source: str  # where it comes from

    def missing(self) -> bool:
        """Tell whether it is not there."""
        if self.kind == "program":
            return shutil.which(self.name, path=PATH) is None
        if self.kind == "module":
            return importlib.util.find_spec(self.name) is None
        if self.kind == "distribution":
            return not list(distributions(name=self.name))
        return not Path(self.name).exists()


_OURS = "pip install -e '.[bench]'"
# What this server imports, and some of the others.
STANDS_ON = ("gevent", "zmq", "h11", "httptools", "msgspec", "wsproto", "setproctitle")

REQUIREMENTS = {
    each.name: each
    for each in (
        Requirement("program", "wrk", "apt-get install wrk"),
        Requirement("program", "nginx", "apt-get install nginx-light"),
        Requirement("program", "mongrel2", "apt-get install mongrel2-core"),
        Requirement("program", "m2sh", "apt-get install mongrel2-core"),
        Requirement("program", "cc", "apt-get install gcc libc6-dev"),
        Requirement("file", "/usr/include/zmq.h", "apt-get install libzmq3-dev"),
        Requirement(
            "program",
            "uwsgi",
            "python -m tests.soak.build_uwsgi DIRECTORY, and --uwsgi DIRECTORY/uwsgi; or apt-get install "
            "uwsgi-core uwsgi-plugin-python3 uwsgi-plugin-gevent-python3 (without Mongrel2)",
        ),
        *(
            Requirement("module", name, f"pip install {name}")
            for name in ("gunicorn", "granian", "waitress", "cheroot", "flup")
        ),
        Requirement("distribution", "appserver", _OURS),
        Requirement(
            "program",
            "appserver-compiled",
            "APPSERVER_COMPILE=1 pip install . in another environment, and --compiled its bin/appserver",
        ),
        *(Requirement("module", name, _OURS) for name in STANDS_ON),
        Requirement("module", "bjoern", "apt-get install libev-dev gcc, and pip install bjoern"),
    )
}


def provide(name: str, program: str) -> None:
    """Take the program of a path for the requirement of a name."""
    REQUIREMENTS[name] = replace(REQUIREMENTS[name], name=program)


def missing(names: Iterable[str]) -> list[Requirement]:
    """Return those of the named requirements that are not there."""
    return [REQUIREMENTS[name] for name in dict.fromkeys(names) if REQUIREMENTS[name].missing()]
