"""Options of the statistics."""

from __future__ import annotations

from dataclasses import dataclass

from appserver.address import checked, relative
from appserver.options import option


def exposed(text: str) -> str:
    """Return what is dangerous in an address: nobody is asked who he is."""
    host = text.rpartition(":")[0] if "/" not in text and text[:1] != "@" else "localhost"
    local = host in {"localhost", "::1", "[::1]"} or host.startswith(("127.", "fd"))
    return "" if local else "Whoever can connect reads the statistics; try 127.0.0.1, or a path."


@dataclass(frozen=True)
class StatsOptions:
    """Statistics."""

    stats: str = option(
        "", "Report what the server does to whoever connects here, as a JSON document in uWSGI's form.",
        aliases=("stats-server",), convert=checked, expects="address", example="127.0.0.1:9191",
        danger=exposed, relative=relative,
        note="Needs no master. docs/statistics.md says what is not as in uWSGI.",
    )  # fmt: skip
    stats_http: bool = option(
        False, "Read an HTTP request before the statistics, and answer it; else they come at once, and bare.",
        note="No `Access-Control-Allow-Origin`, lest a page of another site read them.",
    )  # fmt: skip
    stats_minified: bool = option(False, "Write the statistics without blanks.", aliases=("stats-min",))
    stats_no_cores: bool = option(False, "Leave out `cores`, of which gevent may have many.", example="true")
