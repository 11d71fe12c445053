"""Run nginx's own tests with appserver behind it: ``python -m tests.peers.nginx_suite DIRECTORY [FILE ...]``.

DIRECTORY is a checkout of github.com/nginx/nginx-tests, none of which is copied here; it needs perl. Its tests of
uwsgi start whatever is called ``uwsgi``; for this time that is appserver.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.fronts import PATH
from tests.support.server import ROOT

FILES = "uwsgi*.t"
_UWSGI = """#!/bin/sh
PYTHONPATH={root} exec {python} -m appserver "$@"
"""
# The suite loads every module that nginx could load, whether it is installed or not.
_NGINX = """#!/bin/sh
[ "$*" = -V ] && exec sh -c '{nginx} -V 2>&1 | sed s/=dynamic//g >&2'
exec {nginx} "$@"
"""


def run(file, environ):
    """Run one file; return its exit code, how many of its tests passed and failed, and its output."""
    done = subprocess.run(
        ["perl", file.name], cwd=file.parent, env=environ, capture_output=True, text=True, timeout=300
    )
    passed = re.findall(r"^ok \d+", done.stdout, re.MULTILINE)
    failed = re.findall(r"^not ok \d+(?!.*# TODO).*", done.stdout, re.MULTILINE)
    return done.returncode, len(passed), failed, done.stdout + done.stderr


def main():
    """Run the files and print what became of each; exit with 1 where one has failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.peers.nginx_suite")
    parser.add_argument("directory", type=Path, help="a checkout of nginx-tests")
    parser.add_argument("files", nargs="*", help=f"which (default: {FILES})")
    parser.add_argument("--verbose", action="store_true", help="print all output")
    arguments = parser.parse_args()
    names = arguments.files or sorted(each.name for each in arguments.directory.glob(FILES))
    bad = 0
    with tempfile.TemporaryDirectory() as directory:
        nginx = shutil.which("nginx", path=PATH) or "nginx"
        for name, text in (("uwsgi", _UWSGI), ("nginx", _NGINX)):
            shim = Path(directory) / name
            shim.write_text(text.format(root=ROOT, python=sys.executable, nginx=nginx))
            shim.chmod(0o755)
        environ = os.environ | {
            "PATH": f"{directory}:{PATH}",
            "TEST_NGINX_BINARY": f"{directory}/nginx",
            "TEST_NGINX_GLOBALS": "user root;" if os.getuid() == 0 else "",
        }
        for name in names:
            code, passed, failed, output = run(arguments.directory / name, environ)
            if code and not failed:
                failed = [f"it has ended with {code}: {output.strip().splitlines()[-1]}"]
            skipped = re.search(r"^1\.\.0 # SKIP (.*)", output, re.MULTILINE)
            bad += bool(code)
            print(
                f"{name}: {f'skipped: {skipped[1]}' if skipped else f'{passed} passed, {len(failed)} failed'}"
            )
            for each in failed:
                print(f"    {each}")
            if arguments.verbose:
                print(output)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
