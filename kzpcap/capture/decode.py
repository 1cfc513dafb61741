# cython: annotation_typing=False, language_level=3, boundscheck=True, wraparound=False
"""One packet: link layer, tunnels, IP, then TCP, UDP or ICMP.

`decode()` fills a reusable `Packet` with offsets into the buffer and returns what came of it: OK, FRAGMENT, or the
reason why there is nothing to analyse. Nothing is copied until the scanner keeps the packet. Every read is behind a
check against `end`; lengths inside the packet can only make `end` smaller.

The file runs as it is; decode.pxd gives the compiled form its types.
"""

from __future__ import annotations

from kzpcap.capture import codes, pieces
from kzpcap.capture.linktypes import LINK_TYPES

REASONS = {
    codes.NOT_IP: "not IP",
    codes.UNKNOWN_LINK: "link type not supported",
    codes.SHORT: "cut inside a header",
    codes.MALFORMED: "malformed header",
    codes.FRAGMENT: "IP fragment",
    codes.OTHER_IP: "IP, neither TCP nor UDP nor ICMP",
    codes.ENCRYPTED: "encrypted Wi-Fi",
    codes.NESTED: "too many layers",
    codes.EMPTY: "no bytes captured",
}


class Packet:
    """One decoded packet: offsets while it is examined, bytes of its own once it is kept (`addresses`, `payload`)."""

    def __init__(self) -> None:
        self.frame = 0
        self.time_ns = 0
        self.link_type = 0
        self.protocol = 0
        self.version = 0
        self.ip_at = 0
        self.address_at = 0
        self.l4_at = 0
        self.ttl = 0
        self.ip_id = 0
        self.tos = 0
        self.dont_fragment = False
        self.outer_ttl = -1
        self.tunnels = 0
        self.ppp = False
        self.sport = 0
        self.dport = 0
        self.seq = 0
        self.ack = 0
        self.flags = 0
        self.window = 0
        self.options_length = 0
        self.payload_at = 0
        self.captured = 0
        self.length = 0
        self.fragment_at = 0
        self.fragment_end = 0
        self.fragment_offset = 0
        self.fragment_id = 0
        self.fragment_protocol = 0
        self.more_fragments = False
        self.depth = 0
        self.plain_udp = False
        self.trailer_at = 0
        self.direction = 0
        # bytes of its own, once kept
        self.src = b""
        self.dst = b""
        self.payload = b""
        self.options = b""
        self.checksum_ok = True


def be16(data: bytes, at: int) -> int:
    """A big-endian 16-bit integer."""
    return data[at] << 8 | data[at + 1]


def be32(data: bytes, at: int) -> int:
    """A big-endian 32-bit integer."""
    top = data[at]
    return top << 24 | data[at + 1] << 16 | data[at + 2] << 8 | data[at + 3]


def le16(data: bytes, at: int) -> int:
    """A little-endian 16-bit integer."""
    return data[at] | data[at + 1] << 8


def le32(data: bytes, at: int) -> int:
    """A little-endian 32-bit integer."""
    top = data[at + 3]
    return top << 24 | data[at + 2] << 16 | data[at + 1] << 8 | data[at]


def decode(p: Packet, data: bytes, at: int, captured: int, original: int, link_type: int) -> int:
    """Fill `p` from one captured packet; `captured` bytes at `at`, `original` bytes on the wire."""
    p.depth = 0
    p.tunnels = 0
    p.ppp = False
    p.outer_ttl = -1
    p.protocol = 0
    p.version = 0
    p.plain_udp = False
    p.trailer_at = 0
    p.link_type = link_type
    if captured == 0:
        return codes.EMPTY
    return link(p, data, link_type, at, at + captured, original - captured)


def decode_ip(p: Packet, data: bytes, at: int, end: int) -> int:
    """Fill `p` from a reassembled IP packet; what was found around it is kept."""
    p.plain_udp = False
    return ip(p, data, at, end, 0)


