"""Titles of processes, as ``ps`` and ``top`` show them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from setproctitle import setproctitle

from appserver.application import ApplicationOptions
from appserver.options import option

if TYPE_CHECKING:
    from appserver.options import Settings


@dataclass(frozen=True)
class TitleOptions:
    """Process titles."""

    auto_procname: bool = option(True, "Accepted for compatibility: processes always have titles.")
    procname: str = option("", "Title of every process.", example="mysite")
    procname_master: str = option("", "Title of the master.", example="mysite master")
    procname_prefix: str = option("", "Begin every title with this.", example="mysite-")
    procname_prefix_spaced: str = option("", "Begin every title with this and a space.", example="mysite")
    procname_append: str = option("", "End every title with this.", example="-blue")


def title(settings: Settings, role: str) -> str:
    """Return the title of a process that is *role*: ``appserver: worker 1 (generation 2) site.ini``."""
    options = settings.of(TitleOptions)
    own = (options.procname_master if role == "master" else "") or options.procname
    spaced = f"{options.procname_prefix_spaced} " if options.procname_prefix_spaced else ""
    named = own or f"appserver: {role} {_site(settings)}".rstrip()
    return f"{options.procname_prefix}{spaced}{named}{options.procname_append}"


def set(settings: Settings, role: str) -> None:  # noqa: A001  (called as title.set)
    """Give this process the title of its role."""
    # Of a file's name that is no UTF-8, or a value; setproctitle would refuse it.
    setproctitle(title(settings, role).encode("utf-8", "surrogateescape").decode("utf-8", "replace"))


def _site(settings: Settings) -> str:
    """Return what tells this server from others: the file that mounts its listeners, or its application."""
    for _, mount in settings.mounts:
        if not mount.place.startswith("-"):
            return mount.place.rpartition(":")[0]
    application = settings.of(ApplicationOptions)
    return application.module or application.wsgi_file
