"""Serve one WSGI application to nginx and to Mongrel2 from one process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from appserver.websocket.publish import publish

__version__ = "0.1.0"
__all__ = ["publish"]


def __getattr__(name: str) -> Any:
    """Import what applications use when they do: ``appserver ctl`` needs none of it (PEP 562)."""
    if name == "publish":
        from appserver.websocket.publish import publish  # noqa: PLC0415  (most never do)

        return publish
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
