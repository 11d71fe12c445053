"""What proxies say of their clients, and who is believed."""

from __future__ import annotations

import pytest

from appserver.peers import peers
from appserver.protocols.codec import ProtocolError
from appserver.protocols.forwarded import FIELDS, Forwarded

EVERY = frozenset(FIELDS)
BASE = {
    "REMOTE_ADDR": "10.0.0.1", "REMOTE_PORT": "5", "wsgi.url_scheme": "http", "HTTP_HOST": "inner",
    "SERVER_NAME": "inner", "SERVER_PORT": "8080",
}  # fmt: skip


def told(names=EVERY, trusted="10.0.0.0/8 2001:db8::/32", **given):
    """Return what an environ with *given* becomes, and what was ignored."""
    ignored = []
    forwarded = Forwarded(peers(trusted), names, lambda *what: ignored.append(what))
    environ = BASE | given
    forwarded.apply(environ)
    assert sum(forwarded.ignored.values()) == len(ignored)
    return environ, ignored


@pytest.mark.parametrize(
    "value, address, port",
    [
        ("192.0.2.1", "192.0.2.1", None),
        ("192.0.2.1:77", "192.0.2.1", "77"),
        ("2001:db9::1", "2001:db9::1", None),
        ("[2001:db9::1]:77", "2001:db9::1", "77"),
        ("fe80::1%eth0.100", "fe80::1%eth0.100", None),
        ("fe80::1%2", "fe80::1%2", None),
        ("2001:DB9:0::1", "2001:db9::1", None),
        ("::ffff:192.0.2.1", "192.0.2.1", None),
        ("[::FFFF:c000:201]:77", "192.0.2.1", "77"),
        ("192.0.2.1, ::ffff:10.9.9.9", "192.0.2.1", None),
        ("198.51.100.7, 192.0.2.1", "192.0.2.1", None),  # the left one is the client's own word
        ("198.51.100.7, 192.0.2.1, 10.9.9.9,10.8.8.8", "192.0.2.1", None),
        ("10.9.9.9, 10.8.8.8", "10.9.9.9", None),  # all are proxies: one of them asks
        ("<script>, 192.0.2.1, 2001:db8::7", "192.0.2.1", None),
        ("192.0.2.1, unknown", "10.0.0.1", "5"),
        ("192.0.2.1, unknown, 10.2.2.2", "10.2.2.2", None),
        ("unix:", "10.0.0.1", "5"),
    ],
)
def test_the_last_address_that_is_no_proxys_is_the_client(value, address, port):
    environ, _ = told(HTTP_X_FORWARDED_FOR=value)
    assert (environ["REMOTE_ADDR"], environ.get("REMOTE_PORT")) == (address, port)
    assert environ["HTTP_X_FORWARDED_FOR"] == value


@pytest.mark.parametrize(
    "value", ["", "nonsense", "192.0.2.1,", "192.0.2.1, 1.2.3", "192.0.2.256", "192.0.2.1:99999", "a, 10.1.1.1", "[192.0.2.1", "192.0.2.1:x", "٣.1.1.1",
     "fe80::1%x [core] 8.8.8.8 root", "fe80::1%", 'fe80::1%a"b', "fe80::1%a%b", "fe80::1%\x9b", "fe80::1%eth٣", "192.0.2.1%a",
     f"fe80::1%{'x' * 16}"],
)  # fmt: skip
def test_a_malformed_list_is_ignored_as_a_whole(value):
    environ, ignored = told(HTTP_X_FORWARDED_FOR=value)
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == ("10.0.0.1", "5")
    assert [name for name, _ in ignored] == ["X-Forwarded-For"]


def test_an_address_of_ipv4_is_one_in_the_standard_field_too():
    environ, ignored = told(frozenset({"forwarded"}), HTTP_FORWARDED='for="[::ffff:192.0.2.1]:77"')
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"], ignored) == ("192.0.2.1", "77", [])


def test_a_zone_is_no_free_text_in_the_standard_field_either():
    environ, ignored = told(frozenset({"forwarded"}), HTTP_FORWARDED='for="fe80::1%x 8.8.8.8 root"')
    assert (environ["REMOTE_ADDR"], [name for name, _ in ignored]) == ("10.0.0.1", ["Forwarded"])


def test_nothing_of_a_peer_that_is_not_trusted_is_left():
    given = dict.fromkeys((*FIELDS.values(), "HTTP_FORWARDED"), "x")
    environ, ignored = told(**given, REMOTE_ADDR="192.0.2.9")
    assert environ == BASE | {"REMOTE_ADDR": "192.0.2.9"}
    assert ignored == []


def test_what_trusted_headers_does_not_name_is_the_clients_and_taken_away():
    environ, _ = told(
        frozenset({"x-forwarded-proto"}), HTTP_X_FORWARDED_HOST="evil", HTTP_X_FORWARDED_FOR="192.0.2.1",
        HTTP_FORWARDED="for=192.0.2.2", HTTP_X_FORWARDED_PROTO="https",
    )  # fmt: skip
    assert environ == BASE | {"wsgi.url_scheme": "https", "HTTPS": "on", "HTTP_X_FORWARDED_PROTO": "https"}