def link(p: Packet, data: bytes, link_type: int, at: int, end: int, missing: int) -> int:
    """By link type (LINKTYPE_ registry, tcpdump.org/linktypes.html); `missing` bytes were not captured."""
    p.depth += 1
    if p.depth > codes.MAX_DEPTH:
        return codes.NESTED
    if link_type == 1:
        return ethernet(p, data, at, end, missing)
    if link_type in (101, 12, 14, 228, 229):
        return ip(p, data, at, end, missing)
    if link_type == 113:  # Linux cooked
        if end - at < 16:
            return codes.SHORT
        return cooked(p, data, be16(data, at + 14), be16(data, at + 2), at + 16, end, missing)
    if link_type == 276:  # Linux cooked v2
        if end - at < 20:
            return codes.SHORT
        return cooked(p, data, be16(data, at), be16(data, at + 8), at + 20, end, missing)
    if link_type in (0, 108):
        if end - at < 5:
            return codes.SHORT
        family = le32(data, at) if data[at] else be32(data, at)
        if family in (2, 10, 24, 28, 30):
            return ip(p, data, at + 4, end, missing)
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
        return ethertype(p, data, be16(data, at + 2), at + 4, end, missing)
    if link_type == 105:
        return wifi(p, data, at, end, missing, False)
    if link_type == 127:
        return radiotap(p, data, at, end, missing)
    if link_type in (119, 163):  # Prism, AVS
        if end - at < 8:
            return codes.SHORT
        skip = be32(data, at + 4) if link_type == 163 or data[at] == 0x80 else le32(data, at + 4)
        if skip > end - at:
            return codes.SHORT
        return wifi(p, data, at + skip, end, missing, False)
    if link_type == 192:  # PPI
        if end - at < 8:
            return codes.SHORT
        skip = le16(data, at + 2)
        if skip < 8 or skip > end - at:
            return codes.SHORT
        return link(p, data, le32(data, at + 4), at + skip, end, missing)
    if link_type in (149, 258):  # PKTAP, also as USER2 by Apple's tools
        if end - at < 12:
            return codes.SHORT
        skip = le32(data, at)
        if skip < 12 or skip > end - at:
            return codes.UNKNOWN_LINK if link_type == 149 else codes.SHORT
        return link(p, data, le32(data, at + 8), at + skip, end, missing)
    if link_type == 239:
        return nflog(p, data, at, end, missing)
    if link_type == 226:  # IPNET (Solaris)
        return ip(p, data, at + 24, end, missing)
    if link_type == 107:
        return frame_relay(p, data, at, end, missing)
    if link_type == 10:  # FDDI: frame control, two addresses
        return llc(p, data, at + 13, end, missing)
    if link_type == 11:  # RFC 1483 over ATM
        return llc(p, data, at, end, missing)
    if link_type == 274:  # IEEE 802.3br mPackets: preamble and start delimiter, then the frame
        return ethernet(p, data, at + 8, end, missing)
    if link_type == 138:  # Apple IP over IEEE 1394
        if end - at < 18:
            return codes.SHORT
        return ethertype(p, data, be16(data, at + 16), at + 18, end, missing)
    if link_type == 109:  # OpenBSD enc
        return ip(p, data, at + 12, end, missing)
    if link_type == 117:  # OpenBSD pflog
        if end - at < 4:
            return codes.SHORT
        skip = (data[at] + 3) & 0xFC
        return ip(p, data, at + skip, end, missing)
    return codes.UNKNOWN_LINK


def link_name(link_type: int) -> str:
    """The registry's name of a link type, with its number."""
    name = LINK_TYPES.get(link_type)
    return f"{name} ({link_type})" if name else f"link type {link_type}"


def ethernet(p: Packet, data: bytes, at: int, end: int, missing: int) -> int:
    """IEEE 802.3: Ethernet II, LLC/SNAP."""
    if end - at < 14:
        return codes.SHORT
    kind = be16(data, at + 12)
    if kind < 1536:
        return llc(p, data, at + 14, end, missing)
    if kind == 0x0800 or kind == 0x86DD:
        return ip(p, data, at + 14, end, missing)
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
        return ethertype(p, data, be16(data, at + 6), at + 8, end, missing)
    if data[at] == 0x06 and data[at + 1] == 0x06:
        return ip(p, data, at + 3, end, missing)
    if data[at] == 0xFE and data[at + 1] == 0xFE and end - at > 4 and data[at + 3] in (0xCC, 0x8E):
        return ip(p, data, at + 4, end, missing)
    return codes.NOT_IP


