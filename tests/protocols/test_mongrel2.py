"""Mongrel2's messages."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appserver.listeners.upload import announced
from appserver.protocols import forms
from appserver.protocols import mongrel2 as codec
from appserver.protocols.codec import ProtocolError
from appserver.protocols.mongrel2 import control, envelope, may_continue, parse, sender
from appserver.protocols.mongrel2_fields import DONE, JSON, START, TNETSTRINGS
from appserver.protocols.repeated import LONG, MOST

from .feeding import mongrel2, summary
from .memories import forget, learning
from .memories import forms as forms_of
from .wire import M2, UUID, m2_message, netstring

FORMS = pytest.mark.parametrize("form", ["json", "tnetstring"])

POST = M2 | {"METHOD": "POST", "content-length": "5"}

SERVED = {
    "GET": (M2, b"", {"REQUEST_METHOD": "GET", "PATH_INFO": "/a b", "REQUEST_URI": "/a%20b?x=1",
                      "QUERY_STRING": "x=1", "SERVER_PROTOCOL": "HTTP/1.1", "HTTP_HOST": "localhost",
                      "SERVER_NAME": "localhost", "SERVER_PORT": "80", "SCRIPT_NAME": "",
                      "REMOTE_ADDR": "192.0.2.1", "wsgi.url_scheme": "http"}),
    "POST": (POST, b"hello", {"CONTENT_LENGTH": "5"}),
    "a decoded body": (M2 | {"METHOD": "POST", "transfer-encoding": "chunked"}, b"hello", {"CONTENT_LENGTH": "5"}),
    "a body that looks like a message": (POST | {"content-length": "14"}, m2_message(M2)[:14], {}),
    "lists": (M2 | {"cookie": ["a=1", "b=2"], "x-a": ["1", "2", ""], "x-b": [], "accept": ["x"]}, b"",
              {"HTTP_COOKIE": "a=1; b=2", "HTTP_X_A": "1, 2, ", "HTTP_ACCEPT": "x"}),
    "https": (M2 | {"URL_SCHEME": "https"}, b"", {"wsgi.url_scheme": "https", "SERVER_PORT": "443"}),
    "another scheme": (M2 | {"URL_SCHEME": "gopher"}, b"", {"wsgi.url_scheme": "http"}),
    "no host, old Mongrel2": (
        {k: v for k, v in M2.items() if k not in {"host", "REMOTE_ADDR", "URL_SCHEME", "QUERY"}}, b"",
        {"SERVER_NAME": "localhost", "REMOTE_ADDR": "", "QUERY_STRING": "", "wsgi.url_scheme": "http"}),
    "keys of Mongrel2 and of the client": (  # M8
        M2 | {"method": "m", "path": "p", "remote_addr": "r", "pattern": "t", "url-scheme": "u", "uri": "i",
              "query": "q", "version": "v"}, b"",
        {"REQUEST_METHOD": "GET", "HTTP_METHOD": "m", "PATH_INFO": "/a b", "HTTP_PATH": "p", "HTTP_URI": "i",
         "REMOTE_ADDR": "192.0.2.1", "HTTP_PATTERN": "t", "HTTP_URL_SCHEME": "u", "QUERY_STRING": "x=1"}),
    "a client's own JSON": (M2 | {"METHOD": "JSON"}, b'{"type":"disconnect"}', {"REQUEST_METHOD": "JSON"}),  # M3
    "bytes of any encoding": (M2 | {"x-a": "\xc3\xa9\xff", "x-b": "\x85"}, b"", {"HTTP_X_A": "\xc3\xa9\xff"}),
    "quotes": (M2 | {"x-a": '"q\\"', "x-b": "\\u0041\\n"}, b"", {"HTTP_X_A": '"q\\"', "HTTP_X_B": "\\u0041\\n"}),
    "a tab": (M2 | {"x-a": "a\tb"}, b"", {"HTTP_X_A": "a\tb"}),
    "blanks behind values": (
        POST | {"host": "h ", "content-length": "5 \t", "content-type": "a/b \t ", "cookie": ["a=1 ", "b=2\t"], "x-a": " ",
                "x-b": "\xe9 ", "x-c": "a ,b", "x-d": "v\xa0", "x-e": 'q" ', "URI": "/ "}, b"hello",
        {"HTTP_HOST": "h", "SERVER_NAME": "h", "CONTENT_LENGTH": "5", "CONTENT_TYPE": "a/b", "HTTP_COOKIE": "a=1; b=2",
         "HTTP_X_A": "", "HTTP_X_B": "\xe9", "HTTP_X_C": "a ,b", "HTTP_X_D": "v\xa0", "HTTP_X_E": 'q"', "REQUEST_URI": "/ "}),
    "a blank behind one value": ({"x-z": "v "} | M2, b"", {"HTTP_X_Z": "v"}),
    "a tab behind a value": (M2 | {"host": "h\t"}, b"", {"HTTP_HOST": "h"}),
    "a certificate": (M2 | {"PEER_CERT_SHA1": "ab"}, b"", {"PEER_CERT_SHA1": "ab"}),
    "a length of nothing": (POST | {"content-length": "0"}, b"", {"CONTENT_LENGTH": "0"}),
    "a name of digits": (M2 | {"123": "x", "-": "y"}, b"", {"HTTP_123": "x", "HTTP__": "y"}),
}  # fmt: skip


@FORMS
@pytest.mark.parametrize("name", SERVED)
def test_is_served(name, form):
    fields, body, expected = SERVED[name]
    environ, read = mongrel2(m2_message(fields, body, form=form))
    assert read == body
    assert expected.items() <= environ.items()
    assert all(type(value) is str for value in environ.values())


@pytest.mark.parametrize("name", SERVED)
def test_both_forms_say_the_same(name):  # M9
    fields, body, _ = SERVED[name]
    assert mongrel2(m2_message(fields, body)) == mongrel2(m2_message(fields, body, form="tnetstring"))


@FORMS
@pytest.mark.parametrize("behind", [b" ", b"x", b"0:,", m2_message(M2)])
def test_a_message_ends_with_its_body(form, behind):
    assert mongrel2(m2_message(M2, form=form) + behind) == "400"


@FORMS
def test_a_cut_message_is_malformed(form):
    message = m2_message(POST, b"hello", form=form)
    assert summary([mongrel2(message)]) == ["POST /a b hello"]
    for size in range(len(message)):
        assert mongrel2(message[:size]) == "400"


@FORMS
@pytest.mark.parametrize("character", [*map(chr, range(0x21)), "!", "~", "\x7f", "\x80", "\xad", "\xff"])
@pytest.mark.parametrize("name", [False, True])
def test_what_has_control_characters_is_not_plain(character, name, form, learns):
    for value in "abc":  # the form of what is like it is known
        assert parse(fields_of({"METHOD": "GET", "x": value}, form)).named is None
    said = {f"x{character}": "v"} if name else {"x": f"v{character}"}
    for _ in range(2):
        message = parse(fields_of({"METHOD": "GET"} | said, form))
        value = "v" if name or character in " \t" else f"v{character}"
        blanks = " \t" if form == "tnetstring" else " "  # which are cut; a decoder of JSON refuses the other
        assert (message.named is None) == (character in ("!~" if name else f"!~\xff{blanks}"))
        if message.named is None:
            assert message.fields == {
                "REQUEST_METHOD": "GET",
                f"HTTP_X{character}" if name else "HTTP_X": value,
            }
        else:
            assert message.named == {"METHOD": "GET", f"x{character}" if name else "x": value}


@pytest.fixture
def learns():
    with learning():
        yield


def fields_of(fields, form):
    """Return a message with these fields, which are not escaped."""
    if form == "tnetstring":
        return m2_message(fields, form=form)
    text = "{" + ",".join(f'"{name}":"{value}"' for name, value in fields.items()) + "}"
    return m2_message(fields, head=netstring(text.encode("latin-1")))


TEXT = st.text(st.sampled_from('ab \t\xa6\xe9\x85\x01"\\,:'), max_size=4)
FIELDS = st.dictionaries(
    st.sampled_from(["host", "cookie", "x", "METHOD", "URI", "FLAGS", "proxy", "content-length"]),
    TEXT | st.lists(TEXT, max_size=3),
    max_size=6,
)


@FORMS
@settings(max_examples=300)
@given(several=st.lists(FIELDS, min_size=1, max_size=4))
def test_all_fields_that_are_written_are_read(form, several):
    """Those that have one printable value, by their keys; else all of them by their names.

    JSON that is not ASCII, or has tabs, may be either.
    """
    forget()
    for fields in several * 3:  # with what repeats known by now
        head = netstring(json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode("latin-1"))
        message = parse(m2_message(fields, form=form, head=head if form == "json" else None))
        texts = list(fields.values())
        bare = {
            name: value if name.isupper() or isinstance(value, list) else value.rstrip(" \t")
            for name, value in fields.items()
        }
        plain = all(isinstance(value, str) and value.isprintable() for value in bare.values())
        if not fields:
            assert (message.fields, message.aside) == ({}, {})
            continue
        if form == "tnetstring" or ("".join(map(str, texts)).isascii() and "\\t" not in str(texts)):
            assert (message.named is None) == plain
        aside = {name: value for name, value in fields.items() if name == "FLAGS"}
        assert message.aside == aside
        if message.named is None:
            keys = {name: JSON.key(name) for name in fields.keys() - aside.keys() - {"proxy"}}
            assert message.fields == {keys[name]: bare[name] for name in keys}
        else:
            assert message.named.keys() == fields.keys()
            assert {name: message.named[name] for name in ("METHOD", "URI") if name in fields} == {
                name: fields[name] for name in ("METHOD", "URI") if name in fields
            }


@FORMS
def test_a_base_of_another_counts_for_nothing(form):
    """Whoever looks into a message before has none, and the server's own counts."""
    ours = {"wsgi.url_scheme": "https", "appserver.listener": "ours", "REMOTE_ADDR": "192.0.2.9"}
    for number in range(3):
        message = m2_message(M2 | {"cookie": str(number)}, form=form)
        theirs = [parse(message), parse(message, {}), parse(message, ours)]
        found = [codec.Mongrel2Codec(ours).exchange(each).environ for each in theirs]
        assert found[0] == found[1] == found[2]
        assert ours.items() <= found[0].items()
        assert found[0]["HTTP_COOKIE"] == str(number)
    assert ours.keys() == {"wsgi.url_scheme", "appserver.listener", "REMOTE_ADDR"}


