"""What is dangerous, or in vain, in how a stream listener is configured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from appserver import address
from appserver.listeners.options import Mongrel2ServerOptions

if TYPE_CHECKING:
    from appserver.listeners.stream import StreamListener


def dangers(listener: StreamListener) -> list[str]:
    """Tell of a public socket whose peers are believed, and of options without any effect."""
    trust, given = listener.trust, listener.given
    name, where = listener.name, listener.address
    public = address.public(given.address)
    found = []
    if public and listener.speaks_for_clients and trust.allow is None:
        found.append(
            f"{name} {where} is open to everybody, and whoever connects may claim any"
            " REMOTE_ADDR, REMOTE_USER and HTTPS: listen on 127.0.0.1 or a Unix socket, or tell by allow"
            " which addresses may connect"
        )
    if public and listener.proxied and trust.trusted_proxies is None:
        found.append(
            f"{name} {where} is open to everybody, and whoever connects may claim any address"
            " by the PROXY protocol: tell by trusted-proxies which addresses may"
        )
    if given.has("enable_proxy_protocol") and listener.speaks_for_clients:
        found.append(f"enable-proxy-protocol has no effect on {name}: its peers name the client anyway")
    if given.has("allow") and isinstance(address.parse(given.address), str):
        found.append(f"allow has no effect on the Unix socket {where}: chmod-socket tells who may connect")
    found += [
        f"{each.name} has no effect on {name} {where}: it is for a zeromq address"
        for each in given.own
        if each.owner is Mongrel2ServerOptions
    ]
    return found
