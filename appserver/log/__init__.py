"""Logs: what the server says, and one line for every request, each to where it is wanted."""
