"""The reference of all options, docs/options.md, made of their declarations: ``python -m appserver.reference``."""

# ruff: noqa: E501  (the lines of Markdown's tables cannot be broken)

from __future__ import annotations

import sys
from itertools import groupby
from typing import TYPE_CHECKING

from appserver.configuration import Configuration
from appserver.foreign import FOREIGN
from appserver.ini.lines import OWN
from appserver.ini.logic import CONDITIONS, ENDS
from appserver.ini.reader import NAMES
from appserver.log.access import NAMES as NAMES_IN_LOGS

if TYPE_CHECKING:
    from appserver.options import Catalogue, Option

_HEAD = f"""\
# Options

This file is made by `python -m appserver.reference > docs/options.md`; a test fails when it is stale.

Every option stands in a section `[{OWN}]` or `[uwsgi]` of an ini file as `name = value`, on the command line as
`--name value`, and in the environment as `APPSERVER_NAME=value` (upper case, `_` for `-`). Flags are true where they
have no value. The last value of an option counts; those that *repeat* add up. A reload changes all but those that are
*kept until a restart*, and says so where they have changed. The column *uWSGI* says what is not as in uWSGI:
*same* is the same name and meaning, *own* is a name that uWSGI does not have.

Regular expressions are PCRE's, as in uWSGI: `\\d` and `[[:alpha:]]` are of ASCII, `(?i)` may stand anywhere. What
Python's `re` cannot do (`\\K`, `\\R`, `\\p{{L}}`, `(?R)`), or would take for something else (`{{,2}}`), is an error.

`appserver --check site.ini` says all this about the lines of your file.
"""

_LANGUAGE = f"""\
## The language

| | |
|---|---|
| Sections | `[{OWN}]` and `[uwsgi]`, in the order of the file; with `site.ini:prod` only `[prod]` |
| Comments | lines that begin with `;` or `#`; behind a value only in `[{OWN}]` |
| Unknown options | an error in `[{OWN}]` and on the command line; in `[uwsgi]` a variable, with a warning if nothing uses it |
| `%d`, `%n`, `%p` ... | parts of the file's path and more, as in uWSGI; `%%` is a percent sign |
| `$(NAME)`, `$(NAME:-text)` | an environment variable; `text` if it is unset or empty |
| `@(file)`, `@(exec://command)` | what a file has in it, or what a command prints |
| `%(name)` | the first value of an option or a variable; `%(a b)` concatenates, `%(a + 1)` calculates, from the left |
| Includes | {{includes}} |
| Conditions | {{conditions}}, `else`, up to {{ends}} |
| Loops | {{loops}}; `%(_)` is the item, or what the condition has found |
| Variables | `set-placeholder = name=value` (also `set-ph`); `set = name=value` is `name = value`, and `--set name=value` a variable where there is no such option |

Precedence: `APPSERVER_*` variables, then the arguments as they stand, each file where it is named; later ones
override earlier ones. `appserver --processes 4 site.ini` therefore has the file's `processes`, as with uWSGI, and says so;
`appserver site.ini --processes 4` has 4, where uWSGI reads a file that is named without `--ini` last, whatever stands
behind it. `UWSGI_*` variables are read only with `--uwsgi-env` (or `APPSERVER_UWSGI_ENV=true`), and `--check` lists
what was taken from them.

Other than in uWSGI 2.0: `else` and defaults of environment variables, which only its development version has;
environment variables in the names of included files; `listen` and `umask` are expanded like all other options; a file
that includes itself, or a value that contains itself, is an error instead of an endless loop.
"""

_LOGS = """\
`%(name)` stands for one of {names}, or for what the application has set with `uwsgi.set_logvar`. They mean what they
mean in uWSGI; `listener` is ours. What is empty is `-`. `secs` has a fraction, `size` is `hsize` and `rsize` together,
`ftime` is the time in the form of `log-date` where `log-format-strftime` is set. `core`, `switches`, `modifier1`,
`modifier2` and `rerr` are 0 and `pktsize` is `-`, as they have no meaning here. Quotes, backslashes and control
characters of values are escaped as JSON does it.
"""

