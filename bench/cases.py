"""The cases: hello, waiting, large bodies, and what a server takes before and beside its requests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bench.case import Case, Goal

MIB = 1 << 20
GIB = 1 << 30
DOORS = ("http", "uwsgi", "fastcgi", "scgi")

HELLO = (
    Case(
        "http",
        "HTTP, connections kept (wrk)",
        "http",
        (
            "appserver",
            "uwsgi-http11",
            "uwsgi",
            "bjoern",
            "granian",
            "waitress",
            "cheroot",
            "pywsgi",
            "gunicorn-gevent",
            "gunicorn-sync",
            "appserver-compiled",
            "floor",
            "bare",
        ),
        load="wrk",
        goals=(
            Goal("cpu", "uwsgi-http11", 0.75),
            Goal("cpu", "granian"),
            Goal("cpu", "granian", ours="appserver-compiled"),
            Goal("cpu", "bjoern"),
            Goal("cpu", "bjoern", ours="appserver-compiled"),
        ),
    ),
    Case(
        "http-close",
        "HTTP, one request for each connection",
        "http",
        ("appserver", "uwsgi", "bjoern", "granian", "waitress", "gunicorn-sync", "appserver-compiled"),
        keep=False,
    ),
    Case(
        "uwsgi",
        "uwsgi, one request for each connection",
        "uwsgi",
        (
            "appserver",
            "appserver-gevent",
            "uwsgi",
            "uwsgi-gevent-100",
            "gunicorn-sync",
            "gunicorn-gthread",
            "gunicorn-gevent",
            "appserver-compiled",
            "appserver-gevent-compiled",
            "floor",
            "bare",
        ),
        keep=False,
        goals=(
            Goal("cpu", "uwsgi"),
            Goal("cpu", "uwsgi-gevent-100", 0.5, ours="appserver-gevent"),
            Goal("cpu", "uwsgi", ours="appserver-compiled"),
            Goal("cpu", "uwsgi-gevent-100", 0.5, ours="appserver-gevent-compiled"),
        ),
    ),
    Case(
        "fastcgi-close",
        "FastCGI, one request for each connection",
        "fastcgi",
        ("appserver", "uwsgi", "flup", "appserver-compiled"),
        keep=False,
    ),
    Case(
        "fastcgi-keep",
        "FastCGI, connections kept",
        "fastcgi",
        ("appserver", "uwsgi", "flup", "appserver-compiled", "floor", "bare"),
        goals=(Goal("cpu", "uwsgi", 0.75), Goal("cpu", "uwsgi", 0.75, ours="appserver-compiled")),
    ),
    Case(
        "scgi",
        "SCGI, one request for each connection",
        "scgi",
        ("appserver", "uwsgi", "flup", "appserver-compiled", "floor", "bare"),
        keep=False,
        goals=(Goal("cpu", "uwsgi"), Goal("cpu", "uwsgi", ours="appserver-compiled")),
    ),
    Case(
        "mongrel2-tnetstring",
        "Mongrel2 simulated, tnetstring, 16 in flight",
        "mongrel2",
        ("appserver", "uwsgi", "appserver-compiled", "floor", "bare"),
        load="mongrel2",
        connections=16,
        goals=(Goal("cpu", "uwsgi", 0.75), Goal("cpu", "uwsgi", 0.75, ours="appserver-compiled")),
    ),
    Case(
        "mongrel2-json",
        "Mongrel2 simulated, JSON, 16 in flight",
        "mongrel2",
        ("appserver", "uwsgi", "appserver-compiled", "floor", "bare"),
        load="mongrel2",
        connections=16,
        encoding="json",
        goals=(Goal("cpu", "uwsgi", 0.6), Goal("cpu", "uwsgi", 0.6, ours="appserver-compiled")),
    ),
    Case(
        "mongrel2",
        "through real Mongrel2 (wrk)",
        "mongrel2",
        ("appserver", "null", "uwsgi", "appserver-compiled"),
        "rate",
        load="wrk",
        front="mongrel2",
        goals=(Goal("rate", "null", 0.85), Goal("rate", "null", 0.85, ours="appserver-compiled")),
    ),
    Case(
        "nginx-uwsgi",
        "nginx to uwsgi (wrk)",
        "uwsgi",
        ("appserver", "uwsgi", "gunicorn-sync"),
        load="wrk",
        front="nginx",
    ),
    Case(
        "nginx-fastcgi",
        "nginx to FastCGI, connections kept (wrk)",
        "fastcgi",
        ("appserver", "uwsgi", "flup"),
        load="wrk",
        front="nginx",
    ),
)


def waiting(*goals: Goal) -> tuple[Goal, ...]:
    """Return the goals of calls that wait 50 ms, for the pure build and the compiled one."""
    return *goals, *(replace(goal, ours="appserver-gevent-compiled") for goal in goals)


WAITING = waiting(Goal("rate", "uwsgi-gevent", 1.2), Goal("cpu", "uwsgi-gevent", 0.6), Goal("p99", limit=75))


MANY = 1000  # connections that sleep at once where nobody is held up by having too few of them


def sleeping(way: str, title: str, servers: tuple[str, ...], **more: Any) -> tuple[Case, Case]:
    """Return the case of 400 connections, and that of as many as there are greenlets."""
    few = Case(
        f"sleep-{way}",
        f"calls that sleep 50 ms, 400 connections, {title}",
        servers=servers,
        headline="rate",
        app="sleep",
        connections=400,
        goals=WAITING,
        **more,
    )
    many = replace(
        few,
        name=f"{few.name}-{MANY}",
        title=few.title.replace("400", str(MANY)),
        connections=MANY,
        quick=False,
    )
    return few, many


SLEEP = (
    *sleeping(
        "http",
        "HTTP (wrk)",
        ("appserver-gevent", "uwsgi-gevent", "gunicorn-gevent", "granian-128", "appserver-gevent-compiled"),
        door="http",
        load="wrk",
    ),
    *sleeping(
        "nginx-uwsgi",
        "nginx to uwsgi (wrk)",
        ("appserver-gevent", "uwsgi-gevent", "gunicorn-gevent", "appserver-gevent-compiled"),
        door="uwsgi",
        load="wrk",
        front="nginx",
    ),
    *sleeping(
        "fastcgi",
        "FastCGI kept",
        ("appserver-gevent", "uwsgi-gevent", "appserver-gevent-compiled"),
        door="fastcgi",
    ),
    Case(
        "sleep-mongrel2",
        "calls that sleep 50 ms, 400 connections, real Mongrel2 (wrk)",
        "mongrel2",
        ("appserver-gevent", "uwsgi-gevent", "appserver-gevent-compiled"),
        "rate",
        app="sleep",
        load="wrk",
        front="mongrel2",
        connections=400,
        goals=waiting(Goal("rate", "uwsgi-gevent", 4.0), Goal("p99", limit=75)),
    ),
)

BARE = {"uwsgi", "scgi", "fastcgi"}  # doors where what checks nothing reads on in bodies
LARGE = (Goal("rate", "uwsgi"), Goal("rate", "uwsgi", ours="appserver-compiled"))


def large(door: str) -> tuple[str, ...]:
    """Return the servers whose large answers and bodies are compared."""
    peers = ("uwsgi", "gunicorn-sync") if door == "uwsgi" else ("uwsgi",)
    return "appserver", *peers, "appserver-compiled"


BODIES = (
    *(
        Case(
            f"answer-1m-{door}",
            f"answers of 1 MiB, {door}",
            door,
            large(door),
            "rate",
            app="large",
            keep=door in {"http", "fastcgi"},
            length=MIB,
            connections=8,
            goals=LARGE,
        )
        for door in DOORS
    ),
    Case(
        "answer-1m-mongrel2",
        "answers of 1 MiB, Mongrel2 simulated",
        "mongrel2",
        large("mongrel2"),
        "rate",
        app="large",
        load="mongrel2",
        length=MIB,
        connections=8,
        goals=LARGE,
    ),
    *(
        Case(
            f"post-{name}-{door}",
            f"bodies of {title}, {door}",
            door,
            (*large(door), *(["bare"] if door in BARE else ())),
            "rate",
            app="post",
            keep=door in {"http", "fastcgi"},
            body=size,
            connections=8,
            goals=LARGE,
        )
        for name, title, size in (("100k", "100 kB", 100_000), ("1m", "1 MiB", MIB))
        for door in DOORS
    ),
    Case(
        "post-60k-mongrel2",
        "bodies of 60 kB, Mongrel2 simulated",
        "mongrel2",
        large("mongrel2"),
        "rate",
        app="post",
        load="mongrel2",
        body=60_000,
        connections=8,
        goals=LARGE,
    ),
    Case(
        "post-1m-mongrel2",
        "bodies of 1 MiB, Mongrel2 simulated (uWSGI drops messages of more than 65,535 bytes)",
        "mongrel2",
        ("appserver", "appserver-compiled"),
        "rate",
        app="post",
        load="mongrel2",
        body=MIB,
        connections=8,
    ),
)

BESIDE = (
    Case(
        "idle",
        "10,000 idle connections beside wrk, HTTP",
        "http",
        ("appserver", "granian", "gunicorn-gevent", "bjoern"),
        "idle",
        "idle",
        load="wrk",
        goals=(Goal("idle", limit=8),),
    ),
    Case(
        "start",
        "start to first answer, HTTP",
        "http",
        ("appserver", "uwsgi-http11", "gunicorn-sync", "granian", "bjoern", "waitress"),
        "start",
        "start",
        goals=(Goal("start", limit=0.25),),
    ),
    Case(
        "memory",
        "resident memory after some requests, HTTP",
        "http",
        (
            "appserver",
            "appserver-gevent",
            "uwsgi-http11",
            "gunicorn-sync",
            "gunicorn-gevent",
            "granian",
            "bjoern",
            "waitress",
        ),
        "memory",
        "memory",
        requests=2000,
        goals=(Goal("memory", limit=45),),
    ),
    Case(
        "processes",
        "two processes against one, calls that compute 1 ms, uwsgi, two cores",
        "uwsgi",
        ("appserver-2", "appserver", "uwsgi-2", "uwsgi"),
        "rate",
        app="compute",
        keep=False,
        cores=2,
        goals=(Goal("rate", "appserver", 1.9, free=True),),
    ),
    Case(
        "log",
        "access log to a file against none, HTTP (wrk), three times as many runs",
        "http",
        ("appserver-log", "appserver", "uwsgi-log", "uwsgi-http11"),
        load="wrk",
        times=3,
        goals=(Goal("cpu", "appserver", limit=3, more=True),),
    ),
    *(
        Case(
            f"stream-{door}",
            f"one answer of 1 GiB in pieces, {door}",
            door,
            ("appserver", "uwsgi"),
            "peak",
            app="stream",
            keep=False,
            length=GIB,
            connections=1,
            requests=1,
            quick=door == "http",
        )
        for door in DOORS
    ),
    *(
        Case(
            f"upload-{door}",
            f"one body of 1 GiB, {door}",
            door,
            ("appserver", "appserver-direct", "uwsgi"),
            "peak",
            app="post",
            keep=False,
            body=GIB,
            connections=1,
            requests=1,
            quick=door == "http",
        )
        for door in DOORS
    ),
)

CASES = {case.name: case for case in (*HELLO, *SLEEP, *BODIES, *BESIDE)}
