"""Tagged netstrings, read and written."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appserver.protocols.codec import ProtocolError
from appserver.protocols.tnetstring import dictionary, encode, netstring, strings


@pytest.mark.parametrize(
    "data, at, found",
    [
        (b"0:,", 0, (2, 2)),
        (b"5:hello,", 0, (2, 7)),
        (b"xx5:hello}yy", 2, (4, 9)),
        (b"000000005:hello,", 0, (10, 15)),
        (b"1:::", 0, (2, 3)),
    ],
)
def test_netstrings(data, at, found):
    assert netstring(data, at) == found


@pytest.mark.parametrize(
    "data",
    [b"", b":", b"5", b"5:", b"5:hello", b"6:hello,", b"-1:,", b"+1:a,", b" 1:a,", b"1 :a,", b"a:,", b"0x1:a,",
     b"0000000005:hello,", b"999999999:a,", b"2147483648:a,", b"1_0:aaaaaaaaaa,", b"\xb2:aa,"],
)  # fmt: skip
def test_no_netstrings(data):
    with pytest.raises(ProtocolError) as caught:
        netstring(data, 0)
    assert caught.value.status == "400 Bad Request"


@pytest.mark.parametrize(
    "value, wire",
    [
        ("", b"0:,"),
        ("\xe9", b"1:\xe9,"),
        (b"\0\xff", b"2:\0\xff,"),
        (12, b"2:12#"),
        (-1, b"2:-1#"),
        (True, b"4:true!"),
        (False, b"5:false!"),
        ([], b"0:]"),
        ({}, b"0:}"),
        (["ctl", {"keep-alive": True}], b"31:3:ctl,21:10:keep-alive,4:true!}]"),
    ],
)
def test_encodes(value, wire):
    assert encode(value) == wire


TEXT = st.text(st.characters(max_codepoint=255), max_size=40)
NAMES = TEXT | st.sampled_from(["host", "accept", "via", "METHOD", "VERSION"])
FIELDS = st.dictionaries(NAMES, TEXT | st.lists(TEXT, max_size=4), max_size=8)


@settings(max_examples=200)
@given(FIELDS, st.binary(max_size=20))
def test_reads_what_it_writes(fields, behind):
    wire = encode(fields)
    start, end = netstring(wire + behind + b",", 0)
    assert (wire + behind)[end] == ord("}")
    assert dictionary(wire + behind, start, end) == fields


@settings(max_examples=200)
@given(FIELDS, st.data())
def test_a_changed_byte_is_an_error_or_another_dictionary(fields, data):
    wire = bytearray(encode(fields))
    wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    wire = bytes(wire)
    try:
        start, end = netstring(wire, 0)
        found = dictionary(wire, start, end)
    except ProtocolError:
        return
    assert all(isinstance(value, str | list) for value in found.values())
    assert sum(len(name) for name in found) <= len(wire)


@settings(max_examples=200)
@given(st.binary(max_size=60), st.integers(0, 70))
def test_only_protocol_errors_escape(data, stop):
    for read in (strings, dictionary):
        try:
            read(data, 0, min(stop, len(data)))
        except ProtocolError:
            continue


@pytest.mark.parametrize("data", [b"", b"0:,", b"1:a,1:b,", b"3:a,b,"], ids=["none", "empty", "two", "comma"])
def test_lists(data):
    assert strings(data, 0, len(data)) == {0: [], 3: [""], 8: ["a", "b"], 6: ["a,b"]}[len(data)]


@pytest.mark.parametrize("data", [b"1:a", b"1:a#", b"1:a]", b"2:a,", b"a", b"0:]", b"1:a,x"])
def test_no_lists_of_strings(data):
    with pytest.raises(ProtocolError):
        strings(data + b",,", 0, len(data))


def test_nesting_is_refused_without_descending():
    wire = b"1:a,"
    for _ in range(10000):
        wire = b"%d:%b]" % (len(wire), wire)
    with pytest.raises(ProtocolError, match="something else than strings"):
        dictionary(b"1:k," + wire, 0, len(wire) + 4)
