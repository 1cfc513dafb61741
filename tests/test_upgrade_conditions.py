"""What came before TLS: each protocol by both its sides, and each condition of a proxy's request by itself."""

from __future__ import annotations

import pytest

from kzpcap.tls.upgrade import LOOK, Upgrade, recognise

BOTH = {
    "smtp": (b"EHLO me\r\nSTARTTLS\r\n", b"220 hi\r\n250 STARTTLS\r\n"),
    "imap": (b"a STARTTLS\r\n", b"* OK ready\r\na OK go\r\n"),
    "pop3": (b"CAPA\r\nSTLS\r\n", b"+OK hi\r\n"),
    "ftp": (b"AUTH TLS\r\n", b"220 hi\r\n234 go\r\n"),
    "nntp": (b"STARTTLS\r\n", b"200 hi\r\n382 go\r\n"),
    "sieve": (b"STARTTLS\r\n", b'"IMPLEMENTATION" "x"\r\nOK\r\n'),
    "irc": (b"CAP LS\r\nSTARTTLS\r\n", b":irc.example 670 me :go\r\n"),
    "xmpp": (b"<?xml version='1.0'?><stream:stream><starttls/>", b"<?xml version='1.0'?><stream:stream><proceed/>"),
    "ldap": (b"0\x1d\x02\x01\x01w\x18\x80\x161.3.6.1.4.1.1466.20037", b"0\x0c\x02\x01\x01x\x07\n\x01\0\x04\0\x04\0"),
    "postgresql": (b"\0\0\0\x08\x04\xd2\x16\x2f", b"S"),
    "mysql": (b"\x20\0\0\x01\x05\xae", b"\x4a\0\0\0\x0a8.0.36"),
    "rdp": (b"\x03\0\0\x13\x0e\xe0", b"\x03\0\0\x13\x0e\xd0"),
}


@pytest.mark.parametrize("name", list(BOTH))
def test_each_protocol_is_known_by_what_both_sides_say(name):
    client, server = BOTH[name]
    assert recognise(client, server) == Upgrade(name)
    assert recognise(client, b"HTTP/1.1 400 Bad\r\n") is None
    assert recognise(b"HTTP/1.1 400 Bad\r\n", server) is None


ALONE = {"smtp", "imap", "ftp", "mysql"}


@pytest.mark.parametrize("name", list(BOTH))
def test_where_one_side_is_not_captured_a_greeting_or_a_request_is_enough(name):
    """Servers of mail, files and MySQL speak first; other answers alone are those of many protocols."""
    client, server = BOTH[name]
    found = recognise(b"", server)
    assert (found is not None) is (name in ALONE)
    assert recognise(client, b"") is not None


def test_without_a_word_there_is_no_protocol():
    assert recognise(b"", b"") is None
    assert recognise(b"GET / HTTP/1.1\r\n\r\n", b"") is None


@pytest.mark.parametrize(
    "header",
    [b"PROXY TCP4 ", b"PROXY TCP6 ", b"PROXY UNKNOWN", b"\r\n\r\n\0\r\nQUIT\n"],
)
def test_a_balancers_header_is_a_proxys(header):
    assert recognise(header + b"and more", b"") == Upgrade("proxy-protocol", None, True)
    assert recognise(b"x" + header, b"") is None


@pytest.mark.parametrize(
    ("line", "requested"),
    [
        (b"CONNECT vk.com:443 HTTP/1.1", b"vk.com"),
        (b"connect  vk.com:443 HTTP/1.0", b"vk.com"),
        (b"CONNECT [2001:db8::1]:443 HTTP/1.1", b"2001:db8::1"),
        (b"CONNECT vk.com HTTP/1.1", None),
        (b"GET http://vk.com:443/ HTTP/1.1", None),
    ],
)
def test_a_proxy_is_asked_for_a_name_and_a_port(line, requested):
    found = recognise(line + b"\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n")
    assert found == (Upgrade("http-connect", requested, True) if requested else None)


# SOCKS

GREETING = b"\x05\x01\x00"
REQUEST = b"\x05\x01\x00\x03\x06vk.com\x01\xbb"
LOGIN = b"\x01\x02me\x06secret"


