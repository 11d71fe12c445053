"""Run the command line as ``python -m appserver``."""

from appserver.cli import run

if __name__ == "__main__":
    run()
