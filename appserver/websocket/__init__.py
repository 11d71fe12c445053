"""WebSocket (RFC 6455) for the application: the same object behind HTTP and behind Mongrel2."""