def test_raw_control_characters_in_json():
    """Mongrel2 escapes quotes and backslashes only; a value with a control character is refused."""
    head = json.dumps(M2 | {"x-a": "TAB"}).encode().replace(b"TAB", b"a\tb")
    environ, _ = mongrel2(m2_message(M2, head=netstring(head)))
    assert environ["HTTP_X_A"] == "a\tb"
    for bad in b"\x00\x01\x0b\x1b\x7f\r\n":
        wire = m2_message(M2, head=netstring(head.replace(b"\t", bytes([bad]))))
        assert mongrel2(wire) == "400"


@pytest.mark.parametrize("path, info", [
    (b"/\\u20ac", "/\\u20ac"), (b"/\\u0041%41", "/\\u0041A"), (b"/\\n", "/\\n"), (b"/\\\\", "/\\\\"), (b"/\xe9", "/\xe9"),
])  # fmt: skip
def test_the_path_is_the_one_that_was_sent(path, info):
    """PATH stands in JSON unescaped, so a backslash of the client's is read as an escape there."""
    head = b'{"PATH":"%b","METHOD":"GET","VERSION":"HTTP/1.1","URI":"%b"}' % (
        path,
        path.replace(b"\\", b"\\\\"),
    )
    environ, _ = mongrel2(m2_message(M2, path=path, head=netstring(head)))
    assert environ["PATH_INFO"] == info
    assert environ["REQUEST_URI"] == path.decode("latin-1")


