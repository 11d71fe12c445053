"""What ``--help`` prints: what most people need, an area, all, or one option in detail."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING

from appserver.foreign import FOREIGN, SHORT
from appserver.ini.reader import NAMES as LANGUAGE
from appserver.reference import default, example

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from appserver.options import Catalogue, Option

FLAGS = ("--help", "-h", "--help-all")

_USAGE = """\
usage: appserver [OPTION ...] [FILE.ini[:SECTION]] [MODULE:CALLABLE]
       appserver ctl [--socket PATH | --ini FILE] COMMAND
       appserver doctor [OPTION ...] [FILE.ini[:SECTION]] [MODULE:CALLABLE]
       appserver parity [OPTION ...] [FILE.ini[:SECTION]]

Serve one WSGI application over every listener that the options mount. Every option can stand in
the ini file without its dashes, and on the command line; the last value counts, and an option
that names a listener's address may be given several times. APPSERVER_THREADS=4 in the environment
is threads = 4 before all others.

  ctl COMMAND            Tell a running server to reload, stop and more; see appserver ctl --help.
  doctor                 Load the application, and look for what would block with gevent.
  parity                 Ask over every listener, and tell where answers differ; see parity --help.
  --ini FILE[:SECTION]   Take options from this file.
  --check                Tell what becomes of every line, load the application, listen on nothing.
                         Exit with 2 if it would not start; with --strict, which refuses unknown
                         options in [uwsgi], too, with 1 for warnings.
  --json                 With --check: for machines.
  --show-config          Print the options that result, as an ini file, and exit; uWSGI serves then.
  --uwsgi-env            Take options from UWSGI_* variables, too, and say which.
  --version              Print the version.
  -h, --help [TOPIC]     Print this, or tell of an area or an option, also of one of uWSGI's.
  --help-all             Tell of all options.
