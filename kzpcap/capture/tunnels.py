# cython: annotation_typing=False, language_level=3, boundscheck=True, wraparound=False
"""Tunnels in IP and UDP: from the header of a tunnel to the IP packet that it carries, as links.py tells it.

The file runs as it is; tunnels.pxd gives the compiled form its types.
"""

from __future__ import annotations

from kzpcap.capture import codes, links, packet, pieces
from kzpcap.capture.packet import Packet


def is_port(sport: int, dport: int) -> bool:
    """Is this a port on which a tunnel may run?"""
    if dport in (4789, 8472, 4790, 6081, 2152, 3544, 5072, 5247, 1701, 6635, 37008):
        return True
    return sport in (2152, 3544, 5072, 5247, 1701)


def in_udp(p: Packet, data: bytes, sport: int, dport: int, at: int, end: int, missing: int) -> int:
    """VXLAN, Geneve, GTP-U, Teredo, AYIYA, CAPWAP, L2TP, MPLS over UDP, TZSP."""
    if end - at < 8:
        return codes.SHORT
    if dport in (4789, 8472) and data[at] & 0x08:  # RFC 7348
        return links.ethernet(p, data, at + 8, end, missing)
    if dport == 4790 and data[at] & 0x08:  # VXLAN-GPE
        if data[at] & 0x04:
            if data[at + 3] in (1, 2):
                return packet.carries(p, at + 8, end, missing)
            if data[at + 3] != 3:
                return codes.NOT_IP
        return links.ethernet(p, data, at + 8, end, missing)
    if dport == 6081 and data[at] & 0xC0 == 0:  # RFC 8926
        return links.ethertype(p, data, pieces.be16(data, at + 2), at + 8 + (data[at] & 0x3F) * 4, end, missing)
    if sport == 2152 or dport == 2152:
        return gtp(p, data, at, end, missing)
    if sport == 3544 or dport == 3544:  # RFC 4380: authentication, origin, then IPv6
        if pieces.be16(data, at) == 1 and end - at > 13:
            at += 13 + data[at + 2] + data[at + 3]
        if end - at > 8 and pieces.be16(data, at) == 0:
            at += 8
        if at < end and data[at] >> 4 == 6:
            return packet.carries(p, at, end, missing)
        return codes.NOT_IP
    if sport == 5072 or dport == 5072:  # AYIYA
        skip = 8 + (1 << (data[at] >> 4)) + (data[at + 1] >> 4) * 4
        if data[at + 3] in (4, 41):
            return packet.carries(p, at + skip, end, missing)
        return codes.NOT_IP
    if sport == 5247 or dport == 5247:
        return capwap(p, data, at, end, missing)
    if sport == 1701 or dport == 1701:
        return l2tp(p, data, at, end, missing)
    if dport == 6635:
        return links.mpls(p, data, at, end, missing)
    if dport == 37008:
        return tzsp(p, data, at, end, missing)
    return codes.NOT_IP


def tzsp(p: Packet, data: bytes, at: int, end: int, missing: int) -> int:
    """TaZmen Sniffer Protocol, as routers stream what they capture: version 1, Ethernet or 802.11 behind its tags."""
    kind = pieces.be16(data, at + 2)
    if data[at] != 1 or data[at + 1] > 1:
        return codes.NOT_IP
    at += 4
    while at < end and data[at] != 1:
        at += 1 if data[at] == 0 else 2 + data[at + 1]
    if at + 1 >= end:
        return codes.SHORT
    if kind == 1:
        return links.ethernet(p, data, at + 1, end, missing)
    if kind == 18:
        return links.wifi(p, data, at + 1, end, missing, False)
    return codes.NOT_IP


def gtp(p: Packet, data: bytes, at: int, end: int, missing: int) -> int:
    """3GPP TS 29.281 G-PDU."""
    flags = data[at]
    if flags & 0xF0 != 0x30 or data[at + 1] != 0xFF:
        return codes.NOT_IP
    at += 8
    if flags & 7:
        if end - at < 4:
            return codes.SHORT
        following = data[at + 3] if flags & 4 else 0
        at += 4
        while following:
            p.depth += 1
            if p.depth > codes.MAX_DEPTH:
                return codes.NESTED
            if end - at < 4 or data[at] == 0 or data[at] * 4 > end - at:
                return codes.SHORT
            at += data[at] * 4
            following = data[at - 1]
    return packet.carries(p, at, end, missing)


def capwap(p: Packet, data: bytes, at: int, end: int, missing: int) -> int:
    """RFC 5415 section 4.3: the data channel in clear."""
    if data[at] != 0:  # version 0, type 0; type 1 is DTLS
        return codes.NOT_IP
    words = data[at + 1] >> 3
    if data[at + 3] & 0x80:  # fragment
        return codes.NOT_IP
    native = data[at + 2] & 1
    at += words * 4
    if not native:
        return links.ethernet(p, data, at, end, missing)
    return links.wifi(p, data, at, end, missing, False)


def l2tp(p: Packet, data: bytes, at: int, end: int, missing: int) -> int:
    """RFC 2661 data messages; version 3 (RFC 3931) over UDP with an Ethernet frame inside."""
    flags = pieces.be16(data, at)
    if flags & 0x8000:
        return codes.NOT_IP
    if flags & 15 == 3:
        return links.ethernet(p, data, at + 8, end, missing)
    if flags & 15 != 2:
        return codes.NOT_IP
    at += 2
    if flags & 0x4000:
        at += 2
    at += 4
    if flags & 0x0800:
        at += 4
    if flags & 0x0200:
        if end - at < 2:
            return codes.SHORT
        at += 2 + pieces.be16(data, at)
    return links.ppp(p, data, at, end, missing)


def gre(p: Packet, data: bytes, at: int, end: int, missing: int) -> int:
    """RFC 2784, 2890; version 1 is PPTP (RFC 2637)."""
    if end - at < 4:
        return codes.SHORT
    flags = pieces.be16(data, at)
    kind = pieces.be16(data, at + 2)
    if flags & 7 > 1:
        return codes.MALFORMED
    at += 4
    if flags & 0xC000:
        at += 4
    if flags & 0x4000 and flags & 7 == 0:
        return codes.NOT_IP  # source routing
    if flags & 0x2000:
        at += 4
    if flags & 0x1000:
        at += 4
    if flags & 7 == 1 and flags & 0x0080:
        at += 4
    if kind == 0x88BE:  # ERSPAN: type II has a sequence number and a header of 8 bytes, type I neither
        return links.ethernet(p, data, at + 8 if flags & 0x1000 else at, end, missing)
    if kind == 0x22EB:  # ERSPAN III
        if end - at < 12:
            return codes.SHORT
        at += 20 if data[at + 11] & 1 else 12
        return links.ethernet(p, data, at, end, missing)
    if kind == 0x0800 and at < end and data[at] >> 4 != 4:  # WCCP redirect header
        at += 4
    if kind == 0x883E:
        return packet.carries(p, at + 4, end, missing)
    return links.ethertype(p, data, kind, at, end, missing)