def with_head(head, body=b""):
    return m2_message(M2, body, head=head)


PLAIN = json.dumps(M2).encode()
OPEN = 10000
MALFORMED = [
    b"", b" ", b"x", UUID, UUID + b" 7", UUID + b" 7 /", UUID + b" 7 / ", UUID + b" 7 / 2:{}", UUID + b" 7 / 2:{},",
    with_head(b"-2:{},"), with_head(b"+2:{},"), with_head(b":{},"), with_head(b"2{},"), with_head(b"999999999:{},"),
    with_head(b"1000000000:{},"), with_head(b"2147483648:{},"), with_head(b"1_0:{},"), with_head(b"\xb2:{},"),
    with_head(netstring(b"")), with_head(netstring(b"{")), with_head(netstring(b"[]")), with_head(netstring(b"null")),
    with_head(netstring(b'"x"')), with_head(netstring(b"1" * 5000)), with_head(netstring(PLAIN[:-1])),
    with_head(netstring(PLAIN + b"x")), with_head(netstring(PLAIN, b"]")), with_head(netstring(PLAIN, b"!")),
    with_head(netstring(b"[" * OPEN)), with_head(netstring(b'{"a":' * OPEN)),
    with_head(netstring(b'{"a":' + b"[" * OPEN + b"]" * OPEN + b"}")),
    *(with_head(netstring(PLAIN[:-1] + b',"x":' + value + b"}")) for value in (
        b"1", b"null", b"true", b"{}", b"[1]", b"[[]]", b"[null]", b'"\\u20ac"', b'["a","\\ud800"]', b'"\\x"', b"9" * 5000)),
    with_head(netstring(PLAIN[:-1] + b',"x\\u20ac":"y"}')), with_head(netstring(PLAIN[:-1] + b',"x\\u000a":"y"}')),
    with_head(netstring(PLAIN.replace(b'"URI": "/', b'"URI": "\\u20ac'))),
    *(with_head(netstring(tnet, b"}")) for tnet in (
        b"x", b"1:a,", b"1:a,1:b", b"1:a,1:b#", b"1:a,0:}", b"1:a,0:~", b"1:a#1:b,", b"1:a,9:b,", b"1:a,3:1:b]",
        b"1:a,4:1:b#]", b"1:a,7:4:1:b,]]", b"-1:a,1:b,", b"1:a,1:b,1:a,1:c,")),
    m2_message(M2)[:-3] + b"999999999:,", m2_message(M2)[:-3] + b"-1:,", m2_message(M2)[:-3] + b"0:}",
    m2_message(M2 | {"PATH": "x"}), m2_message(M2 | {"PATH": ""}), m2_message(M2 | {"PATH": "*"}),
    *(m2_message({k: v for k, v in M2.items() if k != name}) for name in ("METHOD", "VERSION")),
    *(m2_message(M2 | {name: ["/"]}) for name in ("METHOD", "VERSION", "URI", "QUERY", "REMOTE_ADDR")),
]  # fmt: skip

