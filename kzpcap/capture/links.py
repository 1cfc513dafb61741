# cython: annotation_typing=False, language_level=3, boundscheck=True, wraparound=False
"""Link layers, tags and labels: from the first byte of a frame to the IP packet that it carries.

Each function tells where that lies (`Packet.inner_at` and the fields beside it) and returns IP, or the reason why there
is none. Every read is behind a check against `end`.

The file runs as it is; links.pxd gives the compiled form its types.
"""

from __future__ import annotations

from kzpcap.capture import codes, packet, pieces
from kzpcap.capture.linktypes import LINK_TYPES
from kzpcap.capture.packet import Packet


def link(p: Packet, data: bytes, link_type: int, at: int, end: int, missing: int) -> int:
    """By link type (LINKTYPE_ registry, tcpdump.org/linktypes.html); `missing` bytes were not captured."""
    p.depth += 1
    if p.depth > codes.MAX_DEPTH:
        return codes.NESTED
    if link_type == 1:
        return ethernet(p, data, at, end, missing)
    if link_type in (101, 12, 14, 228, 229):
        return packet.carries(p, at, end, missing)
    if link_type == 113:  # Linux cooked
        if end - at < 16:
            return codes.SHORT
        return cooked(p, data, pieces.be16(data, at + 14), pieces.be16(data, at + 2), at + 16, end, missing)
    if link_type == 276:  # Linux cooked v2
        if end - at < 20:
            return codes.SHORT
        return cooked(p, data, pieces.be16(data, at), pieces.be16(data, at + 8), at + 20, end, missing)
    if link_type in (0, 108):
        if end - at < 5:
            return codes.SHORT
        family = pieces.le32(data, at) if data[at] else pieces.be32(data, at)
        if family in (2, 10, 24, 28, 30):
            return packet.carries(p, at + 4, end, missing)
        return codes.NOT_IP
    if link_type in (9, 50, 166):
        return ppp(p, data, at, end, missing)
    if link_type == 204:  # direction byte, then PPP
        return ppp(p, data, at + 1, end, missing)
    if link_type == 51:
        return pppoe(p, data, at, end, missing)
    if link_type == 104:
        if end - at < 4:
            return codes.SHORT
        if data[at] == 0xFF and data[at + 1] == 3:
            return ppp(p, data, at, end, missing)
        return ethertype(p, data, pieces.be16(data, at + 2), at + 4, end, missing)
    if link_type == 105:
        return wifi(p, data, at, end, missing, False)
    if link_type == 127:
        return radiotap(p, data, at, end, missing)
    if link_type in (119, 163):  # Prism, AVS
        if end - at < 8:
            return codes.SHORT
        skip = pieces.be32(data, at + 4) if link_type == 163 or data[at] == 0x80 else pieces.le32(data, at + 4)
        if skip > end - at:
            return codes.SHORT
        return wifi(p, data, at + skip, end, missing, False)
    if link_type == 192:  # PPI
        if end - at < 8:
            return codes.SHORT
        skip = pieces.le16(data, at + 2)
        if skip < 8 or skip > end - at:
            return codes.SHORT
        return link(p, data, pieces.le32(data, at + 4), at + skip, end, missing)
    if link_type in (149, 258):  # PKTAP, also as USER2 by Apple's tools
        if end - at < 12:
            return codes.SHORT
        skip = pieces.le32(data, at)
        if skip < 12 or skip > end - at:
            return codes.UNKNOWN_LINK if link_type == 149 else codes.SHORT
        return link(p, data, pieces.le32(data, at + 8), at + skip, end, missing)
    if link_type == 239:
        return nflog(p, data, at, end, missing)
    if link_type == 226:  # IPNET (Solaris)
        return packet.carries(p, at + 24, end, missing)
    if link_type == 107:
        return frame_relay(p, data, at, end, missing)
    if link_type == 10:  # FDDI: frame control, two addresses
        return llc(p, data, at + 13, end, missing)
    if link_type == 11 or link_type == 100:  # RFC 1483 over ATM
        return llc(p, data, at, end, missing)
    if link_type == 274:  # IEEE 802.3br mPackets: preamble and start delimiter, then the frame
        return ethernet(p, data, at + 8, end, missing)
    if link_type == 138:  # Apple IP over IEEE 1394
        if end - at < 18:
            return codes.SHORT
        return ethertype(p, data, pieces.be16(data, at + 16), at + 18, end, missing)
    if link_type == 109:  # OpenBSD enc
        return packet.carries(p, at + 12, end, missing)
    if link_type == 117:  # OpenBSD pflog
        if end - at < 4:
            return codes.SHORT
        skip = (data[at] + 3) & 0xFC
        return packet.carries(p, at + skip, end, missing)
    return codes.UNKNOWN_LINK


