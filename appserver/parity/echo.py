"""An application that answers with what it was given: its environ and its body, as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer any request (WSGI); objects are told by the name of their class."""
    try:
        body = environ["wsgi.input"].read().decode("latin-1")
    except OSError as error:
        body = f"{type(error).__name__}: {error}"
    told = {
        key: value if isinstance(value, (str, bool, int, float, type(None))) else _named(value)
        for key, value in environ.items()
    }
    text = json.dumps({"environ": told, "body": body}, sort_keys=True).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(text)))])
    return [text]


def _named(value: object) -> str:
    return "1.0" if value == (1, 0) else getattr(type(value), "__name__", "")