REFUSED = {
    "400": [
        (M2 | {"content-length": "5", "transfer-encoding": "chunked"}, b"hello"),  # M5
        (M2 | {"transfer-encoding": "gzip"}, b""), (M2 | {"transfer-encoding": "chunked "}, b""),
        (M2 | {"transfer-encoding": ["chunked", "chunked"]}, b""),
        *((POST | {"content-length": length}, b"hello") for length in (  # M6
            "+5", "-5", "4", "6", "", "5,5", "5 5", "1_0", ["5", "5"], ["5", "6"], "9" * 30)),
        *((M2 | {name: ["a", "a"]}, b"") for name in ("host", "content-type", "authorization", "user-agent")),
        *((M2 | {"host": host}, b"") for host in ("", "a,b", "a/b", "u@h", "a b")),
        *((M2 | {"PATH": path}, b"") for path in ("/%00", "/%0a", "/%0d", "/%7f")),
        (M2 | {"URI": "/\n"}, b""), (M2 | {"x-a": "a\nb"}, b""), (M2 | {"x-a": ["a", "b\0"]}, b""),
        *((M2 | {name: "v"}, b"") for name in ("", "a b", "a\r\nb", "a:b", "\xe9", "\xb5", "\xff", "\xdf")),
        *((M2 | {"VERSION": version}, b"") for version in ("HTTP/2.0", "HTTP/0.9", "", "http/1.1")),
        *((M2 | {"METHOD": method}, b"") for method in ("", "get", "A B", "A\n", "\xc9")),
    ],
    "501": [
        *((M2 | {"METHOD": method}, b"") for method in ("XML", "WEBSOCKET", "WEBSOCKET_HANDSHAKE", "TRACE", "CONNECT")),
        (M2 | {"METHOD": "WEBSOCKET_HANDSHAKE", "sec-websocket-key": "a"}, b"b"),  # a client's own words
        ({k: v for k, v in M2.items() if k != "VERSION"} | {"METHOD": "JSON"}, b'{"type":"msg"}'),
    ],
}  # fmt: skip


@pytest.mark.parametrize("message", MALFORMED, ids=lambda m: f"{m[36:90]!r}-{len(m)}")
def test_malformed_messages(message):
    assert mongrel2(message) == "400"


@FORMS
@pytest.mark.parametrize(
    "verdict, fields, body",
    [pytest.param(v, *case, id=f"{v}-{n}") for v, cases in REFUSED.items() for n, case in enumerate(cases)],
)
def test_is_refused(verdict, fields, body, form):
    assert mongrel2(m2_message(fields, body, form=form)) == verdict