_EXAMPLES = {
    "file": "/srv/site/file", "directory": "/srv/site", "address": "127.0.0.1:8080", "path": "/run/site/path",
    "seconds": "30", "number": "4", "number or auto": "auto", "megabytes": "512", "octal digits": "660",
    "NAME=value": "LANG=C.UTF-8", "endpoint": "tcp://127.0.0.1:9292", "engine:argument": "file:/var/log/site.log",
    "user[:group]": "www-data:www-data", "user": "www-data", "group": "www-data", "text": "text",
    "send_spec,recv_spec": "tcp://127.0.0.1:9999,tcp://127.0.0.1:9998",
    "module[:callable]": "mysite.wsgi:application",
}  # fmt: skip


def reference(catalogue: Catalogue) -> str:
    """Return the text of docs/options.md."""
    parts = [_HEAD]
    for owner in catalogue.owners:
        if not owner.__module__.startswith("appserver."):  # a plug-in's, which has a README of its own
            continue
        declared = [
            option
            for name, option in catalogue.by_name.items()
            if option.owner is owner and option.name == name
        ]
        if not declared:
            continue
        parts.append(f"## {(owner.__doc__ or owner.__name__).rstrip('.')}\n")
        rows = ["| option | meaning | default | example | uWSGI |", "|---|---|---|---|---|"]
        parts.append("\n".join([*rows, *(_row(option) for option in declared), ""]))
    parts += [_log_variables(), _language()]
    parts.append(_foreign())
    return "\n".join(parts)


def _row(option: Option) -> str:
    names = ", ".join(f"`{name}`" for name in (option.name, *option.aliases))
    if option.short:
        names += f", `-{option.short}`"
    repeats = " Repeats." if option.repeats else ""
    restart = " Kept until a restart." if option.restart else ""
    cells = [
        names,
        f"{option.help}{repeats}{restart}",
        default(option),
        f"`{option.name} = {example(option)}`",
        option.note or "same",
    ]
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def default(option: Option) -> str:
    """Return the value that an option has unless one is given; empty for none."""
    value = option.default
    if option.flag:
        return "true" if value else "false"
    if value in {None, "", ()}:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def example(option: Option) -> str:
    """Return a value that an option may have, as it is written in an ini file."""
    if option.example:
        return option.example
    if option.flag:
        return "true"
    if option.default and isinstance(option.default, (int, float)):
        return default(option)
    return _EXAMPLES.get(option.expects, option.expects)


def _language() -> str:
    def listed(names: list[str]) -> str:
        return ", ".join(f"`{name}`" for name in names)

    return _LANGUAGE.format(
        includes=listed([name for name in ("ini", "include", "inherit") if name in NAMES])
        + " (behind the expansion)",
        conditions=listed(
            sorted(name for name in CONDITIONS if name.startswith("if-") and "-not-" not in name)
        )
        + ", and the same with `if-not-`",
        ends=listed(sorted(ENDS)),
        loops=listed(sorted(name for name in NAMES if name.startswith("for"))),
    )


def _log_variables() -> str:
    names = ", ".join(f"`{name}`" for name in NAMES_IN_LOGS)
    return f"## Variables of log-format\n\n{_LOGS.format(names=names)}\n"


def _foreign() -> str:
    parts = []
    for title, intro, unnecessary in (
        ("Unnecessary here", "uWSGI's options that are accepted, and do nothing because nothing is left to do.", True),
        ("Not supported", f"uWSGI's options that this server does not have: a warning in `[uwsgi]`, an error in `[{OWN}]`.", False),
    ):  # fmt: skip
        parts.append(f"## {title}\n\n{intro}\n")
        chosen = [each for each in FOREIGN.values() if each.unnecessary is unnecessary]
        for why, group in groupby(chosen, lambda each: each.why):
            parts.append(f"* {why}\n  {', '.join(f'`{each.name}`' for each in group)}")
        parts.append("")
    return "\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(reference(Configuration([]).catalogue))
