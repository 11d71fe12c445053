"""Rules about the environ that hold whichever protocol a request came by."""

import pytest

from appserver.protocols.codec import ProtocolError
from appserver.protocols.fields import check_host, content_length, decoded, joined, key_of, server_of
from appserver.protocols.uwsgi import UwsgiCodec

from .feeding import fastcgi, http, mongrel2, scgi, uwsgi
from .wire import GET, M2, fastcgi_request, m2_message, scgi_request, uwsgi_packet


def cgi_variables(raw, fields):
    """Return what a front end such as nginx makes of a request."""
    path, _, query = raw.partition("?")
    headers = [("HTTP_" + name.upper().replace("-", "_"), value) for name, value in fields]
    return [
        *(GET | {"REQUEST_URI": raw, "PATH_INFO": decoded(path), "QUERY_STRING": query}).items(),
        *headers,
    ]


def m2_fields(raw, fields):
    path, _, query = raw.partition("?")
    found = M2 | {"URI": raw, "PATH": path, "QUERY": query}
    for name, value in fields:
        name = name.lower()  # noqa: PLW2901
        if name in found:
            before = found[name]
            found[name] = [*before, value] if isinstance(before, list) else [before, value]
        else:
            found[name] = value
    return found


def over_http(raw, fields, reader):
    lines = "".join(f"{name}: {value}\r\n" for name, value in [("Host", "localhost"), *fields])
    return http(f"GET {raw} HTTP/1.1\r\n{lines}\r\n".encode("latin-1"), reader)[0]


PROTOCOLS = {
    "http-auto": lambda raw, fields: over_http(raw, fields, "auto"),
    "http-h11": lambda raw, fields: over_http(raw, fields, "h11"),
    "http-httptools": lambda raw, fields: over_http(raw, fields, "httptools"),
    "uwsgi": lambda raw, fields: uwsgi(uwsgi_packet(cgi_variables(raw, fields)))[0],
    "fastcgi": lambda raw, fields: fastcgi(fastcgi_request(cgi_variables(raw, fields)))[0],
    "scgi": lambda raw, fields: scgi(scgi_request(cgi_variables(raw, fields)))[0],
    "mongrel2-json": lambda raw, fields: mongrel2(m2_message(m2_fields(raw, fields))),
    "mongrel2-tnetstring": lambda raw, fields: mongrel2(m2_message(m2_fields(raw, fields), form="tnetstring")),
}  # fmt: skip
CGI = {"uwsgi", "fastcgi", "scgi"}
SPEAK = pytest.mark.parametrize("speak", [
    lambda v: uwsgi(uwsgi_packet(v)), lambda v: fastcgi(fastcgi_request(v)), lambda v: scgi(scgi_request(v)),
], ids=["uwsgi", "fastcgi", "scgi"])  # fmt: skip
everywhere = pytest.mark.parametrize("protocol", PROTOCOLS)


def environ_of(protocol, raw="/", *fields):
    found = PROTOCOLS[protocol](raw, fields)
    return found if isinstance(found, str) else found[0]


@everywhere
@pytest.mark.parametrize(
    "raw, path, query",
    [
        ("/%2541", "/%41", ""),  # E8
        ("/a/../b", "/a/../b", ""),  # E9
        ("//a", "//a", ""),
        ("/./b", "/./b", ""),
        ("/%2e%2e/x", "/../x", ""),
        ("/%2F", "//", ""),
        ("/%zz%", "/%zz%", ""),
        ("/a+b?a+b=%20", "/a+b", "a+b=%20"),
        ("/%ff%C3%A9", "/\xff\xc3\xa9", ""),
        ("/%09", "/\t", ""),
        ("/;p=1", "/;p=1", ""),
        ("/%3F?x", "/?", "x"),
    ],
)
def test_paths(protocol, raw, path, query):
    environ = environ_of(protocol, raw)
    assert (environ["REQUEST_URI"], environ["PATH_INFO"], environ["QUERY_STRING"]) == (raw, path, query)
    assert environ["SCRIPT_NAME"] == ""


