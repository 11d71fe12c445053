"""Bytes in, bytes out: no socket, greenlet, ZeroMQ, clock or log in this package."""
