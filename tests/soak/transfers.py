"""Transfers of 1 GiB on every path, and their memory: ``python -m tests.soak.transfers --help``.

The front ends buffer nothing. An upload and a download on each path show the peak of the server's processes
above what they had before; then a client on each path, all at once, reads so slowly that the whole would take
hours, and its application's lead over it is looked at: what the application has made that the client has not.
"""

from __future__ import annotations

import argparse
import mmap
import os
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack

from tests.peers.client import family, forget_peak, memory
from tests.support.fronts import Configs, Mongrel2, Nginx
from tests.support.server import Server

PATHS = {"http": 8080, "nginx-http": 8104, "nginx-uwsgi": 8101, "nginx-fastcgi": 8102, "nginx-scgi": 8103,
         "mongrel2": 6767}  # fmt: skip
# With scgi_request_buffering off nginx 1.22 announces only the bytes that it has at that moment.
UPLOADS = [name for name in PATHS if name != "nginx-scgi"]
APP = """\
import mmap, os, struct

PIECE = bytes(65536)
file = os.open("made", os.O_RDWR)
made = memoryview(mmap.mmap(file, 4096)).cast("Q")


def down(environ, place, size):
    made[place] = 0
    while made[place] < size:
        made[place] += len(PIECE)
        yield PIECE


def app(environ, start_response):
    place, _, size = environ["QUERY_STRING"].partition("&")
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    if environ["REQUEST_METHOD"] == "GET":
        return down(environ, int(place), int(size))
    count = 0
    while data := environ["wsgi.input"].read(65536):
        count += len(data)
    return [b"%d" % count]
"""


class Site:
    """A server with all listeners, and front ends that pass everything on as it comes."""

    def __init__(self, directory):
        configs = Configs(directory)
        (configs.directory / "transfers.py").write_text(APP)
        (configs.directory / "made").write_bytes(bytes(4096))
        with (configs.directory / "made").open("r+b") as file:
            self.made = memoryview(mmap.mmap(file.fileno(), 4096)).cast("Q")
        off = " ".join(f"{each}_{what} off;" for each in ("proxy", "uwsgi", "fastcgi", "scgi")
                       for what in ("request_buffering", "buffering"))  # fmt: skip
        configs.edit("nginx.conf", "nginx-off.conf", ("    access_log off;", f"\\g<0> {off}"))
        configs.edit("mongrel2.conf", "flow.conf",
                     ('"upload.temp_store": .*', '"download.flow_control": 1, "upload.stream": 1,'))  # fmt: skip
        self.ports = {name: configs.port(port) for name, port in PATHS.items()}
        self.server = Server(
            "--module", "transfers:app", "--gevent", 100, "--post-buffering", 0, "--disable-logging",
            "--http", f"127.0.0.1:{configs.port(8080)}", "--socket", f"127.0.0.1:{configs.port(3031)}",
            "--fastcgi-socket", f"127.0.0.1:{configs.port(9000)}",
            "--scgi-socket", f"127.0.0.1:{configs.port(4000)}", "--zeromq", configs.specs(), cwd=configs.directory,
        )  # fmt: skip
        self._fronts = [Nginx(configs, "nginx-off.conf"), Mongrel2(configs, "flow.conf")]
        self._stack = ExitStack()

    def __enter__(self):
        for each in (self.server, *self._fronts):
            self._stack.enter_context(each)
        return self

    def __exit__(self, *_):
        self._stack.close()

    def settled(self):
        """Return the memory of the server's processes, in MiB, whose peaks begin anew."""
        found = {}
        for pid in family(self.server.process.pid):
            forget_peak(pid)
            found[pid] = memory(pid, "VmRSS")
        return found

    def growth(self, before):
        """Return by how many MiB the processes have grown at most since `settled`."""
        return sum(max(0, memory(pid, "VmHWM") - had) for pid, had in before.items())


def transfer(site, path, size, upload):
    """Have curl transfer *size* bytes; return the MiB a second and the growth of memory."""
    url = f"http://127.0.0.1:{site.ports[path]}/?{list(PATHS).index(path)}&{size}"
    with tempfile.NamedTemporaryFile() as file:
        os.truncate(file.name, size)
        words = ["-T", file.name] if upload else ["-o", os.devnull, "-w", "%{size_download}"]
        before = site.settled()
        began = time.monotonic()
        told = subprocess.run(
            ["curl", "-qsS", "-H", "Expect:", *words, url], capture_output=True, text=True, check=True
        ).stdout
        took = time.monotonic() - began
    if told != str(size):
        raise SystemExit(f"{path}: {told} bytes of {size}")
    return size / took / (1 << 20), site.growth(before)


def slowly(site, rate, seconds, size):
    """Read on all paths at once; return each one's bytes, the most its application was ahead, and the growth."""
    pause = 0.1
    before = site.settled()
    with ExitStack() as stack:
        clients = []
        for place, path in enumerate(PATHS):
            sock = stack.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            sock.connect(("127.0.0.1", site.ports[path]))
            site.made[place] = 0
            sock.sendall(b"GET /?%d&%d HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % (place, size))
            clients.append(sock)
        read, ahead = [0] * len(clients), [0] * len(clients)
        began = time.monotonic()
        while (now := time.monotonic()) - began < seconds:
            for place, sock in enumerate(clients):
                due = int((now - began) * rate) - read[place]
                if due > 0:
                    read[place] += len(sock.recv(due))
                ahead[place] = max(ahead[place], site.made[place] - read[place])
            time.sleep(pause)
        return dict(zip(PATHS, zip(read, ahead, strict=True), strict=True)), site.growth(before)


def main():
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.transfers", description=__doc__)
    parser.add_argument("--mib", type=int, default=1024, help="size of a transfer [1024]")
    parser.add_argument("--rate", type=int, default=100, help="KiB a second of the slow clients [100]")
    parser.add_argument("--seconds", type=float, default=60, help="for which they are watched [60]")
    told = parser.parse_args()
    size = told.mib << 20
    with tempfile.TemporaryDirectory() as directory, Site(directory) as site:
        for path in PATHS:
            transfer(site, path, 16 << 20, False)  # what is made at the first time
        for word, upload in (("down", False), ("up", True)):
            for path in UPLOADS if upload else PATHS:
                speed, grown = transfer(site, path, size, upload)
                print(
                    f"{told.mib} MiB {word:4} {path:14} {speed:7.0f} MiB/s, memory + {grown} MiB", flush=True
                )
        found, grown = slowly(site, told.rate * 1024, told.seconds, size)
        for path, (read, ahead) in found.items():
            print(
                f"slow {path:14} {read / 1024:8.0f} KiB read, application ahead by {ahead / 1024:.0f} KiB at most"
            )
        print(f"slow, all {len(found)} at once: memory + {grown} MiB in {told.seconds:.0f} s")


if __name__ == "__main__":
    main()
