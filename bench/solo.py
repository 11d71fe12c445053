"""Serve with a library that has no command: ``python -m bench.solo NAME DOOR ADDRESS MODULE:APP``."""

from __future__ import annotations

import importlib
import sys
from typing import Any


def serve(name: str, door: str, address: str, app: Any) -> None:
    """Serve until the process is ended; access logs are off, all else is as the library has it."""
    host, _, port = address.rpartition(":")
    if name == "bjoern":
        import bjoern  # noqa: PLC0415 - one library of several

        bjoern.run(app, host, int(port))
    elif name == "cheroot":
        from cheroot.wsgi import Server  # noqa: PLC0415

        Server((host, int(port)), app, request_queue_size=1024).start()
    elif name == "pywsgi":
        from gevent.pywsgi import WSGIServer  # noqa: PLC0415

        WSGIServer((host, int(port)), app, log=None).serve_forever()
    elif door == "fastcgi":
        from flup.server.fcgi import WSGIServer as Fastcgi  # noqa: PLC0415

        Fastcgi(app, bindAddress=address, umask=0o077, debug=False).run()
    else:
        from flup.server.scgi import WSGIServer as Scgi  # noqa: PLC0415

        Scgi(app, bindAddress=address, umask=0o077, debug=False, scriptName="", loggingLevel=50).run()


if __name__ == "__main__":
    module, _, attribute = sys.argv[4].partition(":")
    serve(sys.argv[1], sys.argv[2], sys.argv[3], getattr(importlib.import_module(module), attribute))
