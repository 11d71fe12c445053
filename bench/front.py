"""Real front ends before the server that is measured, with connections kept and nothing limited."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Protocol

from bench.wire import UUID
from tests.support import fronts

if TYPE_CHECKING:
    from bench.place import Place

NGINX = """\
#   nginx -e stderr -p . -c nginx.conf
daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr;
{user}
events {{ worker_connections 4096; }}

http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path nginx-tmp;
    proxy_temp_path nginx-tmp;
    fastcgi_temp_path nginx-tmp;
    uwsgi_temp_path nginx-tmp;
    scgi_temp_path nginx-tmp;
    upstream backend {{ server unix:{address}; keepalive 512; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            include /etc/nginx/{door}_params;
            {door}_pass {target};
            {more}
        }}
    }}
}}
"""

MONGREL2 = """\
#   mkdir -p run logs tmp
#   m2sh load -config mongrel2.conf -db config.sqlite
#   m2sh start -db config.sqlite -name site
backend = Handler(
    send_spec='{push}',
    send_ident='{uuid}',
    recv_spec='{sub}',
    recv_ident='',
    protocol='tnetstring')
site = Server(
    uuid="f400bf85-4538-4f7a-8908-67e313d515c2",
    access_log="/logs/access.log",
    error_log="/logs/error.log",
    chroot="./",
    pid_file="/run/mongrel2.pid",
    default_host="127.0.0.1",
    name="site",
    bind_addr="127.0.0.1",
    port={port},
    hosts=[Host(name="127.0.0.1", routes={{'/': backend}})])
servers = [site]
settings = {{"server.daemonize": 0, "zeromq.threads": 1}}
"""


class Front(Protocol):
    """A front end that is started already or will be."""

    def start(self) -> Front:
        """Start it and wait until it accepts connections."""

    def stop(self) -> None:
        """End it; safe twice."""

    def pid(self) -> int:
        """Return the process that serves."""


def front(name: str, place: Place) -> tuple[Front, int]:
    """Return a front end, not started yet, that passes all on to a place, and its HTTP port."""
    directory = Path(place.directory)
    port = fronts.free_port()
    if name == "nginx":
        kept = place.door == "fastcgi"
        text = NGINX.format(
            user="user root;" if os.geteuid() == 0 else "",
            address=place.address,
            port=port,
            door=place.door,
            target="backend" if kept else f"unix:{place.address}",
            more="fastcgi_keep_conn on;" if kept else "",
        )
    else:
        text = MONGREL2.format(push=place.push, sub=place.sub, uuid=UUID, port=port)
    (directory / f"{name}.conf").write_text(text)
    kind = fronts.Nginx if name == "nginx" else fronts.Mongrel2
    made: Front = kind(SimpleNamespace(directory=directory), f"{name}.conf")
    return made, port
