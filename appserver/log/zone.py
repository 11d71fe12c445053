"""Local times as the log has them: in one time zone, whatever the application makes of TZ (tzset(3))."""

from __future__ import annotations

import os
from functools import lru_cache
from time import localtime, struct_time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import tzinfo

_FILES = "/usr/share/zoneinfo"
_LOCAL = "/etc/localtime"

_begun = _kept = os.environ.get("TZ")


def keep(name: str | None) -> None:
    """Have times be in the zone that TZ=*name* means, None for that of the start."""
    global _kept  # noqa: PLW0603  (there is one zone in a process)
    _kept = _begun if name is None else name
    local_time.cache_clear()


@lru_cache(maxsize=64)
def local_time(second: int) -> struct_time:
    """Return the local time of a second since the epoch."""
    if _kept == _begun == os.environ.get("TZ"):
        return localtime(second)
    zone = _zone(_kept)
    if zone is None:
        return localtime(second)
    from datetime import datetime  # noqa: PLC0415  (few applications change TZ)

    at = datetime.fromtimestamp(second, zone)
    offset = at.utcoffset()
    assert offset is not None
    return struct_time((*at.timetuple()[:8], int(bool(at.dst())), at.tzname(), int(offset.total_seconds())))


@lru_cache(maxsize=1)
def _zone(name: str | None) -> tzinfo | None:
    """Return the zone that the C library takes for a value of TZ; None where its rules are in that itself."""
    from datetime import UTC  # noqa: PLC0415
    from zoneinfo import ZoneInfo  # noqa: PLC0415

    path = _LOCAL if name is None else os.path.join(_FILES, name.removeprefix(":"))
    try:
        with open(path, "rb") as file:
            return ZoneInfo.from_file(file)
    except OSError:
        return None if name else UTC
    except ValueError:
        return None