def ethertype(p: Packet, data: bytes, kind: int, at: int, end: int, missing: int) -> int:
    """By EtherType: tags, MPLS, PPPoE and what GRE carries."""
    while True:
        p.depth += 1
        if p.depth > codes.MAX_DEPTH:
            return codes.NESTED
        if kind == 0x0800 or kind == 0x86DD:
            return ip(p, data, at, end, missing)
        if kind in (0x8100, 0x88A8, 0x9100, 0x9200, 0x9300):
            if end - at < 4:
                return codes.SHORT
            kind = be16(data, at + 2)
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
            kind = be16(data, at + skip)
            at += skip + 2
            continue
        if kind == 0x8926:  # VN-Tag
            if end - at < 6:
                return codes.SHORT
            kind = be16(data, at + 4)
            at += 6
            continue
        if kind == 0x893F:  # E-Tag, IEEE 802.1BR
            if end - at < 8:
                return codes.SHORT
            kind = be16(data, at + 6)
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
    return codes.NOT_IP


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
        return ip(p, data, at, end, missing)
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
    """RFC 1661; address and control (RFC 1662) and a compressed protocol field are optional."""
    p.ppp = True
    if end - at >= 2 and data[at] == 0xFF and data[at + 1] == 3:
        at += 2
    if end - at < 2:
        return codes.SHORT
    kind = data[at]
    at += 1
    if kind & 1 == 0:
        kind = kind << 8 | data[at]
        at += 1
    if kind in (0x0021, 0x0057):
        return ip(p, data, at, end, missing)
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
    if be16(data, at) in (0x0800, 0x86DD):
        return ip(p, data, at + 2, end, missing)
    at += 1  # control (UI)
    if data[at] == 0:  # padding
        at += 1
    if at >= end:
        return codes.SHORT
    if data[at] in (0xCC, 0x8E):
        return ip(p, data, at + 1, end, missing)
    if data[at] == 0x80 and end - at >= 6:
        return ethertype(p, data, be16(data, at + 4), at + 6, end, missing)
    return codes.NOT_IP


def radiotap(p: Packet, data: bytes, at: int, end: int, missing: int) -> int:
    """radiotap.org: the header's length, and from its flags whether the MAC header is padded to four bytes."""
    if end - at < 8:
        return codes.SHORT
    skip = le16(data, at + 2)
    if skip < 8 or skip > end - at:
        return codes.SHORT
    field = at + 4
    present = le32(data, field)
    words = present
    while words & 0x80000000 and field + 8 <= at + skip:
        field += 4
        words = le32(data, field)
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
    if aggregate:  # A-MSDU: the first subframe (addresses and length) is read
        at += 14
    return llc(p, data, at, end, missing)


def nflog(p: Packet, data: bytes, at: int, end: int, missing: int) -> int:
    """LINKTYPE_NFLOG: TLVs, the payload in type 9."""
    at += 4
    while end - at >= 4:
        length = le16(data, at)
        if length < 4:
            return codes.MALFORMED
        if le16(data, at + 2) & 0x7FFF == 9:
            return ip(p, data, at + 4, min(end, at + length), missing)
        at += (length + 3) & 0x1FFFC
    return codes.SHORT


def ip(p: Packet, data: bytes, at: int, end: int, missing: int) -> int:
    """IPv4 or IPv6, by the version nibble."""
    p.depth += 1
    if p.depth > codes.MAX_DEPTH + 4:
        return codes.NESTED
    if at >= end:
        return codes.SHORT
    version = data[at] >> 4
    if version == 4:
        return ipv4(p, data, at, end, missing)
    if version == 6:
        return ipv6(p, data, at, end, missing)
    return codes.MALFORMED


