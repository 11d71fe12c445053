"""Serve one WSGI application to nginx and to Mongrel2 from one process."""

__version__ = "0.1.0"