def link_name(link_type: int) -> str:
    """The registry's name of a link type, with its number."""
    name = LINK_TYPES.get(link_type)
    return f"{name} ({link_type})" if name else f"link type {link_type}"


def ethernet(p: Packet, data: bytes, at: int, end: int, missing: int) -> int:
    """IEEE 802.3: Ethernet II, LLC/SNAP."""
    if end - at < 14:
        return codes.SHORT
    kind = pieces.be16(data, at + 12)
    if kind < 1536:
        return llc(p, data, at + 14, end, missing)
    if kind == 0x0800 or kind == 0x86DD:
        return packet.carries(p, at + 14, end, missing)
    return ethertype(p, data, kind, at + 14, end, missing)


def cooked(p: Packet, data: bytes, kind: int, hardware: int, at: int, end: int, missing: int) -> int:
    """The protocol field of Linux cooked headers: an EtherType, or what the ARPHRD_ type makes of it."""
    if hardware == 778:  # ARPHRD_IPGRE: the field is GRE's protocol type
        return ethertype(p, data, kind, at, end, missing)
    if hardware in (801, 802, 803):  # ARPHRD_IEEE80211*
        return radiotap(p, data, at, end, missing) if hardware == 803 else wifi(p, data, at, end, missing, False)
    if kind == 4:  # LLC
        return llc(p, data, at, end, missing)
    if kind == 1:  # 802.3 without LLC: Novell
        return codes.NOT_IP
    return ethertype(p, data, kind, at, end, missing)


def llc(p: Packet, data: bytes, at: int, end: int, missing: int) -> int:
    """IEEE 802.2: SNAP carries an EtherType, SAP 06 carries IP."""
    if end - at < 3:
        return codes.SHORT
    if data[at] == 0xAA and data[at + 1] == 0xAA:
        if end - at < 8:
            return codes.SHORT
        return ethertype(p, data, pieces.be16(data, at + 6), at + 8, end, missing)
    if data[at] == 0x06 and data[at + 1] == 0x06:
        return packet.carries(p, at + 3, end, missing)
    if data[at] == 0xFE and data[at + 1] == 0xFE and end - at > 4 and data[at + 3] in (0xCC, 0x8E):
        return packet.carries(p, at + 4, end, missing)
    return codes.NOT_IP


