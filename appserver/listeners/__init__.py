"""The places that requests come from: sockets and the reading of them."""
