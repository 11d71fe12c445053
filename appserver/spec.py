"""What mounts a listener: an address, and perhaps options for this listener alone.

    socket = 10.0.0.5:3031, allow=10.0.0.0/24, trusted-proxies=10.0.0.1

An option that does not stand behind an address holds for it as the file says it for all.
"""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, TypeVar

from appserver import address
from appserver.binding import BindOptions
from appserver.listeners.options import Mongrel2ServerOptions
from appserver.options import BadValue, options_of
from appserver.trust import TrustOptions

if TYPE_CHECKING:
    from appserver.options import Option, Settings

T = TypeVar("T")

OWNERS: tuple[type, ...] = (BindOptions, TrustOptions, Mongrel2ServerOptions)
_NEXT = re.compile(r"\s*,\s*(?=[a-z][a-z0-9-]*=)")  # a comma may stand in paths and in lists, too


def _declared() -> dict[str, Option]:
    return {
        name: each for owner in OWNERS for each in options_of(owner) for name in (each.name, *each.aliases)
    }


_DECLARED = _declared()


class Spec:
    """Take the value of an option that mounts; raise `BadValue` for options that are none.

    ``address`` is what stands before them, not checked.
    """

    def __init__(self, text: str) -> None:
        self.address, *rest = _NEXT.split(text.strip())
        self.own: dict[Option, object] = {}
        self._texts: dict[Option, str] = {}
        for each in rest:
            name, _, value = each.partition("=")
            declared = _DECLARED.get(name)
            if declared is None:
                raise BadValue(
                    f"behind the address only {', '.join(sorted(_DECLARED))}; {name} is none of them"
                )
            try:
                self.own[declared] = declared.convert(value.strip())
                self._texts[declared] = f"{name}={value}"
            except BadValue as error:
                raise BadValue(f"{error} for {name}") from None

    def of(self, settings: Settings, owner: type[T]) -> T:
        """Return the options that *owner* declares, with those that are this listener's own."""
        own = {each.field: value for each, value in self.own.items() if each.owner is owner}
        return dataclasses.replace(settings.of(owner), **own)  # type: ignore[type-var]

    def written(self, *fields: str) -> str:
        """Return those of these options that are this listener's own, as they stand behind an address."""
        return "".join(f", {text}" for each, text in self._texts.items() if each.field in fields)

    def has(self, field: str) -> bool:
        """Tell whether an option is this listener's own."""
        return any(each.field == field for each in self.own)


def addresses(settings: Settings) -> list[str]:
    """Return where listeners are mounted, as it is written."""
    return [Spec(setting.value or "").address for _, setting in settings.mounts]


def relative(text: str) -> bool:
    """Tell whether a listener's address is a relative path."""
    try:
        spec = Spec(text)
    except BadValue:
        return False
    return address.relative(spec.address) and not spec.has("abstract_socket")


def checked(text: str) -> str:
    """Convert a listener's address with its options: checked, and kept as it is written."""
    address.parse(Spec(text).address)
    return text.strip()
