"""HTTP requests that are refused (RFC 9112), by the codec alone and truly byte by byte."""

import pytest

from appserver.protocols.codec import ProtocolError
from appserver.protocols.http import HttpCodec
from tests.security.wires import BEHIND, CHUNKS, HEADS, POST, TE, parameters

from .feeding import BASE, CUTS, READERS, http, summary

pytestmark = pytest.mark.parametrize("reader", READERS)


@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize("case, status, head", parameters(HEADS))
def test_a_head_is_refused(reader, how, case, status, head):
    assert summary(http(f"{head}\r\n{BEHIND}".encode("latin-1"), reader, how)) == [status]


@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize("case, status, chunks", parameters(CHUNKS))
def test_chunks_are_refused(reader, how, case, status, chunks):
    assert summary(http(f"{POST}{TE}\r\n{chunks}{BEHIND}".encode("latin-1"), reader, how)) == [status]


@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize("size", [8188, 8189, 8190, 8191, 8192, 8193])
def test_a_long_first_line_without_fields(reader, how, size):
    """It is of the largest size, or too long: there is no field to look at."""
    first = f"GET /{'a' * (size - 14)} HTTP/1.0"
    found = summary(http(f"{first}\r\n\r\n{BEHIND}".encode(), reader, how))
    assert found[0][:3] == ("414" if size > 8190 else "GET")


def test_a_bare_cr_in_a_long_first_line(reader):
    """It is what is wrong, also where all that follows has been read before."""
    for _ in range(3):
        assert summary(http(b"GET / HTTP/1.1\r\nHost: known\r\n\r\n", reader)) == ["GET /"]
    line = b"GET / HTTP/1.1\rX: " + b"x" * 9000
    assert summary(http(line + b"\r\nHost: known\r\n\r\n", reader)) == ["400"]


@pytest.mark.parametrize(("method", "rest", "body"), [
    ("HEAD", "", False), ("HEAD", "Host: h\r\nExpect: x\r\n", False), ("HEAD", "Host: h\r\nHost: h\r\n", False),
    ("GET", "", True), ("HEADER", "", True), ("HEAD", "X-Long: " + "x" * 70_000, True),
])  # fmt: skip
def test_a_refusal_of_head_has_no_body(reader, method, rest, body):
    """A head that is not read to its end tells no method."""
    codec = HttpCodec(BASE, READERS[reader])
    with pytest.raises(ProtocolError) as caught:
        codec.receive(f"{method} / HTTP/1.1\r\n{rest}\r\n".encode())
    answer = codec.refuse(caught.value)
    assert answer.endswith(b"\r\n\r\n") is not body
    assert b"\r\nContent-Length: " in answer


def test_a_certificate_of_several_lines_is_refused_with_a_hint(reader):
    """nginx sends it so with ``proxy_set_header X-SSL-Cert $ssl_client_cert``."""
    pem = b"-----BEGIN CERTIFICATE-----\n\tMIIB\n\t-----END CERTIFICATE-----"
    head = b"GET / HTTP/1.1\r\nHost: h\r\nX-SSL-Cert: " + pem + b"\r\n\r\n"
    with pytest.raises(ProtocolError, match="without CRLF") as caught:
        HttpCodec(BASE, READERS[reader]).receive(head)
    assert "$ssl_client_escaped_cert" in caught.value.hint