def ethertype(p: Packet, data: bytes, kind: int, at: int, end: int, missing: int) -> int:
    """By EtherType: tags, MPLS, PPPoE and what GRE carries."""
    while True:
        p.depth += 1
        if p.depth > codes.MAX_DEPTH:
            return codes.NESTED
        if kind == 0x0800 or kind == 0x86DD:
            return packet.carries(p, at, end, missing)
        if kind in (0x8100, 0x88A8, 0x9100, 0x9200, 0x9300):
            if end - at < 4:
                return codes.SHORT
            kind = pieces.be16(data, at + 2)
            at += 4
            if kind < 1536:
                return llc(p, data, at, end, missing)
            continue
        if kind == 0x8909:  # Cisco MetaData: version, length, options, then the EtherType
            if end - at < 4:
                return codes.SHORT
            skip = 2 + data[at + 1] * 4
            if end - at < skip + 2:
                return codes.SHORT
            kind = pieces.be16(data, at + skip)
            at += skip + 2
            continue
        if kind == 0x8926:  # VN-Tag
            if end - at < 6:
                return codes.SHORT
            kind = pieces.be16(data, at + 4)
            at += 6
            continue
        if kind == 0x893F:  # E-Tag, IEEE 802.1BR
            if end - at < 8:
                return codes.SHORT
            kind = pieces.be16(data, at + 6)
            at += 8
            continue
        break
    if kind in (0x8847, 0x8848):
        return mpls(p, data, at, end, missing)
    if kind == 0x8864:
        return pppoe(p, data, at, end, missing)
    if kind == 0x6558:
        return ethernet(p, data, at, end, missing)
    if kind == 0x88E7:  # IEEE 802.1ah: I-TAG, then the customer's frame
        return ethernet(p, data, at + 4, end, missing)
    if kind == 0x880B:
        return ppp(p, data, at, end, missing)
    if kind == 0x894F:
        return nsh(p, data, at, end, missing)
    if kind == 0x88E5:  # IEEE 802.1AE, MACsec
        return codes.ENCRYPTED
    return codes.NOT_IP


def nsh(p: Packet, data: bytes, at: int, end: int, missing: int) -> int:
    """RFC 8300, by which carriers lead packets past their boxes: the length in words, the next protocol."""
    p.depth += 1
    if p.depth > codes.MAX_DEPTH:
        return codes.NESTED
    if end - at < 8:
        return codes.SHORT
    kind = data[at + 3]
    at += (data[at + 1] & 0x3F) * 4
    if at >= end:
        return codes.SHORT
    if kind == 1 or kind == 2:
        return packet.carries(p, at, end, missing)
    if kind == 3:
        return ethernet(p, data, at, end, missing)
    return mpls(p, data, at, end, missing) if kind == 5 else codes.NOT_IP


def mpls(p: Packet, data: bytes, at: int, end: int, missing: int) -> int:
    """RFC 3032 label stack; IP by its version nibble, else a pseudowire (RFC 4448)."""
    while True:
        p.depth += 1
        if p.depth > codes.MAX_DEPTH + 8:
            return codes.NESTED
        if end - at < 5:
            return codes.SHORT
        bottom = data[at + 2] & 1
        at += 4
        if bottom:
            break
    nibble = data[at] >> 4
    if nibble in (4, 6):
        return packet.carries(p, at, end, missing)
    if nibble == 0:
        return ethernet(p, data, at + 4, end, missing)
    return ethernet(p, data, at, end, missing)


def pppoe(p: Packet, data: bytes, at: int, end: int, missing: int) -> int:
    """RFC 2516 session stage."""
    if end - at < 8:
        return codes.SHORT
    if data[at] != 0x11 or data[at + 1] != 0:
        return codes.NOT_IP
    return ppp(p, data, at + 6, end, missing)


def ppp(p: Packet, data: bytes, at: int, end: int, missing: int) -> int:
    """RFC 1661; address and control (RFC 1662) and a compressed protocol field are optional.

    In place of the address pppd writes a direction, 0 or 1 (LINKTYPE_PPP_PPPD).
    """
    p.ppp = True
    if end - at >= 2 and (data[at] == 0xFF or data[at] <= 1) and data[at + 1] == 3:
        at += 2
    if end - at < 2:
        return codes.SHORT
    kind = data[at]
    at += 1
    if kind & 1 == 0:
        kind = kind << 8 | data[at]
        at += 1
    if kind in (0x0021, 0x0057):
        return packet.carries(p, at, end, missing)
    if kind in (0x0281, 0x0283):
        return mpls(p, data, at, end, missing)
    return codes.NOT_IP


