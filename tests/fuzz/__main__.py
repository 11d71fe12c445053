"""Look for bytes on which a codec stumbles: ``python -m tests.fuzz http --seconds 600``, by atheris (``tox -e fuzz``).

A target is a module of this package with ``check(data)``, which raises where something is wrong, ``PIECES``, of which
wires are made, and ``seeds/NAME/``. What is new is kept in .fuzz/NAME; what fails is written to a file there, and
belongs into the seeds once it is mended.
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from pathlib import Path

HERE = Path(__file__).parent
SEEDS = HERE / "seeds"
TARGETS = sorted(each.name for each in SEEDS.iterdir())


def target(name):
    """Return the module of a target."""
    return import_module(f"tests.fuzz.{name}")


def main():
    """Fuzz one target, or one after the other."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.split("\n\n")[0])
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], help="which (default: all)")
    parser.add_argument("--seconds", type=int, default=600, help="how long in all (default: 600)")
    arguments = parser.parse_args()
    names = arguments.targets or TARGETS
    for name in names:
        if (pid := os.fork()) == 0:  # libFuzzer ends its process
            fuzz(name, max(1, arguments.seconds // len(names)))
        _, status = os.waitpid(pid, 0)
        if status:
            sys.exit(f"{name}: see .fuzz/{name}")


def fuzz(name, seconds):
    """Run libFuzzer on one target; does not return."""
    import atheris

    with atheris.instrument_imports(
        include=[
            "appserver.protocols",
            "appserver.exchange",
            "appserver.ini",
            "appserver.websocket",
            "wsproto",
        ]
    ):
        check = target(name).check
    kept = Path(".fuzz") / name
    kept.mkdir(parents=True, exist_ok=True)
    words = kept / "words"
    words.write_text(
        "".join('"' + "".join(f"\\x{byte:02x}" for byte in piece) + '"\n' for piece in target(name).PIECES)
    )
    corpus = kept / "corpus"
    corpus.mkdir(exist_ok=True)
    options = [
        f"-max_total_time={seconds}",
        f"-artifact_prefix={kept}/",
        f"-dict={words}",
        "-max_len=4096",
        "-timeout=10",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus), str(SEEDS / name)], check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