@pytest.mark.parametrize(
    "value, scheme",
    [
        ("https", "https"), ("HTTPS", "https"), ("https, https", "https"), ("http", "http"),
        ("wss", "https"), ("WSS, wss", "https"), ("ws", "http"),
    ],
)  # fmt: skip
def test_the_scheme(value, scheme):
    environ, _ = told(HTTP_X_FORWARDED_PROTO=value, HTTPS="1", REQUEST_SCHEME="other")
    assert environ["wsgi.url_scheme"] == environ["REQUEST_SCHEME"] == scheme
    assert environ.get("HTTPS") == ("on" if scheme == "https" else None)


@pytest.mark.parametrize("value", ["ftp", "wsss", "", "https;", "javascript", "on"])
def test_only_http_and_https_are_schemes(value):
    environ, ignored = told(HTTP_X_FORWARDED_PROTO=value)
    assert environ["wsgi.url_scheme"] == "http"
    assert ignored == [("X-Forwarded-Proto", value)]


@pytest.mark.parametrize("name", ["PROTO", "HOST", "PORT"])
def test_a_proxy_that_contradicts_itself_is_refused(name):
    with pytest.raises(ProtocolError) as caught:
        told(**{f"HTTP_X_FORWARDED_{name}": "http, https"})
    assert caught.value.status.startswith("400")


@pytest.mark.parametrize(
    "given, expected",
    [
        ({"HOST": "www.example"}, ("www.example", "www.example", "80")),
        ({"HOST": "www.example", "PROTO": "https"}, ("www.example", "www.example", "443")),
        ({"HOST": "www.example:81"}, ("www.example:81", "www.example", "81")),
        ({"HOST": "www.example", "PORT": "82"}, ("www.example", "www.example", "82")),
        ({"PORT": "82"}, ("inner", "inner", "82")),
        ({"HOST": "a/b", "PORT": "0"}, ("inner", "inner", "8080")),
        ({"HOST": "", "PORT": "65536"}, ("inner", "inner", "8080")),
        ({"HOST": "u@h", "PORT": "+1"}, ("inner", "inner", "8080")),
    ],
)
def test_host_and_port(given, expected):
    environ, ignored = told(**{f"HTTP_X_FORWARDED_{name}": value for name, value in given.items()})
    assert tuple(environ[key] for key in ("HTTP_HOST", "SERVER_NAME", "SERVER_PORT")) == expected
    assert len(ignored) == (2 if expected[2] == "8080" else 0)


@pytest.mark.parametrize(
    "value, address, scheme, host",
    [
        ("for=192.0.2.1", "192.0.2.1", "http", "inner"),
        ('For="[2001:db9::1]:4711";Proto=https;host=a.example', "2001:db9::1", "https", "a.example"),
        ("for=198.51.100.7;proto=https;host=evil, for=192.0.2.1;host=b.example", "192.0.2.1", "http", "b.example"),
        ("for=192.0.2.1;proto=https, for=10.3.3.3;proto=http", "192.0.2.1", "https", "inner"),
        ("for=unknown;proto=https", "10.0.0.1", "https", "inner"),
        ('for="_hidden", for=10.3.3.3', "10.3.3.3", "http", "inner"),
        ("for=192.0.2.1;proto=wss", "192.0.2.1", "https", "inner"),
        ("for=192.0.2.1;proto=ws", "192.0.2.1", "http", "inner"),
        ("proto=https;by=10.0.0.1", "10.0.0.1", "https", "inner"),
        ('for="192.0.2.1" ; proto=https', "192.0.2.1", "https", "inner"),
        (r'for=192.0.2.1;host="a\.example"', "192.0.2.1", "http", "a.example"),
    ],
)  # fmt: skip
def test_forwarded(value, address, scheme, host):
    environ, ignored = told(
        frozenset({"forwarded"}), HTTP_FORWARDED=value, HTTP_X_FORWARDED_FOR="203.0.113.1"
    )
    assert ignored == []
    assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"], environ["HTTP_HOST"]) == (
        address,
        scheme,
        host,
    )
    assert "HTTP_X_FORWARDED_FOR" not in environ


@pytest.mark.parametrize(
    "value", ["", "for", "for=", "for=192.0.2.1;for=192.0.2.2", "for=1.2.3;proto=https", 'for="192.0.2.1', "for=192.0.2.1,,", "for = 192.0.2.1", "for=192.0.2.1 proto=https", ";"],
)  # fmt: skip
def test_a_malformed_forwarded_is_ignored_as_a_whole(value):
    environ, ignored = told(frozenset({"forwarded"}), HTTP_FORWARDED=value)
    assert environ == BASE | {"HTTP_FORWARDED": value}
    assert len(ignored) == 1


@pytest.mark.parametrize("peer", ["", "unix:"])
def test_unix_sockets_are_believed_where_they_are_named(peer):
    given = {"HTTP_X_FORWARDED_FOR": "192.0.2.1", "REMOTE_ADDR": peer}
    assert told(trusted="unix", **given)[0]["REMOTE_ADDR"] == "192.0.2.1"
    assert told(trusted="10.0.0.0/8", **given)[0]["REMOTE_ADDR"] == peer