def ipv4(p: Packet, data: bytes, at: int, end: int, missing: int) -> int:
    """RFC 791; a total length of zero is segmentation offload: the capture's length counts."""
    if end - at < 20:
        return codes.SHORT
    header = (data[at] & 15) * 4
    total = be16(data, at + 2)
    if header < 20 or (total != 0 and total < header):
        return codes.MALFORMED
    if end - at < header:
        return codes.SHORT
    if total != 0:
        if total <= end - at:
            if total < end - at:
                p.trailer_at = at + total
            end = at + total
            missing = 0
        else:
            missing = total - (end - at)
    note_tunnel(p)
    p.version = 4
    p.ip_at = at
    p.address_at = at + 12
    p.tos = data[at + 1]
    p.ip_id = be16(data, at + 4)
    p.ttl = data[at + 8]
    fragment = be16(data, at + 6)
    p.dont_fragment = fragment & 0x4000 != 0
    protocol = data[at + 9]
    if fragment & 0x3FFF:
        p.fragment_at = at + header
        p.fragment_end = end
        p.fragment_offset = (fragment & 0x1FFF) * 8
        p.more_fragments = fragment & 0x2000 != 0
        p.fragment_id = p.ip_id
        p.fragment_protocol = protocol
        return codes.SHORT if missing else codes.FRAGMENT
    return transport(p, data, protocol, at + header, end, missing)


def ipv6(p: Packet, data: bytes, at: int, end: int, missing: int) -> int:
    """RFC 8200 with its extension headers; a payload length of zero is offload or a jumbogram."""
    if end - at < 40:
        return codes.SHORT
    total = be16(data, at + 4)
    if total != 0:
        if total + 40 <= end - at:
            if total + 40 < end - at:
                p.trailer_at = at + 40 + total
            end = at + 40 + total
            missing = 0
        else:
            missing = total + 40 - (end - at)
    note_tunnel(p)
    p.version = 6
    p.ip_at = at
    p.address_at = at + 8
    p.tos = (data[at] & 15) << 4 | data[at + 1] >> 4
    p.ip_id = 0
    p.ttl = data[at + 7]
    p.dont_fragment = True
    protocol = data[at + 6]
    at += 40
    headers = 0
    while protocol in (0, 43, 44, 51, 60, 135):
        headers += 1
        if headers > 16:
            return codes.NESTED
        if end - at < 8:
            return codes.SHORT
        if protocol == 44:
            fragment = be16(data, at + 2)
            protocol = data[at]
            if fragment & 0xFFF9:
                p.fragment_at = at + 8
                p.fragment_end = end
                p.fragment_offset = fragment & 0xFFF8
                p.more_fragments = fragment & 1 != 0
                p.fragment_id = be32(data, at + 4)
                p.fragment_protocol = protocol
                return codes.SHORT if missing else codes.FRAGMENT
            at += 8
            continue
        size = (data[at + 1] + 2) * 4 if protocol == 51 else (data[at + 1] + 1) * 8
        protocol = data[at]
        at += size
        if at > end:
            return codes.SHORT
    return transport(p, data, protocol, at, end, missing)


def note_tunnel(p: Packet) -> None:
    """A second IP header: what stood before was a tunnel."""
    if p.version:
        if p.outer_ttl < 0:
            p.outer_ttl = p.ttl
        p.tunnels += 1


def transport(p: Packet, data: bytes, protocol: int, at: int, end: int, missing: int) -> int:
    """By IP protocol number."""
    if protocol == codes.TCP:
        return tcp(p, data, at, end, missing)
    if protocol == codes.UDP:
        return udp(p, data, at, end, missing)
    if protocol == codes.ICMP or protocol == codes.ICMPV6:
        p.protocol = protocol
        p.l4_at = at
        p.sport = 0
        p.dport = 0
        p.flags = 0
        p.options_length = 0
        p.payload_at = at
        p.captured = end - at
        p.length = end - at + missing
        return codes.OK
    if protocol == 4 or protocol == 41:
        return ip(p, data, at, end, missing)
    if protocol == 47:
        return gre(p, data, at, end, missing)
    if protocol == 51:  # AH over IPv4
        if end - at < 12:
            return codes.SHORT
        p.depth += 1
        if p.depth > codes.MAX_DEPTH:
            return codes.NESTED
        return transport(p, data, data[at], at + (data[at + 1] + 2) * 4, end, missing)
    if protocol == 97:  # EtherIP
        return ethernet(p, data, at + 2, end, missing)
    if protocol == 137:
        return mpls(p, data, at, end, missing)
    if protocol == 115:  # L2TPv3 over IP: session, then (no cookie) the frame
        return ethernet(p, data, at + 4, end, missing)
    return codes.OTHER_IP