@everywhere
@pytest.mark.parametrize("raw", ["/%00", "/a%0ab", "/%0d", "/%0D%0AX:y", "/%7f", "/%1b[31m"])
def test_control_characters_in_paths(protocol, raw):
    assert environ_of(protocol, raw) == "400"


@SPEAK
@pytest.mark.parametrize("raw", ["/%00", "/a%0ab", "/%0d", "/%7f"])
def test_control_characters_in_paths_that_the_front_end_left_whole(speak, raw):
    assert speak({"REQUEST_METHOD": "GET", "REQUEST_URI": raw, "SCRIPT_NAME": "/a"}) == ["400"]


@everywhere
def test_repeated_fields(protocol):  # E10
    environ = environ_of(
        protocol, "/", ("Cookie", "a=1"), ("X-A", "1"), ("Cookie", "b=2"), ("X-A", "2"), ("X-A", "3")
    )
    assert environ["HTTP_COOKIE"] == "a=1; b=2"
    assert environ["HTTP_X_A"] == "1, 2, 3"


@everywhere
@pytest.mark.parametrize("name", ["Authorization", "User-Agent", "Referer", "If-Modified-Since"])
def test_fields_that_cannot_be_repeated(protocol, name):
    assert environ_of(protocol, "/", (name, "a"), (name, "a")) == "400"


@everywhere
def test_a_repeated_host(protocol):
    """A client's is refused; Debian's lists of variables set HTTP_HOST, and an operator's own counts more."""
    environ = environ_of(protocol, "/", ("Host", "a"), ("Host", "b"))
    if protocol in {"uwsgi", "fastcgi", "scgi"}:
        assert environ["HTTP_HOST"] == "b"
    else:
        assert environ == "400"


@everywhere
def test_httpoxy(protocol):  # E3
    environ = environ_of(protocol, "/", ("Proxy", "http://evil"), ("Proxy", "http://evil"), ("Proxy-X", "1"))
    assert "HTTP_PROXY" not in environ
    assert environ["HTTP_PROXY_X"] == "1"


@pytest.mark.parametrize("protocol", sorted(set(PROTOCOLS) - CGI))
def test_names_with_underscores(protocol):  # E1, E2
    fields = [("X_Forwarded_For", "evil"), ("Content_Length", "5"), ("Transfer_Encoding", "chunked"),
              ("Host_", "evil"), ("_", "x"), ("X-Forwarded-For", "1.2.3.4")]  # fmt: skip
    environ = environ_of(protocol, "/", *fields)
    assert environ["HTTP_X_FORWARDED_FOR"] == "1.2.3.4"
    assert "CONTENT_LENGTH" not in environ
    assert "evil" not in environ.values()
    assert "HTTP__" not in environ


@pytest.mark.parametrize("protocol", sorted(set(PROTOCOLS) - CGI))
def test_client_fields_never_become_keys_of_the_server(protocol):  # E11
    names = [
        "wsgi.input",
        "SERVER-NAME",
        "REMOTE-USER",
        "HTTP-",
        "wsgi.url-scheme",
        "appserver.coding",
        "path-info",
    ]
    environ = environ_of(protocol, "/p", *[(name, "evil") for name in names])
    assert {key for key, value in environ.items() if value == "evil"} == {
        "HTTP_" + name.upper().replace("-", "_") for name in names
    }


@pytest.mark.parametrize("protocol", sorted(CGI))
def test_front_ends_cannot_set_keys_of_the_server(protocol):
    speak = {"uwsgi": lambda v: uwsgi(uwsgi_packet(v)), "scgi": lambda v: scgi(scgi_request(v)),
             "fastcgi": lambda v: fastcgi(fastcgi_request(v))}[protocol]  # fmt: skip
    own = {
        "wsgi.url_scheme": "evil",
        "wsgi.input": "evil",
        "appserver.listener": "evil",
        "HTTP_PROXY": "evil",
    }
    [(environ, _)] = speak(GET | own | {"REMOTE_USER": "me", "REMOTE_PORT": "9", "MY_PARAM": "x"})  # U9
    assert "evil" not in environ.values()
    assert (environ["REMOTE_USER"], environ["REMOTE_PORT"], environ["MY_PARAM"]) == ("me", "9", "x")


