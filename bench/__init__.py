"""The bench: this server beside others, measured by anybody: ``python -m bench --help``."""