"""

# What the first page tells of.
COMMON = {
    "The application": (
        "module", "wsgi-file", "callable", "chdir", "virtualenv", "pythonpath", "env", "mount", "static-map",
    ),
    "Where it listens": (
        "socket", "http-socket", "zeromq", "fastcgi-socket", "scgi-socket", "chmod-socket", "chown-socket",
    ),
    "How much at once": ("processes", "threads", "gevent", "cheaper", "max-queue"),
    "Limits": (
        "harakiri", "max-requests", "reload-on-rss", "limit-post", "buffer-size", "worker-reload-mercy",
    ),
    "Operation": (
        "control-socket", "stats", "touch-reload", "py-autoreload", "logto", "log-format", "disable-logging",
        "uid", "gid", "pidfile", "daemonize", "vacuum",
    ),
}  # fmt: skip

# Values whose form is not made of what is expected by `_value`'s rules.
_VALUES = {
    "octal digits": "OCTAL", "strftime form": "STRFTIME", "number or auto": "NUMBER|auto",
    "same or an origin": "same|ORIGIN", "key or file": "KEY|FILE", "Name: value": '"NAME: VALUE"',
    "minute hour day month weekday command": '"MIN HOUR DAY MON WDAY COMMAND"',
}  # fmt: skip

_NAMES = 34  # columns of an option's name and value
_LEAST, _MOST = 60, 120  # columns of a line


def usage(catalogue: Catalogue, arguments: Sequence[str], width: int) -> tuple[str, bool]:
    """Return what the arguments with one of `FLAGS` in them ask for, and whether there is such a topic.

    Lines have *width* columns, as far as they can be read then. Where an area has the name of an option, two
    dashes before it mean the option.
    """
    width = min(max(width, _LEAST), _MOST)
    at = next(at for at, each in enumerate(arguments) if each in FLAGS)
    if arguments[at] == "--help-all":
        return _all(catalogue, width), True
    topic = " ".join(arguments[at + 1 :]) if at == 0 else ""
    if not topic:
        return _first_page(catalogue, width), True
    name = _by_letter(catalogue, topic) or topic.removeprefix("--")
    if areas := [owner for owner in catalogue.owners if _heading(owner).lower() == topic.lower()]:
        return "\n".join(_area(catalogue, owner, width) for owner in areas), True
    if (declared := catalogue.by_name.get(name)) is not None:
        return _detail(declared, width), True
    if (foreign := FOREIGN.get(name)) is not None:
        judged = "unnecessary here" if foreign.unnecessary else "not supported"
        return f"{name}: an option of uWSGI, {judged}. {foreign.why}\n", True
    if name in LANGUAGE:
        told = f"{name}: it belongs to the language of ini files"
        return f"{told}; docs/options.md in the checkout describes it.\n", True
    if areas := [owner for owner in catalogue.owners if _heading(owner).lower().startswith(topic.lower())]:
        return "\n".join(_area(catalogue, owner, width) for owner in areas), True
    suggestion = catalogue.suggestion(name)
    return f"appserver: there is no option and no area {topic}{suggestion}; see appserver --help\n", False


def _by_letter(catalogue: Catalogue, topic: str) -> str:
    """Return the name of the option that a dash and a letter mean; empty if they mean none."""
    if len(topic) != 2 or topic[0] != "-":
        return ""
    declared = catalogue.by_short.get(topic[1])
    return SHORT.get(topic[1], "") if declared is None else declared.name


def _heading(owner: type) -> str:
    return (owner.__doc__ or owner.__name__).rstrip(".")


def _first_page(catalogue: Catalogue, width: int) -> str:
    parts = [_USAGE]
    for heading, names in COMMON.items():
        parts.append(f"{heading}:")
        parts += [_line(catalogue.by_name[name], width) for name in names]
        parts.append("")
    areas = ", ".join(_heading(owner) for owner in catalogue.owners)
    parts += [
        textwrap.fill(
            f"All options, by area: {areas}. appserver --help AREA lists one of them, and --help OPTION"
            " tells of one option with its default, an example, and what is not as in uWSGI;"
            " so does docs/options.md in the checkout.",
            width,
        ),
        "",
    ]
    return "\n".join(parts)


def _all(catalogue: Catalogue, width: int) -> str:
    return "\n".join([_USAGE, *(_area(catalogue, owner, width) for owner in catalogue.owners)])


def _area(catalogue: Catalogue, owner: type, width: int) -> str:
    lines = [_line(each, width) for each in _of(catalogue, owner)]
    return "\n".join([f"{_heading(owner)}:", *lines, ""])


def _of(catalogue: Catalogue, owner: type) -> Iterator[Option]:
    for name, declared in catalogue.by_name.items():
        if declared.owner is owner and name == declared.name:
            yield declared


def _named(declared: Option) -> str:
    short = f"-{declared.short}, " if declared.short else ""
    value = _value(declared.expects)
    value = "" if declared.flag else f" [{value}]" if declared.bare else f" {value}"
    return f"  {short}--{declared.name}{value}"


def _value(expects: str) -> str:
    """Return how the value of an option is written behind its name: in quotes if it has blanks."""
    if expects in _VALUES:
        return _VALUES[expects]
    words = re.split(", | or ", expects)
    if len(words) > 1:
        return "|".join(words)
    return f'"{expects.upper()}"' if " " in expects else expects.upper()


def _line(declared: Option, width: int) -> str:
    """Return one line about an option; where its sentence does not fit its end is left out."""
    named = _named(declared)
    room = width - max(len(named) + 2, _NAMES)
    return f"{named:<{_NAMES - 2}}  {textwrap.shorten(declared.help, max(room, 20), placeholder=' ...')}"


def _detail(declared: Option, width: int) -> str:
    """Return all about one option."""
    rows = [
        ("value", "none, or true or false" if declared.flag else declared.expects),
        ("default", default(declared) or "none"),
        ("example", f"{declared.name} = {example(declared)}"),
        ("also", ", ".join(declared.aliases)),
        ("several", "the values add up" if declared.repeats else "the last one counts"),
        ("uWSGI", declared.note or "the same"),
        ("area", _heading(declared.owner)),
    ]
    text = [_named(declared).strip(), ""]
    text += textwrap.wrap(declared.help, width - 2, initial_indent="  ", subsequent_indent="  ")
    text.append("")
    for name, value in rows:
        if value:
            text += textwrap.wrap(
                value,
                width,
                initial_indent=f"  {name:<9}",
                subsequent_indent=" " * 11,
                break_long_words=False,
            )
    return "\n".join([*text, ""])