@FORMS
@pytest.mark.parametrize("names", [(START, DONE), (START.title(), DONE.title())])
def test_upload_headers_are_not_passed_on(names, form):  # M4
    for path in ("/etc/passwd", "/etc/shadow", "/etc/group"):
        environ, _ = mongrel2(fields_of(POST | dict.fromkeys(names, path), form).replace(b"0:,", b"5:hello,"))
        assert not [key for key in environ if "UPLOAD" in key.upper()]


@FORMS
def test_an_upload_with_two_lengths_is_none_of_mongrel2s(form):
    """It would be taken for one without a length, and the file that a client names would be removed."""
    upload = M2 | {"METHOD": "POST", "transfer-encoding": "chunked", START: "/u", DONE: "/u"}
    assert announced(parse(m2_message(upload, form=form)))
    assert not announced(parse(m2_message(upload | {"content-length": ["5", "5"]}, form=form)))


def notice(fields, body, path=b"@*"):
    return parse(m2_message(fields, body, path=path)).notice


@pytest.mark.parametrize(
    "fields, body, path, kind",
    [
        ({"METHOD": "JSON"}, b'{"type":"disconnect"}', b"@*", "disconnect"),
        ({"METHOD": "JSON", "DOWNLOAD_CREDITS": "100"}, b'{"type":"credits"}', b"@*", "credits"),
        ({"METHOD": "JSON"}, b"", b"@*", ""),
        ({"METHOD": "JSON"}, b"[]", b"@*", ""),
        ({"METHOD": "JSON"}, b"{", b"@*", ""),
        ({"METHOD": "JSON"}, b"\xff", b"@*", ""),
        ({"METHOD": "JSON"}, b"9" * 5000, b"@*", ""),
        ({"METHOD": "JSON"}, b"[" * 100000, b"@*", ""),
        ({"METHOD": "JSON"}, b'{"type":1}', b"@*", "1"),
        ({"METHOD": "JSON"}, b'{"type":"disconnect"}', b"@chat", None),
        ({"METHOD": "JSON", "VERSION": "HTTP/1.1"}, b'{"type":"disconnect"}', b"@*", None),
        (M2 | {"METHOD": "JSON"}, b'{"type":"disconnect"}', b"/x", None),
        ({"METHOD": "GET"}, b'{"type":"disconnect"}', b"@*", None),
        ({"method": "JSON"}, b'{"type":"disconnect"}', b"@*", None),
    ],
)
def test_notices(fields, body, path, kind):
    assert notice(fields, body, path) == kind


@pytest.mark.parametrize(
    "message, who",
    [
        (b"a-B9 12 junk", (b"a-B9", b"12")),
        (b"a 4294967295 ", (b"a", b"4294967295")),
        (b"a 42949672950 /", None),
        (b"a -1 /", None),
        (b"a +1 /", None),
        (b"a  /", None),
        (b" 1 /", None),
        (b"- 1 /", None),
        (b"a_b 1 /", None),
        (b"\xe9 1 /", None),
        (b"a" * 129 + b" 1 /", None),
        (b"a 1", None),
        (b"", None),
    ],
)
def test_who_sent_a_malformed_message(message, who):
    assert sender(message) == who
    if who is None:
        with pytest.raises(ProtocolError):
            parse(message)


@pytest.mark.parametrize(
    "pattern, path, script, info",
    [
        ("/app/", "/app/x", "/app", "/x"),
        ("/app/(.*)", "/app/x", "/app", "/x"),
        ("/app", "/app", "/app", ""),
        ("/app", "/application", "", "/application"),
        ("/", "/x", "", "/x"),
        ("/a(b|c)/", "/ab/", "", "/ab/"),
    ],
)
def test_script_name(pattern, path, script, info):
    environ, _ = mongrel2(m2_message(M2 | {"PATTERN": pattern, "PATH": path}), script_name=True)
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == (script, info)
    environ, _ = mongrel2(m2_message(M2 | {"PATTERN": pattern, "PATH": path}))
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("", path)


@pytest.mark.parametrize("pattern", ["/caf%C3%A9/", "/caf%C3%A9", "/caf%C3%A9/(.*)"])
@pytest.mark.parametrize(
    "path, script, info",
    [
        ("/caf%C3%A9/%41/x", "/caf\u00c3\u00a9", "/A/x"),
        ("/caf%C3%A9", "/caf\u00c3\u00a9", ""),
        ("/caf%C3%A9s", "", "/caf\u00c3\u00a9s"),
    ],
)
def test_a_route_is_compared_as_it_is_sent(pattern, path, script, info):
    """Mongrel2 decodes neither."""
    environ, _ = mongrel2(m2_message(M2 | {"PATTERN": pattern, "PATH": path}), script_name=True)
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == (script, info)


