"""Build the package; APPSERVER_COMPILE=1 in the environment has what every request runs through compiled.

mypyc makes C of the same source. Without it all works in the same way, only slower (docs/performance.md).
"""

from __future__ import annotations

import os
import sys

from setuptools import Extension, setup

# Without `wsgi`: what has compiled has no frames, and `stacks` finds a running call by that of `wsgi.call`.
COMPILED = [
    f"appserver/{name}.py"
    for name in (
        "answer",
        "body",
        "cores/contract",
        "cores/greenlets",
        "cores/queueing",
        "cores/threads",
        "exchange",
        "gateway",
        "listeners/channel",
        "listeners/connection",
        "listeners/inlet",
        "listeners/intake",
        "listeners/portions",
        "listeners/pull",
        "listeners/request",
        "listeners/responder",
        "listeners/sender",
        "listeners/service",
        "listeners/share",
        "listeners/stream",
        "listeners/subscription",
        "listeners/turns",
        "protocols/cgi",
        "protocols/codec",
        "protocols/fastcgi",
        "protocols/fields",
        "protocols/forms",
        "protocols/framing",
        "protocols/http",
        "protocols/lines",
        "protocols/mongrel2",
        "protocols/mongrel2_fields",
        "protocols/proxied",
        "protocols/repeated",
        "protocols/scgi",
        "protocols/tnetstring",
        "protocols/upgrade",
        "protocols/uwsgi",
        "protocols/variables",
    )
]
# The compiler, and the packages whose types it has to know.
NEEDED = ["mypy>=2.4", "gevent", "msgspec", "pyzmq", "wsproto"]
# Nobody replaces one of the library's own functions, or Python's, behind its back: calls go to them at once.
DIRECT = ["-fno-semantic-interposition", "-fno-plt"]
BUILDS = {"build_ext", "bdist_wheel", "editable_wheel"}  # commands; others only ask what there is


def extensions() -> list[Extension]:
    """Return what is to be compiled."""
    from mypyc.build import mypycify  # noqa: PLC0415  (who only asks has no compiler)

    found: list[Extension] = mypycify(COMPILED, opt_level="3", debug_level="0")
    for each in found:
        each.extra_compile_args += DIRECT
    return found


if os.environ.get("APPSERVER_COMPILE") == "1":
    setup(ext_modules=extensions() if BUILDS & set(sys.argv) else [], setup_requires=NEEDED)
else:
    setup()
