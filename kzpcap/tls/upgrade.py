"""What comes before TLS on a connection: STARTTLS in its many forms, HTTP CONNECT, SOCKS, a balancer's PROXY header.

The protocol is recognised by what both sides said in clear, never by the port alone.
"""

from __future__ import annotations

import re
from typing import NamedTuple

LOOK = 4_096
PROXY = (b"PROXY TCP4 ", b"PROXY TCP6 ", b"PROXY UNKNOWN", b"\r\n\r\n\0\r\nQUIT\n")
"""How the header begins with which a balancer tells a server whom it stands for (HAProxy, "The PROXY protocol")."""


class Upgrade(NamedTuple):
    """The protocol that came first; for a proxy the name it was asked for, raw."""

    protocol: str
    requested: bytes | None = None
    proxy: bool = False


STARTTLS: tuple[tuple[str, re.Pattern[bytes], re.Pattern[bytes]], ...] = tuple(
    (name, re.compile(client, re.IGNORECASE | re.DOTALL), re.compile(server, re.IGNORECASE | re.DOTALL))
    for name, client, server in (
        ("smtp", rb"^(EHLO|HELO|LHLO|STARTTLS)\b", rb"^(220|250)[ -]"),
        ("imap", rb"(^|\n)[^\s+]+ STARTTLS\r?\n", rb"^\* (OK|PREAUTH)|^\S+ OK "),
        ("pop3", rb"(^|\n)STLS\r?\n", rb"^\+OK"),
        ("ftp", rb"(^|\n)AUTH (TLS|SSL)", rb"^(220|234)[ -]"),
        ("nntp", rb"(^|\n)STARTTLS\r?\n", rb"^(200|201|382) "),
        ("sieve", rb"(^|\n)STARTTLS\r?\n", rb"^(\"|OK)"),
        ("irc", rb"(^|\n)STARTTLS\r?\n", rb" 670 "),
        ("xmpp", rb"<starttls|<stream:stream", rb"<proceed|<stream:stream|<stream:features"),
        ("ldap", rb"1\.3\.6\.1\.4\.1\.1466\.20037", rb"^\x30"),
        ("postgresql", rb"^(\x00\x00\x00\x08\x04\xd2\x16\x30)?\x00\x00\x00\x08\x04\xd2\x16\x2f", rb"^N?S"),
        ("mysql", rb"^.{3}\x01", rb"^.{3}\x00\x0a"),
        ("rdp", rb"^\x03\x00", rb"^\x03\x00"),
    )
)
REPLY = re.compile(rb"\d{3}[ -]")
"""How a server's answers begin in SMTP, FTP and NNTP: such a text is no client's."""
CONNECT = re.compile(rb"^CONNECT +(?:\[([0-9a-fA-F:.]+)\]|([^\s:/]+)):(\d+)", re.IGNORECASE)


def recognise(client: bytes, server: bytes) -> Upgrade | None:
    """The upgrade protocol of a connection from the first bytes of both sides; None where there is none."""
    client, server = client[:LOOK], server[:LOOK]
    if client.startswith(PROXY):
        return Upgrade("proxy-protocol", None, True)
    connect = CONNECT.match(client)
    if connect:
        return Upgrade("http-connect", connect[1] or connect[2], True)
    if client[:1] == b"\x05" and len(client) >= 3 and len(client) >= 2 + client[1] and 0 < client[1] < 16:
        return Upgrade("socks5", _socks5(client, server), True)
    if client[:2] == b"\x04\x01" and len(client) >= 9:
        return Upgrade("socks4", _socks4(client), True)
    for name, said, answered in STARTTLS:
        asks, answers = said.search(client), answered.search(server)
        alone = not server and not REPLY.match(client)
        if asks and (answers or alone):
            return Upgrade(name)
        if not client and answers and name in ("smtp", "imap", "ftp", "mysql"):
            return Upgrade(name)
    return None


def _socks5(client: bytes, server: bytes) -> bytes | None:
    """The requested name of RFC 1928, behind the greeting and a possible RFC 1929 password."""
    at = 2 + client[1]
    if server[:2] == b"\x05\x02" and client[at : at + 1] == b"\x01" and len(client) > at + 2:
        at += 2 + client[at + 1]
        if len(client) > at:
            at += 1 + client[at]
    request = client[at:]
    if request[:2] != b"\x05\x01" or len(request) < 7 or request[3] != 3:
        return None
    return request[5 : 5 + request[4]]


def _socks4(client: bytes) -> bytes | None:
    """SOCKS 4a: address 0.0.0.x, then user id and host name, each with a zero after it."""
    if client[4:7] != b"\0\0\0" or client[7] == 0:
        return None
    parts = client[8:].split(b"\0", 2)
    return parts[1] if len(parts) > 2 else None