def frame_relay(p: Packet, data: bytes, at: int, end: int, missing: int) -> int:
    """Q.922 address, then RFC 2427: NLPID, or SNAP, or (Cisco) an EtherType."""
    while at < end and data[at] & 1 == 0:
        at += 1
    at += 1
    if end - at < 3:
        return codes.SHORT
    if pieces.be16(data, at) in (0x0800, 0x86DD):
        return packet.carries(p, at + 2, end, missing)
    at += 1  # control (UI)
    if data[at] == 0:  # padding
        at += 1
    if at >= end:
        return codes.SHORT
    if data[at] in (0xCC, 0x8E):
        return packet.carries(p, at + 1, end, missing)
    if data[at] == 0x80 and end - at >= 6:
        return ethertype(p, data, pieces.be16(data, at + 4), at + 6, end, missing)
    return codes.NOT_IP


def radiotap(p: Packet, data: bytes, at: int, end: int, missing: int) -> int:
    """radiotap.org: the header's length, and from its flags whether the MAC header is padded to four bytes."""
    if end - at < 8:
        return codes.SHORT
    skip = pieces.le16(data, at + 2)
    if skip < 8 or skip > end - at:
        return codes.SHORT
    field = at + 4
    present = pieces.le32(data, field)
    words = present
    while words & 0x80000000 and field + 8 <= at + skip:
        field += 4
        words = pieces.le32(data, field)
    field += 4
    padded = False
    if present & 1:
        field += (-(field - at) & 7) + 8
    if present & 2 and field < at + skip:
        padded = data[field] & 0x20 != 0
    return wifi(p, data, at + skip, end, missing, padded)


def wifi(p: Packet, data: bytes, at: int, end: int, missing: int, padded: bool) -> int:
    """IEEE 802.11 data frames that are not encrypted."""
    if end - at < 24:
        return codes.SHORT
    control = data[at]
    flags = data[at + 1]
    if control & 0x0C == 0 and flags & 0x0F == 8:  # Cisco's CAPWAP sends the two bytes the other way round
        control, flags = flags, control
    if control & 0x0C != 0x08 or control & 0x40:  # management and control frames, data without data
        return codes.NOT_IP
    if flags & 0x40:
        return codes.ENCRYPTED
    header = 24
    if flags & 3 == 3:
        header += 6
    aggregate = False
    if control & 0x80:
        if end - at < header + 2:
            return codes.SHORT
        aggregate = data[at + header] & 0x80 != 0
        header += 2
        if flags & 0x80:
            header += 4
    if padded:
        header = (header + 3) & 0xFFFC
    at += header
    if aggregate:
        return subframe(p, data, at, end)
    return llc(p, data, at, end, missing)


def subframe(p: Packet, data: bytes, at: int, end: int) -> int:
    """One packet of an A-MSDU: addresses, length, LLC. Where another follows, `more_at` and `more_end` say where."""
    if end - at < 14:
        return codes.SHORT
    stop = at + 14 + pieces.be16(data, at + 12)
    follow = at + ((stop - at + 3) & 0x1FFFC)
    if follow + 14 < end:
        p.more_at = follow
        p.more_end = end
        p.more_within = p.version
    if stop > end:
        return llc(p, data, at + 14, end, stop - end)
    return llc(p, data, at + 14, stop, 0)


def nflog(p: Packet, data: bytes, at: int, end: int, missing: int) -> int:
    """LINKTYPE_NFLOG: TLVs, the payload in type 9."""
    at += 4
    while end - at >= 4:
        length = pieces.le16(data, at)
        if length < 4:
            return codes.MALFORMED
        if pieces.le16(data, at + 2) & 0x7FFF == 9:
            return packet.carries(p, at + 4, min(end, at + length), missing)
        at += (length + 3) & 0x1FFFC
    return codes.SHORT