@pytest.mark.parametrize(
    ("client", "proxied"),
    [
        (b"\x05\x01\x00", True),
        (b"\x05\x02\x00", False),
        (b"\x05\x02\x00\x02", True),
        (b"\x05\x00\x00", False),
        (b"\x05\x01", False),
        (b"\x05", False),
        (b"\x05\x0f" + bytes(15), True),
        (b"\x05\x10" + bytes(16), False),
        (b"\x06\x01\x00", False),
    ],
    ids=["one method", "one of two", "two", "none", "cut", "a byte", "fifteen", "sixteen", "another version"],
)
def test_a_greeting_names_as_many_methods_as_it_says(client, proxied):
    found = recognise(client, b"")
    assert (found == Upgrade("socks5", None, True)) is proxied
    assert proxied or found is None


@pytest.mark.parametrize(
    ("client", "server", "requested"),
    [
        (GREETING + REQUEST, b"\x05\x00", b"vk.com"),
        (b"\x05\x02\x00\x02" + REQUEST, b"\x05\x00", b"vk.com"),
        (GREETING + LOGIN + REQUEST, b"\x05\x02\x01\x00", b"vk.com"),
        (GREETING + LOGIN + REQUEST, b"\x05\x00", None),
        (GREETING + LOGIN + REQUEST, b"", None),
        (GREETING + b"\x01\x02me\x00" + REQUEST, b"\x05\x02\x01\x00", b"vk.com"),
        (GREETING + REQUEST, b"\x05\x02", b"vk.com"),
        (GREETING + b"\x05\x02\x00\x03\x06vk.com\x01\xbb", b"\x05\x00", None),
        (GREETING + b"\x05\x01\x00\x01\x5d\xb8\xd8\x22\x01\xbb", b"\x05\x00", None),
        (GREETING + b"\x05\x01\x00\x04" + bytes(18), b"\x05\x00", None),
        (GREETING + b"\x05\x01\x00\x03\x01v\x01", b"\x05\x00", b"v"),
        (GREETING + b"\x05\x01\x00\x03\x01v", b"\x05\x00", None),
        (GREETING + b"\x01\x02", b"\x05\x02", None),
        (GREETING + b"\x01\x02me", b"\x05\x02", None),
        (GREETING + b"\x01", b"\x05\x02", None),
        (GREETING, b"\x05\x02", None),
    ],
    ids=[
        "no login", "two methods", "a login", "a login that was not asked for", "no answer", "an empty password",
        "no login although it was chosen", "BIND", "an address", "one of version 6", "seven bytes", "six bytes",
        "a login that is cut", "one without a password", "a byte of it", "nothing more",
    ],
)  # fmt: skip
def test_the_name_stands_behind_a_greeting_and_a_login(client, server, requested):
    assert recognise(client, server) == Upgrade("socks5", requested, True)


@pytest.mark.parametrize(
    ("address", "rest", "requested"),
    [
        (b"\0\0\0\x01", b"me\0vk.com\0", b"vk.com"),
        (b"\0\0\0\xff", b"\0vk.com\0", b"vk.com"),
        (b"\0\0\0\0", b"me\0vk.com\0", None),
        (b"\0\0\x01\x01", b"me\0vk.com\0", None),
        (b"\x5d\xb8\xd8\x22", b"me\0vk.com\0", None),
        (b"\0\0\0\x01", b"me\0vk.com", None),
        (b"\0\0\0\x01", b"me\0vk.com\0\x16\x03\x01", b"vk.com"),
    ],
    ids=["a name", "no user", "no address", "an address", "another", "cut", "with what follows"],
)
def test_socks4_names_a_host_behind_an_address_that_is_none(address, rest, requested):
    assert recognise(b"\x04\x01\x01\xbb" + address + rest, b"") == Upgrade("socks4", requested, True)


@pytest.mark.parametrize(("size", "found"), [(9, True), (8, False)])
def test_a_request_of_socks4_has_nine_bytes_at_least(size, found):
    assert (recognise((b"\x04\x01\x01\xbb" + bytes(9))[:size], b"") is not None) is found
    assert recognise(b"\x04\x02\x01\xbb" + bytes(9), b"") is None


@pytest.mark.parametrize(("before", "found"), [(LOOK - 12, True), (LOOK - 11, False)])
def test_no_more_than_the_first_bytes_are_looked_at(before, found):
    """A request of twelve bytes behind others."""
    client = b"a NOOP\r\n".ljust(before - 2, b"x") + b"\r\na STARTTLS\r\n"
    assert (recognise(client, b"* OK ready\r\n") is not None) is found
    server = b"\0" * before + b" 670 "
    assert (recognise(b"STARTTLS\r\n", server) is not None) is (before + 5 <= LOOK)
