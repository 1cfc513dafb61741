"""ICMP errors and what they quote, written anew: of the quoted packet its headers alone (RFC 792, 4443, 4884)."""

from __future__ import annotations

import struct

from kzpcap.capture.codes import TCP, UDP
from kzpcap.paths.icmp import LEGACY_QUOTE, IcmpError
from kzpcap.scrub.apply import Turn, ip_header, ones_complement

MPLS_OBJECT = b"\x01\x01"
MIN_QUOTE = 28
MAX_LABELS = 16


def error(body: bytes, found: IcmpError, source: bytes, target: bytes, turn: Turn) -> bytes:
    """The message of an error: its type, code and the quote's headers, with mapped addresses and shifted numbers.

    `body` is the message as captured, `source` and `target` the quoted packet's addresses as they are to be, `turn`
    what is added to its numbers. What the quote holds of the probe's payload is zero.
    """
    words = body[5] * 4 if found.version == 4 else body[4] * 8
    stated = found.kind in ((3, 11) if found.version == 4 else (1, 3)) and MIN_QUOTE <= words <= len(body) - 8
    quote = body[8 : 8 + words] if stated else body[8:]
    header = (quote[0] & 15) * 4 if quote[0] >> 4 == 4 else 40
    ip_id = (found.q_id + turn.ip_id) & 0xFFFF if found.q_id else 0
    new = ip_header(
        found.version, found.q_tos, ip_id, bool(found.q_df), found.q_ttl, found.q_protocol, source, target, 0
    )
    if found.version == 4:
        new = new[:2] + struct.pack(">H", found.q_length) + new[4:10] + b"\0\0" + new[12:]
        new = new[:10] + struct.pack(">H", ones_complement(new)) + new[12:]
    else:
        new = new[:4] + struct.pack(">H", max(0, found.q_length - 40) & 0xFFFF) + new[6:]
    new += _upper(found, quote[header:], turn)
    if stated or found.labels:
        at = words if stated else LEGACY_QUOTE
        new = new[:at].ljust(at, b"\0") + (_mpls(found) if found.labels else b"")
    fields = bytearray(4)
    if stated:
        fields[1 if found.version == 4 else 0] = body[5 if found.version == 4 else 4]
    if (found.version, found.kind, found.code) == (4, 3, 4):
        fields[2:] = body[6:8]
    elif (found.version, found.kind) == (6, 2):
        fields[:] = body[4:8]
    return bytes((found.kind, found.code, 0, 0)) + bytes(fields) + new


def _upper(found: IcmpError, rest: bytes, turn: Turn) -> bytes:
    """The quoted packet's own header, as much of it as is there."""
    if found.q_protocol == TCP and len(rest) >= 8:
        sequence = ((found.q_seq or 0) + turn.seq) & 0xFFFFFFFF
        head = struct.pack(">HHI", turn.sport, turn.dport, sequence)
        if len(rest) < 20:
            return head
        (ack,) = struct.unpack_from(">I", rest, 8)
        flags = struct.unpack_from(">H", rest, 12)[0] & 0x0FFF
        shifted = (ack + turn.ack) & 0xFFFFFFFF if flags & 16 else 0
        return head + struct.pack(">IHHHH", shifted, 5 << 12 | flags, *struct.unpack_from(">H", rest, 14), 0, 0)
    if found.q_protocol == UDP and len(rest) >= 8:
        return struct.pack(">HHHH", turn.sport, turn.dport, *struct.unpack_from(">H", rest, 4), 0)
    if found.q_echo is not None and len(rest) >= 8:
        identifier, number = found.q_echo
        return bytes((rest[0], rest[1], 0, 0)) + struct.pack(">HH", (identifier + turn.sport) & 0xFFFF, number)
    return struct.pack(">HH", turn.sport, turn.dport) if len(rest) >= 4 else b""


def _mpls(found: IcmpError) -> bytes:
    """The extension structure with its MPLS labels alone (RFC 4884 section 7, RFC 4950)."""
    stack = b"".join(
        struct.pack(">I", entry.label << 12 | entry.traffic_class << 9 | int(entry.bottom) << 8 | entry.ttl)
        for entry in found.labels[:MAX_LABELS]
    )
    whole = b"\x20\0\0\0" + struct.pack(">H", 4 + len(stack)) + MPLS_OBJECT + stack
    return whole[:2] + struct.pack(">H", ones_complement(whole)) + whole[4:]


def echo(body: bytes, shift: int) -> bytes:
    """An echo request or reply with its identifier, shifted, and sequence number, and zeros for its data."""
    identifier = (int.from_bytes(body[4:6], "big") + shift) & 0xFFFF
    return body[:2] + b"\0\0" + identifier.to_bytes(2, "big") + body[6:8] + bytes(max(0, len(body) - 8))


def dns_answer(body: bytes, name: str, addresses: tuple[str, ...]) -> bytes:
    """A response that says of the name no more than its addresses: no other record, no client subnet (RFC 7871)."""
    import ipaddress

    labels = b"".join(bytes((len(part),)) + part for part in (text.encode("ascii") for text in name.split("."))) + b"\0"
    records = b""
    for address in addresses:
        raw = ipaddress.ip_address(address).packed
        records += b"\xc0\x0c" + struct.pack(">HHIH", 1 if len(raw) == 4 else 28, 1, 0, len(raw)) + raw
    kind = 1 if all(":" not in address for address in addresses) else 28
    head = struct.pack(">HHHHHH", 0, 0x8180 | (body[3] & 15), 1, len(addresses), 0, 0)
    return head + labels + struct.pack(">HH", kind, 1) + records
