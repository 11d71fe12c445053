"""Build the package; with APPSERVER_COMPILE=1 in the environment, what every request runs through is compiled.

mypyc makes C of the same source. Without it everything works in the same way, at the cost that docs/performance.md
tells.
"""

from __future__ import annotations

import os
import sys

from setuptools import setup

COMPILED = [
    f"appserver/{name}.py"
    for name in (
        "cores",
        "exchange",
        "fairqueue",
        "wsgi",
        "protocols/cgi",
        "protocols/codec",
        "protocols/fastcgi",
        "protocols/fields",
        "protocols/framing",
        "protocols/http",
        "protocols/mongrel2",
        "protocols/scgi",
        "protocols/tnetstring",
        "protocols/upgrade",
        "protocols/uwsgi",
        "listeners/connection",
        "listeners/intake",
        "listeners/outbox",
        "listeners/pull",
        "listeners/request",
        "listeners/responder",
        "listeners/subscription",
        "listeners/turns",
    )
]
# The compiler, and the packages whose types it has to know.
NEEDED = ["mypy>=1.13", "gevent", "msgspec", "pyzmq"]


def extensions() -> list[object]:
    """Return what is to be compiled; nothing while only the requirements are asked for."""
    try:
        from mypyc.build import mypycify  # noqa: PLC0415  (wanted only here)
    except ImportError:
        if "egg_info" not in sys.argv:
            raise
        return []
    return mypycify(COMPILED, group_name="appserver", opt_level="3", debug_level="0")


if os.environ.get("APPSERVER_COMPILE") == "1":
    setup(ext_modules=extensions(), setup_requires=NEEDED)
else:
    setup()