@pytest.mark.parametrize(
    "variables, scheme",
    [
        ({}, "http"),
        ({"HTTPS": "on"}, "https"),
        ({"HTTPS": "ON"}, "https"),
        ({"HTTPS": "1"}, "https"),
        ({"HTTPS": "off"}, "http"),
        ({"HTTPS": ""}, "http"),
        ({"REQUEST_SCHEME": "https"}, "https"),
        ({"REQUEST_SCHEME": "gopher"}, "http"),
        ({"REQUEST_SCHEME": "http", "HTTPS": "on"}, "https"),
        ({"UWSGI_SCHEME": "https", "REQUEST_SCHEME": "http"}, "https"),
        ({"HTTP_X_FORWARDED_PROTO": "https"}, "http"),
    ],
)
def test_the_scheme(variables, scheme):  # E13
    [(environ, _)] = uwsgi(uwsgi_packet(GET | variables))
    assert environ["wsgi.url_scheme"] == scheme


@pytest.mark.parametrize(
    "variables, script, path, query",
    [
        ({"REQUEST_URI": "/a/b%20c?q"}, "", "/a/b c", "q"),
        ({"REQUEST_URI": "/a/b", "SCRIPT_NAME": "/a/b"}, "", "/a/b", ""),
        ({"REQUEST_URI": "/a/b", "SCRIPT_NAME": "/a"}, "/a", "/b", ""),
        ({"REQUEST_URI": "/a/b", "SCRIPT_NAME": "/a/"}, "/a", "/b", ""),
        ({"REQUEST_URI": "/a/", "SCRIPT_NAME": "/a"}, "/a", "/", ""),
        ({"REQUEST_URI": "/a/", "SCRIPT_NAME": "/a/"}, "", "/a/", ""),
        ({"REQUEST_URI": "/a/x/../b", "SCRIPT_NAME": "/a"}, "/a", "/x/../b", ""),
        ({"REQUEST_URI": "/a", "PATH_INFO": "/other", "SCRIPT_NAME": "/"}, "", "/other", ""),
        ({"REQUEST_METHOD": "GET", "PATH_INFO": "/p", "QUERY_STRING": "q"}, "", "/p", "q"),
        ({"REQUEST_METHOD": "GET"}, "", "", ""),
    ],
)
def test_the_path_of_a_front_end(variables, script, path, query):
    [(environ, _)] = scgi(scgi_request(variables))
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"], environ["QUERY_STRING"]) == (script, path, query)
    assert environ["REQUEST_URI"] == variables.get("REQUEST_URI", f"{path}?{query}".rstrip("?"))
    assert environ["REQUEST_METHOD"] == "GET"


@pytest.mark.parametrize(
    "uri, document, script, expected",
    [
        ("/a//b", "/a/b", "/a/b", ("", "/a/b")),  # stock fastcgi_params
        ("/a//b", "/a/b", None, ("", "/a/b")),  # stock scgi_params
        ("/pub/../secret", "/secret", "/secret", ("", "/secret")),
        ("/pub/secret/..", "/pub/", "/pub/", ("", "/pub/")),
        ("/a%2Fb", "/a/b", "/a/b", ("", "/a/b")),
        ("/a%252Fb", "/a%2Fb", "/a%2Fb", ("", "/a%2Fb")),
        ("//", "/", "/", ("", "/")),
        ("?x", "/", "/", ("", "/")),  # of http://host?x
        ("/old/x", "/new/x", "/new/x", ("", "/new/x")),  # rewritten
        ("/app//x/../y", "/app/y", "/app", ("/app", "/y")),  # fastcgi_split_path_info, or a mount
        ("/app/", "/app/", "/app", ("/app", "/")),
        ("/app/x", "/x", "/app", ("/app", "/x")),  # a mount whose prefix a rule takes from the path
        ("/application", "/application", "/app", ("/app", "/application")),  # E12
        ("/a/b", "", "/a", ("/a", "/b")),
    ],
)
def test_the_path_as_nginx_has_normalised_and_rewritten_it(uri, document, script, expected):
    variables = {"REQUEST_URI": uri, "DOCUMENT_URI": document} | ({"SCRIPT_NAME": script} if script else {})
    [(environ, _)] = scgi(scgi_request(variables))
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"], environ["REQUEST_URI"]) == (*expected, uri)


