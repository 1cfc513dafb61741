"""Names and addresses of DNS answers: records in the clear, and the hints beside them."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from kzpcap.dns import answers
from tests.build import vector


def name(text):
    return b"".join(vector(label.encode(), 1) for label in text.split(".")) + b"\0"


def response(asked, *records):
    body = struct.pack(">HHHHHH", 7, 0x8180, 1, len(records), 0, 0) + name(asked) + b"\0\1\0\1"
    for kind, data in records:
        body += b"\xc0\x0c" + struct.pack(">HHI", kind, 1, 60) + vector(data, 2)
    return body


def test_addresses_and_the_hints_of_https_records():
    """RFC 9460 section 7.3: a client may use them before any A record comes, and so they are given to the name."""
    hints = b"\0\1\0" + b"\0\1" + vector(b"\2h2", 2) + b"\0\4" + vector(bytes([203, 0, 113, 80, 203, 0, 113, 81]), 2)
    hints += b"\0\6" + vector(bytes.fromhex("20010db8000000000000000000000001"), 2)
    found = answers(response("VK.com", (1, bytes([203, 0, 113, 7])), (65, hints), (16, b"text")))
    assert found == ("vk.com", ("203.0.113.7", "203.0.113.80", "203.0.113.81", "2001:db8::1"))
    assert answers(response("vk.com", (65, b"\0\0" + name("other.example")))) is None
    assert answers(response("vk.com", (65, b"\0\1\0\0\4\0\5abcde"))) is None, "no multiple of an address"


@given(st.binary(max_size=200))
def test_any_bytes(data):
    answers(response("vk.com", (65, data)))
    answers(data)


def test_a_name_that_points_into_itself_is_none():
    """RFC 1035 section 4.1.4: a pointer goes to a prior occurrence. Round and round, a megabyte took half a minute."""
    label = b"\x3f" + b"\xff" * 63
    round_ = label * 3 + b"\xc0\x0c"
    head = b"\0\1\x81\x80\0\1\0\1\0\0\0\0"
    answer = b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4\xc0\0\2\1"
    assert answers(head + round_ + b"\0\1\0\1" + answer) is None
    assert answers(head + b"\x40" + b"a" * 64 + b"\0\0\1\0\1" + answer) is None, "a label of 64"
    assert answers(head + (b"\x3f" + b"a" * 63) * 4 + b"\0\0\1\0\1" + answer) is None, "a name of 256"
    assert answers(head + b"\3www\2kz\0\0\1\0\1" + answer) == ("www.kz", ("192.0.2.1",))
