"""An address, and options for its listener alone."""

from __future__ import annotations

import pytest

from appserver.binding import BindOptions
from appserver.configuration import Configuration
from appserver.options import BadValue
from appserver.peers import peers
from appserver.spec import Spec, checked
from appserver.trust import TrustOptions


@pytest.mark.parametrize(
    "text, address",
    [
        ("127.0.0.1:80", "127.0.0.1:80"),
        ("127.0.0.1:80, allow=10.0.0.1,10.0.0.2 , chmod-socket=600", "127.0.0.1:80"),
        ("/tmp/a,b.sock,allow=none", "/tmp/a,b.sock"),
        ("tcp://a:1,tcp://b:2,trusted-proxies=unix", "tcp://a:1,tcp://b:2"),
    ],
)
def test_the_address_stands_in_front(text, address):
    assert Spec(text).address == address


@pytest.mark.parametrize(
    "text, reason",
    [
        ("127.0.0.1:80, threads=4", "behind the address only .*; threads is none of them"),
        ("127.0.0.1:80, allow=here", "addresses, networks such as .* for allow"),
        ("127.0.0.1:80, enable-proxy-protocol=maybe", "true or false for enable-proxy-protocol"),
        ("nowhere, allow=none", "host:port, :port"),
    ],
)
def test_what_is_wrong_is_told(text, reason):
    with pytest.raises(BadValue, match=reason):
        checked(text)


def test_what_stands_behind_an_address_counts_more_and_for_it_alone():
    configuration = Configuration(
        ["--trusted-proxies", "10.0.0.1", "--chmod-socket", "666", "--http-socket", ":1",
         "--http-socket", ":2, forwarded-allow-ips=none, chmod-socket=600"]
    )  # fmt: skip
    assert configuration.problems == []
    one, two = configuration.listeners
    assert (one.address, two.address) == (":1", ":2")
    assert (one.trust.trusted_proxies, two.trust.trusted_proxies) == (peers("10.0.0.1"), peers("none"))
    specs = [Spec(each.value) for _, each in configuration.settings.mounts]
    modes = [each.of(configuration.settings, BindOptions).chmod_socket for each in specs]
    assert modes == [0o666, 0o600]
    assert (
        specs[1].of(configuration.settings, TrustOptions).trusted_headers
        == "x-forwarded-for, x-forwarded-proto"
    )


def test_a_mistake_in_one_names_its_line(tmp_path):
    (tmp_path / "site.ini").write_text("[appserver]\nsocket = :3031, allow=all\n")
    configuration = Configuration(["--ini", str(tmp_path / "site.ini")])
    assert any("site.ini:2: socket" in each and "for allow" in each for each in configuration.problems)


@pytest.mark.parametrize(
    "line, told",
    [
        ("socket = 0.0.0.0:3031", "uwsgi 0.0.0.0:3031 is open to everybody"),
        ("socket = :3031", "open to everybody"),
        ("fastcgi-socket = [::]:9000", "open to everybody"),
        ("scgi-socket = 203.0.114.9:4000", "open to everybody"),
        ("socket = 0.0.0.0:3031, allow=10.0.0.0/8", ""),
        ("socket = 127.0.0.1:3031", ""),
        ("socket = 10.1.2.3:3031", ""),
        ("socket = localhost:3031", ""),
        ("socket = /tmp/x.sock", ""),
        ("http-socket = :8080", ""),
        ("http-socket = :8080, enable-proxy-protocol=1", "by the PROXY protocol"),
        ("http-socket = :8080, enable-proxy-protocol=1, trusted-proxies=10.0.0.1", ""),
        ("socket = 127.0.0.1:1, enable-proxy-protocol=true", "has no effect on uwsgi"),
        ("socket = /tmp/x.sock, allow=10.0.0.1", "has no effect on the Unix socket"),
        ("zeromq = tcp://127.0.0.1:1,tcp://127.0.0.1:2, allow=10.0.0.1", "has no effect on Mongrel2"),
        ("zeromq = ipc:///x/1,ipc:///x/2, mongrel2-upload-dir=/srv/a, mongrel2-script-name=1", ""),
        ("socket = /tmp/x.sock, mongrel2-chroot=/srv/a", "mongrel2-chroot has no effect on uwsgi /tmp/x.sock"),
    ],
)  # fmt: skip
def test_dangers_are_told_with_their_line(tmp_path, line, told):
    (tmp_path / "site.ini").write_text(f"[appserver]\n{line}\n")
    configuration = Configuration(["--ini", str(tmp_path / "site.ini")])
    assert configuration.problems == []
    found = configuration.dangers()
    assert len(found) == bool(told)
    assert all(each.startswith(f"{tmp_path}/site.ini:2: ") and told in each for each in found)
