"""Run the command line as ``python -m appserver``."""

import sys

from appserver.cli import main

if __name__ == "__main__":
    sys.exit(main())
