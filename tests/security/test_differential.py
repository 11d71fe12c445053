"""One request over every path: what the application sees is the same, and is what nginx itself says of it."""

from __future__ import annotations

import json
from contextlib import ExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.peers.client import Raw
from tests.peers.test_paths import PER_PATH
from tests.security.rig import APP, SOCKETS, Hostile
from tests.support import fronts
from tests.support.fronts import Configs, poll
from tests.support.server import Server

pytestmark = pytest.mark.peers

NGINX = ("uwsgi", "fastcgi", "scgi")
OTHER = PER_PATH | {"QUERY_STRING"}  # compared by itself: nginx has an empty one where there is none


class Paths:
    """One server behind nginx's three gateway protocols and both forms of Mongrel2, and open to HTTP."""

    def __init__(self, directory):
        fronts.require("nginx", "mongrel2", "m2sh")
        (directory / "nginx").mkdir()
        configs = Configs(directory)
        conf = configs.second_mongrel2("json")
        with ExitStack() as stack:
            for each in ("mongrel2.conf", conf):
                stack.enter_context(fronts.Mongrel2(configs, each))
            mounts = [word for name in SOCKETS for word in (f"--{name}-socket", "127.0.0.1:0")]
            specs = ("--zeromq", configs.specs(), "--zeromq", configs.specs(10000))
            self.server = stack.enter_context(Server(*mounts, *specs, "--module", APP, "--gevent", "20"))
            self.nginx = Hostile(directory / "nginx", self.server)
            stack.callback(self.nginx.close)
            self.ports = {
                "http": int(self.server.addresses["http"].rpartition(":")[2]), **self.nginx.ports,
                "mongrel2-tnetstring": configs.port(6767), "mongrel2-json": configs.port(16767),
            }  # fmt: skip
            self._stack = stack.pop_all()

    def ask(self, path, text):
        """Return what the application has seen of a request over a path."""
        with Raw(self.ports[path]) as client:
            client.send(text)
            answer = client.answer()
        assert answer.status == 200, (path, text, answer)
        return json.loads(answer.body)

    def own(self, name):
        """Return the lines that nginx has written of the requests over a protocol."""
        log = self.nginx.directory / f"own-{name}.log"
        return log.read_text("latin-1").splitlines() if log.exists() else []

    def close(self):
        self._stack.close()


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    found = Paths(tmp_path_factory.mktemp("paths"))
    yield found
    found.close()


# What nginx would change on its way is left out: dots and slashes in a row, also as escapes.
words = st.text("abcXYZ019-_~", min_size=1, max_size=8)
pieces = words | st.sampled_from(
    ["%41", "%C3%A9", "%2541", "%20", "%25", "%3F", "%ff", "+", "%2B", "%7e", "a%3bb"]
)
targets = st.lists(st.lists(pieces, min_size=1, max_size=4).map("".join), max_size=4).map(
    lambda segments: "/" + "/".join(segments)
)
queries = st.none() | st.lists(
    pieces | st.sampled_from(["=", "&", "/", "?", "%26", "..", "//"]), max_size=6
).map("".join)
values = st.text("ab 019,;=\"'\\()<>@\xe9\xff\t", max_size=20).map(str.strip)
fields = st.fixed_dictionaries(
    {"X-Word": values.filter(bool), "User-Agent": values.filter(bool)},
    optional={"Cookie": st.lists(words.map("a={}".format), min_size=1, max_size=3), "Accept": values.filter(bool),
              "X-Many": st.lists(words, min_size=1, max_size=5), "Content-Type": st.just("text/x-test; a=b"),
              "Proxy": words},
)  # fmt: skip


def request(method, target, query, headers, body):
    lines = ["Host: site.example"]
    for name, value in headers.items():
        lines += [f"{name}: {each}" for each in (value if isinstance(value, list) else [value])]
    if body or method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    target += "" if query is None else f"?{query}"
    return "".join(f"{line}\r\n" for line in [f"{method} {target} HTTP/1.1", *lines, ""]) + body.decode(
        "latin-1"
    )


requests = st.builds(
    request,
    st.sampled_from(["GET", "POST", "PURGE", "PUT"]),
    targets,
    queries,
    fields,
    st.binary(max_size=50),
)


@settings(max_examples=40, deadline=None)
@given(text=requests)
def test_the_environ_is_the_same_over_every_path(paths, text):
    before = {name: len(paths.own(name)) for name in NGINX}
    found = {path: paths.ask(path, text) for path in paths.ports}
    plain = found["http"]
    assert "HTTP_PROXY" not in plain
    for path, environ in found.items():
        assert environ["QUERY_STRING"] == plain["QUERY_STRING"], path
        shown = {name: value for name, value in environ.items() if name not in OTHER}
        assert shown == {name: value for name, value in plain.items() if name not in OTHER}, path
    for name in NGINX:
        poll(lambda name=name: len(paths.own(name)) > before[name], "nginx has not written its line")
        theirs = json.loads(paths.own(name)[-1])
        assert theirs == {key: found[name].get(key, "") for key in theirs}
