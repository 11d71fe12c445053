"""The field lines of heads, and that nothing of them is kept that should not be."""

import pytest

from appserver.protocols import forms, lines
from appserver.protocols.codec import ProtocolError
from appserver.protocols.http import HttpCodec, RequestLimits
from appserver.protocols.lines import LINES
from appserver.protocols.readers import h11_fields

from .feeding import BASE
from .memories import everything, forget, kept
from .memories import forms as forms_of


@pytest.fixture(autouse=True)
def forgotten():
    forget()


def head(*fields):
    return "".join(f"{line}\r\n" for line in ("GET / HTTP/1.0", *fields, "")).encode("latin-1")


def read(*fields, limits=RequestLimits(), base=BASE):  # noqa: B008  (it is a tuple)
    return HttpCodec(base, None, limits).receive(head(*fields)).environ


def known(*fields, base=BASE):
    """Return what is known of a head with these fields."""
    data = head(*fields)
    return LINES.filled(data, data.decode("latin-1"), data.find(b"\r\n") + 2, len(data) - 2, base)


def test_what_has_been_read_is_known():
    fields = ["Host: a", "Accept: */*"]
    assert known(*fields) is None
    read(*fields)
    assert known(*fields) == BASE | {"HTTP_HOST": "a", "HTTP_ACCEPT": "*/*"}
    assert known(*fields, "Accept:  */*") is None
    assert kept(LINES) == {("HTTP_HOST", "a"), ("HTTP_ACCEPT", "*/*")}


@pytest.mark.parametrize(
    "line",
    [
        "Cookie: a=secret",
        "Authorization: Basic secret",
        "X-Api-Key: secret",
        "Content-Length: 5555",
        "Transfer-Encoding: chunked",
        "Expect: 100-continue",
        "Host: " + "a" * 300,
    ],
)
def test_what_is_secret_frames_or_is_long_is_not_kept(line):
    name, _, value = line.partition(": ")
    assert lines.read([line])[0][1] == value
    data = head(line, "Accept: */*")
    for _ in range(3):
        HttpCodec(BASE)._read(data, data.decode("latin-1"), 16, [line, "Accept: */*"])
    assert value not in everything(LINES)
    assert kept(LINES) == {("HTTP_ACCEPT", "*/*")}
    [form] = forms_of(LINES)
    assert form.keys == [lines._key(name)]
    assert form.whole == BASE | {lines._key(name): "", "HTTP_ACCEPT": "*/*"}


def test_fields_that_are_dropped_are_no_entries():
    assert lines.read(["Proxy: http://evil", "a_b: c"]) == []
    assert lines.entries([("Proxy", "http://evil"), ("a_b", "c"), ("A-B", "c")]) == [("HTTP_A_B", "c")]
    for _ in range(2):
        assert read("Proxy: http://evil", "a_b: c", "A-B: c").items() - BASE.items() >= {("HTTP_A_B", "c")}
    assert known("Proxy: http://evil", "a_b: c", "A-B: c").items() - BASE.items() == {("HTTP_A_B", "c")}


@pytest.mark.parametrize("line", ["no colon", ": nameless", "a b: c", " Host: a", "Host : a"])
def test_what_is_no_field_is_refused_each_time(line):
    for _ in range(2):
        with pytest.raises(ProtocolError):
            lines.read([line])
        with pytest.raises(ProtocolError):
            read("Accept: a", line)
        read("Accept: a")
        read("Accept: b")  # so that it varies by now


def test_a_flood_of_lines_is_forgotten():
    for number in range(forms.MOST + 5):
        LINES._memory.misses = 0  # so that each is learned
        read(f"X-{number}: a", f"User-Agent: {number}")
        assert len(forms_of(LINES)) <= forms.MOST
    read("Host: a")
    assert known("Host: a") is not None


def test_what_a_reader_has_read_is_not_learned():
    HttpCodec(BASE, h11_fields).receive(head("Host: a"))
    assert known("Host: a") is None


