"""Real uwsgi.ini files, made so that they can be started here: their options stay, their places are ours."""

from __future__ import annotations

import os
import re
from pathlib import Path

CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus" / "uwsgi-ini"

# Whatever a file calls its application is this one.
APP = """
class Application:
    def __call__(self, environ=None, start_response=None):
        if environ is None:
            return self  # a factory
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"it works"]

application = Application()

def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return application
"""

_SOCKETS = {"socket", "http", "http-socket", "uwsgi-socket", "http11-socket", "fastcgi-socket", "scgi-socket"}
_FILES = {
    "pidfile", "pidfile2", "safe-pidfile", "touch-reload", "touch-chain-reload", "touch-logreopen", "touch-logrotate",
    "log-backupname", "mimefile", "control-socket",
}  # fmt: skip
_DIRECTORIES = {"chdir", "chdir2", "check-static", "envdir"}
_APPLICATIONS = {"module", "wsgi"}
_NUMBERS = {"processes", "workers", "threads", "cheaper", "cheaper-initial", "listen", "gevent"}
_LINE = re.compile(r"^(\s*)([^=;#\[\s][^=]*?)(\s*=\s*)(.*?)(\s*)$")


class Site:
    """One file of the corpus in a directory of its own."""

    def __init__(self, source, directory):
        self.directory = Path(directory)
        self.directory.mkdir()
        (self.directory / "corpus_app.py").write_text(APP)
        (self.directory / "empty.ini").write_text("[uwsgi]\n")
        self.ini = self.directory / source.name
        text = source.read_text(encoding="utf-8", errors="surrogateescape")
        self.environ = {
            name: "1" for name in re.findall(r"\$\((\w+)\)", text) if name not in os.environ
        }  # fmt: skip
        self._sockets = 0
        self.path = "/"
        lines = [self._rewritten(line) for line in text.split("\n")]
        self.ini.write_text("\n".join(lines), encoding="utf-8", errors="surrogateescape")

    def _rewritten(self, line):
        match = _LINE.match(line)
        if match is None:
            return line
        indent, key, equals, value, _ = match.groups()
        changed = self._value(key, value)
        return f"; {line}" if changed is None else f"{indent}{key}{equals}{changed}"

    def _value(self, key, value):
        """Return what stands here in the place of a value; None where the line would touch this machine."""
        if key.startswith(("hook-", "exec-", "attach-", "smart-attach-")) or key in {
            "cron",
            "unique-cron",
            "touch-exec",
        }:
            return None
        if key in {"stats", "stats-server"}:
            return "127.0.0.1:0"
        if key in _SOCKETS:
            self._sockets += 1
            tcp = re.search(r":[^/]*$", value) or key.startswith("http")
            return "127.0.0.1:0" if tcp else f"{self.directory}/{self._sockets}.sock"
        if key in _APPLICATIONS:
            return "corpus_app" + re.sub(r"^[^:]*", "", value)
        if key in {"wsgi-file", "file"}:
            return f"{self.directory}/corpus_app.py"
        if key in {"mount", "worker-mount"}:
            self.path = "/" + value.partition("=")[0].strip("/!")
            return f"{self.path}={self.directory}/corpus_app.py"
        if key in {"import", "shared-import"}:
            return "corpus_app"
        if key in _DIRECTORIES:
            return str(self.directory)
        if key in {"virtualenv", "venv", "home", "pyhome"}:
            return None  # there is one Python here
        if key in {"daemonize", "daemonize2", "logto", "logto2"}:
            return None  # the tests read the log on stderr
        if key in _FILES:
            return f"{self.directory}/{key}"
        if key in {"logger", "req-logger", "logger-req"}:
            return re.sub(r"file:.*", "stdio", value)
        if key in {"uid", "gid", "add-gid"}:
            return str(os.getuid() if key == "uid" else os.getgid())
        if key == "chown-socket":
            return f"{os.getuid()}:{os.getgid()}"
        if key in {"ini", "include"} and not value.startswith(":"):
            return f"{self.directory}/empty.ini"
        if key in _NUMBERS and value.isdigit():
            return str(min(int(value), 2))  # the machine that runs the tests is small
        if re.search(r"[{}<>!]|\$\{", value) and key in {*_NUMBERS, "harakiri", "max-requests"}:
            return "1"  # a template's
        return value

    def fields(self, listener):
        """Return what a front end tells besides: where it has mounted an application."""
        mounted = self.path != "/" and listener in {"uwsgi", "scgi"}
        return {"params": [("SCRIPT_NAME", self.path)]} if mounted else {}

    def arguments(self):
        """Return the arguments to start it with: what it gets from elsewhere is added."""
        text = "\n".join(
            line for line in self.ini.read_text(errors="surrogateescape").split("\n") if line[:1] not in ";#"
        )
        more = []
        if not re.search(r"(?m)^\s*(module|wsgi|wsgi-file|file|mount)\s*=", text):
            more += ["--module", "corpus_app"]
        if not self._sockets:
            more += ["--http-socket", "127.0.0.1:0"]
        return ["--ini", str(self.ini), *more]
