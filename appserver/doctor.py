"""``appserver doctor``: look for what would make greenlets wait for one another, and say what to do."""

from __future__ import annotations

import resource
import sys
import traceback
from typing import TYPE_CHECKING

from appserver.application import LoadError, load
from appserver.blockers import known
from appserver.configuration import Configuration, ConfigurationError
from appserver.lifecycle import privileges
from appserver.lifecycle.error import StartError
from appserver.lifecycle.privileges import PrivilegeOptions
from appserver.patching import Patching
from appserver.plan import ConcurrencyOptions
from appserver.surroundings import prepare

if TYPE_CHECKING:
    from collections.abc import Sequence

_USAGE = """\
usage: appserver doctor [OPTION ...] [FILE.ini[:SECTION]] [MODULE:CALLABLE]

Load the application as the server would, without listening, and look for what would keep greenlets
waiting for one another: libraries that block, parts of the standard library that are not patched, too
few file descriptors. What the application imports only later is not seen; gevent-block-warning is for that.

The exit code is 0 where nothing is found, 1 where something is, 2 where the server would not start.
"""

# What gevent patches, by the name of a module, and what waits in it.
_PATCHED = {
    "time": "time.sleep", "socket": "sockets", "ssl": "TLS", "select": "select", "threading": "locks",
    "subprocess": "child processes", "queue": "queues",
}  # fmt: skip
_EACH = 2  # descriptors of a call: its client's, and one of a database or the like
_PAIR = 2  # more, where simple-websocket has a socket of its own (see `websocket.raw`)
_BASE = 64  # descriptors of the server itself, and of what the application has open


def main(arguments: Sequence[str]) -> int:
    """Print what is found and return the exit code: 0, 1 or 2."""
    if {"-h", "--help"} & set(arguments):
        print(_USAGE, end="")
        return 0
    try:
        configuration = Configuration(arguments)
    except ConfigurationError as error:
        return _fail(error.problems)
    if configuration.problems or configuration.plan is None:
        return _fail(configuration.problems)
    options = configuration.settings.of(ConcurrencyOptions)
    patching = Patching(options, configuration.plan)
    try:
        privileges.rehearse(configuration.settings.of(PrivilegeOptions))
        prepare(configuration.settings, configuration.plan)
        load(configuration.settings, hooks=False)
    except (LoadError, StartError) as error:
        if error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        return _fail([configuration.told(error)])
    print(f"{configuration.what}: {configuration.plan.reason}")
    found = [*configuration.plan.warnings, *patching.warnings]
    if options.gevent:
        found += [*unpatched(), *known()]
    found += descriptors(configuration.plan.cores)
    for each in found:
        print(f"warning: {each}")
    if not found:
        print("nothing was found" + ("" if options.gevent else "; without gevent a call may block its core"))
    return 1 if found else 0


def unpatched() -> list[str]:
    """Return a warning about the parts of the standard library that are not patched, if any are not."""
    from gevent import get_hub, monkey  # noqa: PLC0415  (after the application has been loaded)

    found = []
    names = [name for name in _PATCHED if not monkey.is_module_patched(name)]
    if names:
        what = ", ".join(_PATCHED[name] for name in names)
        found.append(
            f"the standard library is not patched, and what waits in it holds up all other requests: {what};"
            " leave out gevent-monkey-patch = false, or begin the application with gevent.monkey.patch_all()"
        )
    if type(get_hub().resolver).__module__ == "gevent.resolver.blocking":
        found.append(
            "names are looked up by the C library in the loop's own thread (GEVENT_RESOLVER=block), which"
            " holds up all other requests: unset GEVENT_RESOLVER"
        )
    return found


def descriptors(calls: int) -> list[str]:
    """Return a warning if *calls* at once could need more file descriptors than there may be."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    pairs = "simple_websocket" in sys.modules
    needed = _BASE + (_EACH + _PAIR * pairs) * calls
    if limit == resource.RLIM_INFINITY or limit >= needed:
        return []
    more = ", and two for simple-websocket" if pairs else ""
    text = (
        f"a process may open {limit} files, and {calls} calls at once need about {needed}, each for its"
        f" client and a connection of its own{more}, idle clients not counted: set LimitNOFILE={needed * 2}"
        f" in systemd's unit, or ulimit -n {needed * 2} in the shell"
    )
    return [text]


def _fail(problems: list[str]) -> int:
    for problem in problems:
        print(f"appserver: {problem}", file=sys.stderr)
    return 2
