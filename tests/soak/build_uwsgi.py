"""Build a uWSGI that serves Mongrel2, for comparison: ``python -m tests.soak.build_uwsgi DIRECTORY``.

Debian's uWSGI has no Mongrel2 plug-in, and the plug-in as shipped sends no body: it takes what
zmq_sendmsg(3) returns, a count of bytes, for an error. That one comparison is corrected. It wants a C
compiler, and the headers of libzmq, libuuid, libjansson (without which it takes no JSON headers) and the
Python that runs this (Debian: libzmq3-dev, uuid-dev, libjansson-dev, python3-dev).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
from pathlib import Path

VERSION = "2.0.31"
BROKEN = "if (zmq_sendmsg(wsgi_req->socket->pub, &reply, 0)) {"
CORRECT = "if (zmq_sendmsg(wsgi_req->socket->pub, &reply, 0) < 0) {"
PROFILE = (
    "[uwsgi]\ninherit = base\nmain_plugin = python\nembedded_plugins = python,gevent,mongrel2\nxml = false\n"
    "append_version = -corrected\n"  # so that a bench can say what it has measured
)


def download(directory, version):
    """Return the unpacked source from PyPI."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
               "--no-binary", ":all:", "--no-deps", "--no-build-isolation", "--dest", directory, f"uwsgi=={version}"]  # fmt: skip
    subprocess.run(command, check=True)
    with tarfile.open(next(directory.glob(f"u[Ww][Ss][Gg][Ii]-{version}.tar.gz"))) as archive:
        if hasattr(tarfile, "data_filter"):  # not in 3.11.3 and before
            archive.extraction_filter = tarfile.data_filter
        archive.extractall(directory)
    return next(each for each in directory.glob(f"u[Ww][Ss][Gg][Ii]-{version}") if each.is_dir())


def correct(source):
    """Correct the comparison in the plug-in."""
    path = source / "plugins" / "mongrel2" / "mongrel2.c"
    text = path.read_text()
    if CORRECT not in text:
        assert text.count(BROKEN) == 1, f"{path} is not as expected"
        path.write_text(text.replace(BROKEN, CORRECT))


def build(directory, version=VERSION):
    """Return the path of the program, built in *directory*."""
    directory = Path(directory).resolve()
    directory.mkdir(parents=True, exist_ok=True)
    source = download(directory, version)
    correct(source)
    (source / "buildconf" / "soak.ini").write_text(PROFILE)
    subprocess.run(
        [sys.executable, "uwsgiconfig.py", "--build", "soak"],
        check=True, cwd=source, env={**os.environ, "UWSGI_BIN_NAME": str(directory / "uwsgi")},
    )  # fmt: skip
    return directory / "uwsgi"


def main():
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak.build_uwsgi", description=__doc__.partition(":")[0]
    )
    parser.add_argument("directory")
    parser.add_argument("--version", default=VERSION, help=f"of uWSGI (default {VERSION})")
    told = parser.parse_args()
    print(build(told.directory, told.version))


if __name__ == "__main__":
    main()
