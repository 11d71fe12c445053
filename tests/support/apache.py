"""A real Apache in front of the server."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager

import pytest

from tests.support.fronts import GUARD, PATH, accepts, poll
from tests.support.ports import free_port

APACHE = shutil.which("apache2", path=PATH)
MODULES = "/usr/lib/apache2/modules"


@contextmanager
def apache(directory, modules, *sites, common=()):
    """Run Apache with these *modules* and a port for each of *sites*, which are lists of directives; yield the ports."""
    if APACHE is None:
        pytest.skip("apache2 is not installed (apt-get install apache2)")
    ports = [free_port() for _ in sites]
    lines = [
        f"ServerRoot {directory}",
        f"DefaultRuntimeDir {directory}",
        f"Mutex file:{directory}",
        "PidFile apache2.pid",
        "ErrorLog error.log",
        "ServerName localhost",
        *(
            f"LoadModule {name}_module {MODULES}/mod_{name}.so"
            for name in ("mpm_event", "authz_core", "env", "proxy", *modules)
        ),
        *(["User www-data", "Group www-data"] if os.getuid() == 0 else []),
        "StartServers 1",
        "ServerLimit 1",
        "MaxRequestWorkers 25",
        *common,
    ]
    for port, directives in zip(ports, sites, strict=True):
        lines += [
            f"Listen 127.0.0.1:{port}",
            f"<VirtualHost 127.0.0.1:{port}>",
            *directives,
            "</VirtualHost>",
        ]
    conf = directory / "apache2.conf"
    conf.write_text("\n".join([*lines, ""]))
    process = subprocess.Popen([APACHE, "-f", conf, "-DFOREGROUND"], stderr=subprocess.PIPE)

    def running():
        assert process.poll() is None, process.stderr.read().decode()
        return all(map(accepts, ports))

    try:
        poll(running, "Apache does not accept connections")
        yield ports
    finally:
        process.terminate()
        process.wait(GUARD)
        process.stderr.close()
