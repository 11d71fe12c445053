"""Where application calls run: so many at once, in greenlets or in native threads."""