@pytest.mark.parametrize(
    "uri, script, path",
    [
        ("/a//b", "/a/b", "/a/b"),
        ("/a//b/", "/a/b/", "/a/b/"),
        ("/a//", "/a/", "/a/"),
        ("/pub/../secret", "/secret", "/secret"),
        ("/pub/%2e%2e/secret", "/secret", "/secret"),
        ("//", "/", "/"),
        ("/secret/..", "/", "/"),
        ("/pub/secret/..", "/pub/", "/pub/"),
        ("/pub/secret/..", "/pub", "/pub"),  # rewritten, besides
        ("/pub/.", "/pub/", "/pub/"),
        ("/pub/secret%2Fx/../", "/pub/", "/pub/"),
        ("/pub%2Fx/secret%2Fy/..", "/pub/x/", "/pub/x/"),  # AllowEncodedSlashes On
        ("/a%2Fb", "/a%2Fb", "/a/b"),  # NoDecode
        ("/a%2fb%20%2541", "/a%2fb %41", "/a/b %41"),
        ("/a%252Fb", "/a%2Fb", "/a%2Fb"),
        ("/secret/../pub/a%2Fb", "/pub/a%2Fb", "/pub/a%2Fb"),
        ("/application", "/app", "/app"),  # rewritten; E12: no mount with the path "lication"
        ("http://host/a/b", "/a/b", "/a/b"),
        ("http://host?x", "/", "/"),
        ("http://host", "/", "/"),
    ],
)
def test_the_whole_path_as_apache_has_normalised_it(uri, script, path):
    [(environ, _)] = scgi(scgi_request({"REQUEST_URI": uri, "SCRIPT_NAME": script}))
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"], environ["REQUEST_URI"]) == ("", path, uri)


def test_empty_content_variables_are_none():
    [(environ, _)] = uwsgi(uwsgi_packet(GET | {"CONTENT_TYPE": "", "CONTENT_LENGTH": ""}))
    assert "CONTENT_TYPE" not in environ
    assert "CONTENT_LENGTH" not in environ


@SPEAK
def test_the_last_of_repeated_variables_counts(speak):
    pairs = [*GET.items(), ("SCRIPT_NAME", "/x"), ("SCRIPT_NAME", "")]
    [(environ, _)] = speak(pairs)
    assert environ["SCRIPT_NAME"] == ""


@SPEAK
@pytest.mark.parametrize("lengths", [("5", ""), ("0", ""), ("5", "5", ""), ("5", "", "0")])
def test_an_empty_length_behind_another_says_that_there_is_no_body(speak, lengths):
    """As nginx's configurations say it of a request whose body is not passed on."""
    pairs = [*GET.items()][:-1] + [("CONTENT_LENGTH", length) for length in lengths]
    [(environ, body)] = speak(pairs)
    assert (environ.get("CONTENT_LENGTH", ""), body) == (lengths[-1], b"")


# The rules one by one


@pytest.mark.parametrize(
    "name, expected",
    [
        ("X-A", "HTTP_X_A"), ("content-TYPE", "CONTENT_TYPE"), ("Content-Length", "CONTENT_LENGTH"), ("proxy", ""),
        ("Transfer-Encoding", ""), ("X_A", ""), ("_", ""), ("!#$%&'*+.^`|~9", "HTTP_!#$%&'*+.^`|~9"),
    ],
)  # fmt: skip
def test_key_of(name, expected):
    assert key_of(name) == expected


