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
