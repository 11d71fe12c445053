"""AJP 1.3 for appserver, spoken by flup."""