@pytest.mark.parametrize("name", ["", " ", "a b", "a:", "\r\n", "\xe9", "\xb5", "\u20ac", "a\0", "(", "x\n"])
def test_no_field_names(name):
    with pytest.raises(ProtocolError):
        key_of(name)


def test_unseen_names_do_not_fill_the_memory():
    from appserver.protocols import fields

    for number in range(5000):
        assert key_of(f"X-{number}") == f"HTTP_X_{number}"
        check_host(f"h{number}")
    assert len(fields.KEYS) <= 2000
    assert len(fields.HOSTS) <= 2000
    remembered = len(fields.KEYS), len(fields.HOSTS)
    for known in (fields.KEYS, fields.HOSTS):
        known.clear()
    assert key_of(f"X-{'a' * 200}")
    check_host("a" * 200)
    assert not fields.KEYS
    assert not fields.HOSTS
    assert min(remembered) >= 1000


@pytest.mark.parametrize(
    "host", ["h", "a.b:80", "[::1]", "[fe80::1.2.3.4]:8", "h:", "%41", "a_b", "1.2.3.4:99999"]
)
def test_hosts(host):
    check_host(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        " ",
        "a b",
        "a,b",
        "a/b",
        "u@h",
        "a:b",
        ":80",
        "a:123456",
        "[::1",
        "[g]",
        "a\n",
        "\xe9",
        "a?b",
        "a\\b",
    ],
)
def test_no_hosts(host):
    with pytest.raises(ProtocolError):
        check_host(host)


def test_lengths():
    assert content_length("0" * 17 + "5") == 5
    for bad in ("", "+5", "-5", "5 ", " 5", "1_0", "0x5", "5\n", "\u0665", "\xb2", "9" * 19):
        with pytest.raises(ProtocolError):
            content_length(bad)


def test_joined():
    assert joined("HTTP_X", "a", "b") == "a, b"
    assert joined("HTTP_COOKIE", "a", "b") == "a; b"
    with pytest.raises(ProtocolError, match="HOST is given twice"):
        joined("HTTP_HOST", "a", "a")


@pytest.mark.parametrize(
    "host, scheme, server",
    [
        ("h", "http", ("h", "80")), ("h", "https", ("h", "443")), ("h:8", "https", ("h", "8")),
        ("[::1]", "http", ("[::1]", "80")), ("[::1]:8", "http", ("[::1]", "8")), ("", "http", ("localhost", "80")),
        ("h:", "http", ("h", "80")),
    ],
)  # fmt: skip
def test_server_of(host, scheme, server):
    assert server_of({"HTTP_HOST": host, "wsgi.url_scheme": scheme}) == server


def test_what_nginx_sends_beside_a_body_takes_the_usual_way(monkeypatch):
    from appserver.protocols import cgi

    def unusual(entries):
        raise AssertionError

    monkeypatch.setattr(cgi, "merged", unusual)
    sent = {
        "REQUEST_METHOD": "POST", "REQUEST_URI": "/", "CONTENT_LENGTH": "5", "CONTENT_TYPE": "text/plain",
        "HTTP_CONTENT_LENGTH": "5", "HTTP_CONTENT_TYPE": "text/plain",
    }  # fmt: skip
    environ = cgi.exchange(sent, UwsgiCodec({})).environ
    assert environ["CONTENT_LENGTH"] == "5"
    assert not {"HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE"} & environ.keys()


@pytest.mark.parametrize("name", ["OURS", "HTTP_OURS", "wsgi.input"])
def test_what_is_the_server_s_own_is_not_given(name):
    codec = UwsgiCodec({name: "ours"})
    x = codec.receive(uwsgi_packet(GET | {name: "theirs", "THEIRS": "x"}))
    assert (x.environ[name], x.environ["THEIRS"]) == ("ours", "x")
    assert codec.base == {name: "ours"}
