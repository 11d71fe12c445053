"""Loading: once for all workers or in each of them, and the request that shows that it works."""

from __future__ import annotations

from dataclasses import dataclass

from appserver.options import BadValue, option


def target(text: str) -> str:
    """Convert ``warm-up``: a path, or none."""
    if text in {"", "false", "off", "no", "none"}:
        return ""
    if not text.startswith("/") or not text.isascii() or not text.isprintable() or " " in text:
        raise BadValue("a path such as /health, or none")
    return text


@dataclass(frozen=True)
class WarmUpOptions:
    """Loading."""

    lazy_apps: bool = option(
        False, "Load the application in each worker, instead of once before they are forked.",
        aliases=("lazy", "lazy-app"),
        note="`lazy` is the same here; it has no say about sockets.",
    )  # fmt: skip
    warm_up: str = option(
        "/", "The path of a request that each worker answers before it serves; none = no such request.",
        convert=target, expects="path",
        example="/health", note="own",
    )  # fmt: skip
