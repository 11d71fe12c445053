"""Header fields that are added to every answer of the application, or taken from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from appserver.exchange import FIELD_NAME, FIELD_VALUE
from appserver.options import BadValue, octets, option

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from appserver.wsgi import Application


def field(text: str) -> tuple[str, str]:
    """Convert ``add-header``: ``Name: value``."""
    name, colon, value = text.partition(":")
    name, value = name.strip(), octets(value.strip())
    if not colon or not FIELD_NAME(name) or not FIELD_VALUE(value):
        raise BadValue("Name: value")
    return name, value


def name(text: str) -> str:
    """Convert ``del-header``: a name."""
    if not FIELD_NAME(text):
        raise BadValue("the name of a header field")
    return text.lower()


@dataclass(frozen=True)
class HeaderOptions:
    """Header fields."""

    add_header: tuple[tuple[str, str], ...] = option(
        (), "Add this field to every answer.", convert=field, expects="Name: value",
        example="X-Frame-Options: DENY",
    )  # fmt: skip
    del_header: tuple[str, ...] = option(
        (), "Take this field from every answer of the application.", aliases=("rem-header",), convert=name,
        expects="name", example="X-Powered-By",
    )  # fmt: skip


class Headers:
    """Call *app* with its answers' fields changed."""

    def __init__(self, options: HeaderOptions, app: Application) -> None:
        self._added = list(options.add_header)
        self._removed = frozenset(options.del_header)
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            if type(headers) is list:  # anything else is told of by whom it is given to
                headers = [each for each in headers if each[0].lower() not in self._removed] + self._added
            return start_response(status, headers, *exc_info)

        return self._app(environ, start)