def tcp(p: Packet, data: bytes, at: int, end: int, missing: int) -> int:
    """RFC 9293 section 3.1."""
    if end - at < 20:
        return codes.SHORT
    header = (data[at + 12] >> 4) * 4
    if header < 20:
        return codes.MALFORMED
    p.protocol = codes.TCP
    p.l4_at = at
    p.sport = be16(data, at)
    p.dport = be16(data, at + 2)
    p.seq = be32(data, at + 4)
    p.ack = be32(data, at + 8)
    p.flags = data[at + 13]
    p.window = be16(data, at + 14)
    if header > end - at:
        p.options_length = end - at - 20
        p.payload_at = end
        p.captured = 0
        p.length = max(0, missing - (header - (end - at)))
        return codes.OK
    p.options_length = header - 20
    p.payload_at = at + header
    p.captured = end - at - header
    p.length = p.captured + missing
    return codes.OK


def udp(p: Packet, data: bytes, at: int, end: int, missing: int) -> int:
    """RFC 768; a tunnel is followed if what it carries decodes, else it is a datagram like any other."""
    if end - at < 8:
        return codes.SHORT
    length = be16(data, at + 4)
    limit = end
    if 8 <= length <= end - at:
        limit = at + length
        missing = 0
    sport = be16(data, at)
    dport = be16(data, at + 2)
    if not p.plain_udp and p.depth < codes.MAX_DEPTH and tunnel_port(sport, dport):
        ip_at = p.ip_at
        depth = p.depth
        outer_ttl = p.outer_ttl
        tunnels = p.tunnels
        outcome = udp_tunnel(p, data, sport, dport, at + 8, limit, missing)
        if outcome == codes.OK or outcome == codes.FRAGMENT:
            return outcome
        p.version = 0
        p.outer_ttl = -1
        p.tunnels = 0
        p.plain_udp = True
        outcome = ip(p, data, ip_at, end, missing)
        p.depth = depth
        p.outer_ttl = outer_ttl
        p.tunnels = tunnels
        return outcome
    p.protocol = codes.UDP
    p.l4_at = at
    p.sport = sport
    p.dport = dport
    p.seq = 0
    p.ack = 0
    p.flags = 0
    p.window = 0
    p.options_length = 0
    p.payload_at = at + 8
    p.captured = limit - at - 8
    p.length = p.captured + missing
    return codes.OK


def tunnel_port(sport: int, dport: int) -> bool:
    """Is this a port on which a tunnel may run?"""
    if dport in (4789, 8472, 4790, 6081, 2152, 3544, 5072, 5247, 1701, 6635, 37008):
        return True
    return sport in (2152, 3544, 5072, 5247, 1701)