@pytest.mark.parametrize(("version", "options", "kept"), [
    ("1.1", "close, keep-alive", False), ("1.0", "keep-alive, x", True), ("1.0", "close, keep-alive", False),
])  # fmt: skip
def test_who_keeps_the_connection(version, options, kept):
    message = m2_message(M2 | {"VERSION": f"HTTP/{version}", "connection": options})
    assert codec.Mongrel2Codec({}).exchange(parse(message)).keep_alive is kept


def test_envelopes():
    assert envelope((b"uuid", b"123"), [b"body"]) == b"uuid 3:123, body"
    assert envelope((b"uuid", b"123"), [b""]) == b"uuid 3:123, "


def test_many_fields_and_values_are_read():
    """A list of 100,000 values is joined in one go, and 20,000 fields are read in one pass."""
    environ, _ = mongrel2(m2_message(M2 | {"x-a": ["v"] * 100000}, form="tnetstring"))
    assert len(environ["HTTP_X_A"]) == 3 * 100000 - 2
    environ, _ = mongrel2(m2_message(M2 | {f"x{n}": "v" for n in range(20000)}, form="tnetstring"))
    assert environ["HTTP_X19999"] == "v"


@pytest.mark.parametrize(
    "fields, found",
    [
        ({"DOWNLOAD_CREDITS": "102400"}, 102400),
        ({"DOWNLOAD_CREDITS": "0"}, 0),
        ({"DOWNLOAD_CREDITS": "-5"}, 0),
        ({"DOWNLOAD_CREDITS": "9" * 30}, 0),
        ({"DOWNLOAD_CREDITS": "\xb2"}, 0),
        ({"DOWNLOAD_CREDITS": ["1", "2"]}, 0),
        ({"download_credits": "102400", "x": "DOWNLOAD_CREDITS"}, 0),
        ({}, 0),
    ],
)
@FORMS
def test_credits(fields, found, form):
    assert parse(m2_message(M2 | fields, form=form)).credits == found


@pytest.mark.parametrize(
    "fields, found",
    [
        ({"UPLOAD_STREAM": "4034"}, True),
        ({"UPLOAD_STREAM": "0"}, True),
        ({"UPLOAD_STREAM": "-2147483648", "UPLOAD_STREAM_DONE": "1"}, True),
        ({"UPLOAD_STREAM_DONE": "1", "UPLOAD_STREAM": "98242"}, True),
        (M2 | {"UPLOAD_STREAM": "0"}, False),
        ({"UPLOAD_STREAM": "0"} | M2, False),
        (M2 | {"x": "UPLOAD_STREAM"}, False),
    ],
)
@FORMS
def test_a_later_piece_is_told_from_a_request_by_its_few_bytes(fields, found, form):
    message = m2_message(fields, b"13:UPLOAD_STREAM,1:0,", form=form)
    assert parse(message).continues == found
    assert may_continue(message, sender(message)) == found


@pytest.mark.parametrize(
    "orders, data",
    [
        ({"credits": 16384, "cancel": True}, b"44:3:ctl,34:7:credits,5:16384#6:cancel,4:true!}]"),
        ({"keep_alive": True}, b"31:3:ctl,21:10:keep-alive,4:true!}]"),
        ({}, b"9:3:ctl,0:}]"),
    ],
)
def test_orders(orders, data):
    assert control((b"54c6755b-9a2d", b"37"), **orders) == b"54c6755b-9a2d 4:X 37, " + data


@FORMS
def test_a_flood_of_names_is_forgotten(form):
    known = JSON if form == "json" else TNETSTRINGS
    for number in range(MOST + 5):
        message = fields_of(M2 | {f"x-{number}": "1", f"x-{'a' * LONG}": "2"}, form)
        environ, _ = mongrel2(message.replace(UUID, b"%d" % number, 1))
        assert environ[f"HTTP_X_{number}"] == "1"
        assert len(known._keys) <= MOST
        assert len(codec._senders.known) <= MOST
    assert len(forms_of(known)) <= forms.MOST
    mongrel2(fields_of(M2 | {"x-last": "1"}, form))
    assert "x-last" in known._keys
    assert UUID in codec._senders.known
    assert not [name for name in known._keys if len(name) > LONG], "they would be much together"
