"""``appserver parity``: one request over every listener, and where the answers differ."""