def udp_tunnel(p: Packet, data: bytes, sport: int, dport: int, at: int, end: int, missing: int) -> int:
    """VXLAN, Geneve, GTP-U, Teredo, AYIYA, CAPWAP, L2TP, MPLS over UDP, TZSP."""
    if end - at < 8:
        return codes.SHORT
    if dport in (4789, 8472) and data[at] & 0x08:  # RFC 7348
        return ethernet(p, data, at + 8, end, missing)
    if dport == 4790 and data[at] & 0x08:  # VXLAN-GPE
        if data[at] & 0x04:
            if data[at + 3] in (1, 2):
                return ip(p, data, at + 8, end, missing)
            if data[at + 3] != 3:
                return codes.NOT_IP
        return ethernet(p, data, at + 8, end, missing)
    if dport == 6081 and data[at] & 0xC0 == 0:  # RFC 8926
        return ethertype(p, data, be16(data, at + 2), at + 8 + (data[at] & 0x3F) * 4, end, missing)
    if sport == 2152 or dport == 2152:
        return gtp(p, data, at, end, missing)
    if sport == 3544 or dport == 3544:  # RFC 4380: authentication, origin, then IPv6
        if be16(data, at) == 1 and end - at > 13:
            at += 13 + data[at + 2] + data[at + 3]
        if end - at > 8 and be16(data, at) == 0:
            at += 8
        if at < end and data[at] >> 4 == 6:
            return ip(p, data, at, end, missing)
        return codes.NOT_IP
    if sport == 5072 or dport == 5072:  # AYIYA
        skip = 8 + (1 << (data[at] >> 4)) + (data[at + 1] >> 4) * 4
        if data[at + 3] in (4, 41):
            return ip(p, data, at + skip, end, missing)
        return codes.NOT_IP
    if sport == 5247 or dport == 5247:
        return capwap(p, data, at, end, missing)
    if sport == 1701 or dport == 1701:
        return l2tp(p, data, at, end, missing)
    if dport == 6635:
        return mpls(p, data, at, end, missing)
    if dport == 37008:
        return tzsp(p, data, at, end, missing)
    return codes.NOT_IP


def tzsp(p: Packet, data: bytes, at: int, end: int, missing: int) -> int:
    """TaZmen Sniffer Protocol, as routers stream what they capture: version 1, Ethernet or 802.11 behind its tags."""
    kind = be16(data, at + 2)
    if data[at] != 1 or data[at + 1] > 1:
        return codes.NOT_IP
    at += 4
    while at < end and data[at] != 1:
        at += 1 if data[at] == 0 else 2 + data[at + 1]
    if at + 1 >= end:
        return codes.SHORT
    if kind == 1:
        return ethernet(p, data, at + 1, end, missing)
    if kind == 18:
        return wifi(p, data, at + 1, end, missing, False)
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
    return ip(p, data, at, end, missing)


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
        return ethernet(p, data, at, end, missing)
    return wifi(p, data, at, end, missing, False)


def l2tp(p: Packet, data: bytes, at: int, end: int, missing: int) -> int:
    """RFC 2661 data messages; version 3 (RFC 3931) over UDP with an Ethernet frame inside."""
    flags = be16(data, at)
    if flags & 0x8000:
        return codes.NOT_IP
    if flags & 15 == 3:
        return ethernet(p, data, at + 8, end, missing)
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
        at += 2 + be16(data, at)
    return ppp(p, data, at, end, missing)


def gre(p: Packet, data: bytes, at: int, end: int, missing: int) -> int:
    """RFC 2784, 2890; version 1 is PPTP (RFC 2637)."""
    if end - at < 4:
        return codes.SHORT
    flags = be16(data, at)
    kind = be16(data, at + 2)
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
        return ethernet(p, data, at + 8 if flags & 0x1000 else at, end, missing)
    if kind == 0x22EB:  # ERSPAN III
        if end - at < 12:
            return codes.SHORT
        at += 20 if data[at + 11] & 1 else 12
        return ethernet(p, data, at, end, missing)
    if kind == 0x0800 and at < end and data[at] >> 4 != 4:  # WCCP redirect header
        at += 4
    if kind == 0x883E:
        return ip(p, data, at + 4, end, missing)
    return ethertype(p, data, kind, at, end, missing)


def checksum_matches(p: Packet, data: bytes) -> bool:
    """Does the TCP or UDP checksum fit (RFC 9293 section 3.1)? True where it cannot be told (cut, UDP without)."""
    if p.captured < p.length or (p.protocol != codes.TCP and p.protocol != codes.UDP):
        return True
    start = p.l4_at
    end = p.payload_at + p.captured
    length = end - start
    if p.protocol == codes.UDP and be16(data, start + 6) == 0:
        return True
    at = p.address_at
    addresses = pieces.modulo(data, at, at + (8 if p.version == 4 else 32))
    return (p.protocol + length + addresses + pieces.modulo(data, start, end)) % 0xFFFF == 0
