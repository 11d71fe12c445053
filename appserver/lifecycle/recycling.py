"""Options of when a worker has served long enough: requests, age and memory."""

from __future__ import annotations

from dataclasses import dataclass

from appserver.options import BadValue, changed, option, seconds, whole


def megabytes(text: str) -> int:
    """Convert a number of megabytes, perhaps with a fraction, to bytes."""
    try:
        value = float(text)
    except ValueError:
        raise BadValue("a number of megabytes") from None
    if not 0 <= value < 1e9:
        raise BadValue("a number of megabytes")
    return int(value * 1048576)


@dataclass(frozen=True)
class RecyclingOptions:
    """Recycling."""

    max_requests: int = option(
        0,
        "Replace a worker after so many requests; 0 = never.",
        short="R",
        example="10000",
        note="The successor serves before the worker leaves, not before `min-worker-lifetime`.",
    )
    max_requests_delta: int | None = option(
        None, "Add up to so many to max-requests, at random (default: a tenth of it).",
        convert=whole, expects="number",
        example="500", note="Chance, not the worker's number; a tenth of max-requests without it.",
    )  # fmt: skip
    min_worker_lifetime: float = option(
        10.0,
        "Seconds that a worker serves before it is replaced.",
        note="A `max-worker-lifetime` that is less counts alone; uWSGI does not start with one.",
    )
    max_worker_lifetime: float = option(
        0.0,
        "Replace a worker after so many seconds; 0 = never.",
        example="3600",
        note="The successor serves before the worker leaves.",
    )
    max_worker_lifetime_delta: float | None = option(
        None, "Add up to so many seconds to max-worker-lifetime, at random (default: a tenth of it).",
        convert=seconds, expects="seconds",
        example="300", note="Chance, not the worker's number; a tenth of max-worker-lifetime without it.",
    )  # fmt: skip
    reload_on_rss: int = option(
        0, "Replace a worker that has more megabytes of memory than this.", convert=megabytes,
        expects="megabytes",
        note="Looked at four times a second, not behind each request.",
    )  # fmt: skip
    evil_reload_on_rss: int = option(
        0, "Kill a worker at once that has more megabytes of memory than this.", convert=megabytes,
        expects="megabytes",
        example="1024",
    )  # fmt: skip
    reload_on_as: int = option(
        0, "Replace a worker whose address space has more megabytes than this.", convert=megabytes,
        expects="megabytes", example="2048",
        note="Looked at four times a second. It counts what is only mapped, too: `reload-on-rss` says more.",
    )  # fmt: skip
    evil_reload_on_as: int = option(
        0, "Kill a worker at once whose address space has more megabytes than this.", convert=megabytes,
        expects="megabytes", example="4096",
        note="Its requests are lost; `reload-on-as` loses none.",
    )  # fmt: skip


def astray(options: RecyclingOptions) -> list[tuple[str, str]]:
    """Return options that are in vain beside each other, and why."""
    least, most = options.min_worker_lifetime, options.max_worker_lifetime
    given = [each.name for each in changed(RecyclingOptions(), options)]
    if "min-worker-lifetime" not in given or not 0 < most < least:
        return []
    told = f"max-worker-lifetime is less, {most:g}, and only that counts; uWSGI does not start so"
    return [("min-worker-lifetime", f"{told}; make it less than that")]