@pytest.mark.parametrize(
    "value", [" a", "a ", " a ", "\ta", "a\t", " ", "", "\xa6", "\xa6 ", " \xa6", "a \xa6 b", "\xa0"]
)
@pytest.mark.parametrize("lead", ["", " "])
def test_blanks_around_a_value_that_varies_are_no_part_of_it(lead, value):
    for other in ("a", "b"):
        read(f"X-A:{lead}{other}", f"X-B:{lead}{other}", "Accept: a")
    assert known(f"X-A:{lead}c", f"X-B:{lead}d", "Accept: a") is not None
    for fields in ((f"X-A:{lead}{value}", f"X-B:{lead}c"), (f"X-A:{lead}c", f"X-B:{lead}{value}")):
        environ = read(*fields, "Accept: a")
        told = [environ["HTTP_X_A"], environ["HTTP_X_B"]]
        assert told == [field.partition(":")[2].strip(" \t") for field in fields]


def test_fields_are_counted_though_their_form_is_known():
    fields = [f"X-{number}: a" for number in range(8)]
    read(*fields)
    assert known(*fields) is not None
    assert len(read(*fields, limits=RequestLimits(fields=8))) == len(read(*fields))
    with pytest.raises(
        ProtocolError, match="more header fields than the 7 of limit-request-fields"
    ) as caught:
        read(*fields, limits=RequestLimits(fields=7))
    assert caught.value.status.startswith("431")


def test_lines_are_measured_though_their_form_is_known():
    for _ in range(2):
        read("Cookie: " + "a" * 90, "Accept: b")
    assert known("Cookie: " + "c" * 90, "Accept: b") is not None
    read("Cookie: " + "a" * 90, "Accept: b", limits=RequestLimits(field=100))
    with pytest.raises(ProtocolError, match="more than the 99 bytes of limit-request-field-size"):
        read("Cookie: " + "a" * 90, "Accept: b", limits=RequestLimits(field=99))
    with pytest.raises(ProtocolError, match="more than the 15 bytes of limit-request-line"):
        read("Cookie: " + "a" * 90, "Accept: b", limits=RequestLimits(line=15))
    read("Cookie: " + "a" * 90, "Accept: b", limits=RequestLimits(line=16))
    with pytest.raises(ProtocolError, match="bytes of buffer-size"):
        read("Cookie: " + "a" * 90, "Accept: b", limits=RequestLimits(size=100))


def test_the_first_line_is_checked_though_the_form_of_the_fields_is_known():
    read("Host: a")
    for line, status in (
        (b"GET /\x01 HTTP/1.0", "400"),
        (b"GET /\xe9 HTTP/1.0", "400"),
        (b"GET / HTTP/2.0", "505"),
    ):
        with pytest.raises(ProtocolError) as caught:
            HttpCodec(BASE).receive(line + b"\r\nHost: a\r\n\r\n")
        assert caught.value.status.startswith(status)


def test_a_head_without_fields_has_what_all_have():
    for _ in range(2):
        assert BASE.items() <= HttpCodec(BASE).receive(b"GET / HTTP/1.0\r\n\r\n").environ.items()
        read("Host: a")


@pytest.mark.parametrize("base", [BASE, {}])
def test_what_is_known_of_a_connection_is_in_each_of_its_requests_alone(base):
    clients = [{"REMOTE_ADDR": f"192.0.2.{number}", "REMOTE_PORT": str(number)} for number in (2, 3)]
    for number in range(3):
        for client in (*clients, None):
            codec = HttpCodec(base, client=client)
            environ = codec.receive(head("Host: a", f"Cookie: {number}")).environ
            expected = base | {"HTTP_HOST": "a", "HTTP_COOKIE": str(number)} | (client or {})
            assert expected.items() <= environ.items()
            assert environ.get("REMOTE_PORT") == expected.get("REMOTE_PORT")
    assert "192.0.2.3" not in everything(LINES)
