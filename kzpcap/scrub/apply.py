"""Carry out a plan: read the capture once more, write what the plan keeps, and nothing else.

Standard library only, and no analysis: the plan says which frames, which bytes of their payloads, and what stands in
the others' place. Headers are not copied but written anew from the fields that are evidence (addresses as the plan
maps them, TTL, IP ID, DF, TOS, ports, sequence numbers, flags, window, TCP options), over raw IP: link layers, MAC
addresses, IP options, extension headers and padding have no way through. A checksum that was right is right again for
the new bytes; one that was wrong stays wrong, for it is a mark of injection.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from kzpcap.capture.codes import OK, TCP, UDP
from kzpcap.capture.container import open_records
from kzpcap.capture.decode import decode
from kzpcap.capture.health import Notes
from kzpcap.capture.packet import Packet, checksum_matches

RAW_IP = 101
ICMP, ICMPV6, IPV4_IN_IP, IPV6_IN_IP = 1, 58, 4, 41
MAX_PACKET = 65_535
MAX_TUNNELS = 4
PCAPDROID_TRAILER = b"\x01\x07\x20\x21" + bytes(16)
"""The trailer's magic without its content: it tells that an app rebuilt the headers."""
TUNNEL_ENDS = {4: (bytes((192, 0, 2, 253)), bytes((192, 0, 2, 254)))}
KEPT_OPTIONS = {2: 4, 3: 3, 4: 2}
"""MSS, window scale, SACK permitted, by their lengths. The content of others but timestamps and SACK is zeroed."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One direction of a kept conversation: the ports to write, and what is added to its numbers, modulo their size."""

    sport: int
    dport: int
    seq: int = 0
    ack: int = 0
    stamp: int = 0
    echo: int = 0
    ip_id: int = 0


@dataclass(frozen=True, slots=True)
class Edit:
    """One kept packet: ranges of its payload that stay, bytes that stand in others' place; the rest is zero."""

    frame: int
    turn: int
    """Its place in the plan's `turns`."""
    keep: tuple[tuple[int, int], ...] = ()
    put: tuple[tuple[int, bytes], ...] = ()
    fresh: bytes | None = None
    """The whole payload, where it is written anew (DNS answers, ICMP)."""


DAY_NS = 86_400 * 1_000_000_000
JUMP_NS = 3_600 * 1_000_000_000


@dataclass
class Clock:
    """What is added to the times of packets, so that each run of them begins with its day; nothing where none is kept.

    A clock that was set between two packets begins a run: else what stands before it would tell the time behind it.
    """

    frames: list[int] = field(default_factory=list)
    shifts: list[int] = field(default_factory=list)
    last_ns: int = 0

    def keep(self, frame: int, time_ns: int) -> None:
        """Take the time of a kept packet; frames must not fall."""
        moved = time_ns - self.last_ns
        if not self.frames or moved < -JUMP_NS or moved > 2 * DAY_NS:
            self.frames.append(frame)
            self.shifts.append(-(time_ns % DAY_NS))
        self.last_ns = time_ns

    def shift(self, frame: int) -> int:
        """Nanoseconds to add to the time of a frame."""
        at = bisect_right(self.frames, frame)
        return self.shifts[at - 1] if at else 0


@dataclass
class Plan:
    """What becomes of a capture."""

    addresses: dict[bytes, bytes] = field(default_factory=dict)
    """Addresses to be replaced; all others of kept packets stay."""
    turns: list[Turn] = field(default_factory=list)
    edits: dict[int, Edit] = field(default_factory=dict)
    clock: Clock = field(default_factory=Clock)


@dataclass
class Written:
    """What was written: the new number of each kept frame, and frames whose checksum was wrong."""

    frames: dict[int, int] = field(default_factory=dict)
    wrong_checksums: list[int] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    """Frames that the plan keeps and that could not be read again."""


def apply(raw: bytes, plan: Plan, out: Callable[[bytes], object]) -> Written:
    """Write a pcapng of what the plan keeps of a capture's bytes; the capture itself is only read."""
    written = Written()
    out(_block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)))
    out(_block(1, struct.pack("<HHI", RAW_IP, 0, 0) + struct.pack("<HHB3xHH", 9, 1, 9, 0, 0)))
    for packet, data, rebuilt in _packets(raw, plan, written):
        edit = plan.edits[packet.frame]
        body, missing = build(packet, data, edit, plan, written)
        if rebuilt:
            body += PCAPDROID_TRAILER
        written.frames[packet.frame] = len(written.frames) + 1
        time_ns = max(0, packet.time_ns + plan.clock.shift(packet.frame)) if packet.time_ns else 0
        head = struct.pack("<IIIII", 0, time_ns >> 32, time_ns & 0xFFFFFFFF, len(body), len(body) + missing)
        out(_block(6, head + body))
    return written


def _packets(raw: bytes, plan: Plan, written: Written) -> Iterator[tuple[Packet, bytes, bool]]:
    """The packets of the plan, decoded, and whether an app's trailer follows them."""
    records = open_records(raw, Notes())
    wanted = set(plan.edits)
    while wanted and records.advance():
        if records.frame not in wanted:
            continue
        wanted.discard(records.frame)
        packet = Packet()
        packet.frame, packet.time_ns = records.frame, records.time_ns
        try:
            outcome = decode(packet, raw, records.offset, records.captured, records.original, records.link_type)
        except IndexError:
            outcome = -1
        if outcome != OK:
            written.missing.append(records.frame)
            continue
        at = packet.trailer_at
        yield packet, raw, bool(at) and bytes(raw[at : at + 4]) == PCAPDROID_TRAILER[:4]
    written.missing += sorted(wanted)


def addresses_of(packet: Packet, raw: bytes) -> tuple[bytes, bytes]:
    """Source and destination of a decoded packet, as they stand in the capture's bytes."""
    size = 4 if packet.version == 4 else 16
    at = packet.address_at
    return bytes(raw[at : at + size]), bytes(raw[at + size : at + size * 2])


def build(packet: Packet, raw: bytes, edit: Edit, plan: Plan, written: Written) -> tuple[bytes, int]:
    """The new packet from its IP header on, and how many bytes of it were not captured."""
    source, target = addresses_of(packet, raw)
    source, target = plan.addresses.get(source, source), plan.addresses.get(target, target)
    turn = plan.turns[edit.turn]
    payload, missing = _payload(packet, raw, edit)
    if packet.protocol == TCP:
        options = bytes(raw[packet.l4_at + 20 : packet.l4_at + 20 + packet.options_length])
        header = struct.pack(
            ">HHIIBBHHH",
            turn.sport,
            turn.dport,
            (packet.seq + turn.seq) & 0xFFFFFFFF,
            (packet.ack + turn.ack) & 0xFFFFFFFF if packet.flags & 16 else 0,
            (5 + (len(options) + 3) // 4) << 4,
            packet.flags,
            packet.window,
            0,
            0,
        )
        body = header + tcp_options(options, turn) + payload
        checksum_at = 16
    elif packet.protocol == UDP:
        body = struct.pack(">HHHH", turn.sport, turn.dport, min(MAX_PACKET, 8 + len(payload) + missing), 0) + payload
        checksum_at = 6
    else:
        body = payload
        checksum_at = 2
    right = checksum_matches(packet, raw)
    if not right:
        written.wrong_checksums.append(packet.frame)
    body = with_checksum(body, checksum_at, packet.protocol, source, target, right)
    ip_id = (packet.ip_id + turn.ip_id) & 0xFFFF if packet.ip_id else 0
    inner = ip_header(
        packet.version, packet.tos, ip_id, packet.dont_fragment, packet.ttl, packet.protocol, source, target,
        len(body) + missing,
    ) + body  # fmt: skip
    for _ in range(min(packet.tunnels, MAX_TUNNELS)):
        protocol = IPV4_IN_IP if inner[0] >> 4 == 4 else IPV6_IN_IP
        inner = (
            ip_header(4, 0, 0, True, max(1, packet.outer_ttl), protocol, *TUNNEL_ENDS[4], len(inner) + missing) + inner
        )
    return inner, missing


def _payload(packet: Packet, raw: bytes, edit: Edit) -> tuple[bytes, int]:
    """The payload as the plan has it, and how many of its bytes were not captured."""
    if edit.fresh is not None:
        return edit.fresh, 0
    payload = bytearray(packet.captured)
    for begin, end in edit.keep:
        payload[begin:end] = raw[packet.payload_at + begin : packet.payload_at + end]
    for begin, value in edit.put:
        payload[begin : begin + len(value)] = value
    return bytes(payload[: packet.captured]), max(0, packet.length - packet.captured)


def tcp_options(raw: bytes, turn: Turn) -> bytes:
    """The options with shifted timestamps, the content of unknown ones zeroed, padded to 32 bits."""
    kept = bytearray(raw)
    at = 0
    while at < len(kept):
        kind = kept[at]
        if kind == 0:
            kept[at:] = bytes(len(kept) - at)
            break
        if kind == 1:
            at += 1
            continue
        length = kept[at + 1] if at + 1 < len(kept) else 0
        if length < 2 or at + length > len(kept):
            kept[at:] = bytes(len(kept) - at)
            break
        if kind == 8 and length == 10:
            value, echo = struct.unpack_from(">II", kept, at + 2)
            echo = (echo + turn.echo) & 0xFFFFFFFF if echo else 0
            struct.pack_into(">II", kept, at + 2, (value + turn.stamp) & 0xFFFFFFFF, echo)
        elif kind == 5 and length % 8 == 2:
            for edge in range(at + 2, at + length - 3, 4):
                (value,) = struct.unpack_from(">I", kept, edge)
                struct.pack_into(">I", kept, edge, (value + turn.ack) & 0xFFFFFFFF)
        elif KEPT_OPTIONS.get(kind) != length:
            kept[at + 2 : at + length] = bytes(length - 2)
        at += length
    return bytes(kept) + bytes(-len(kept) & 3)


def ip_header(
    version: int, tos: int, ip_id: int, df: bool, ttl: int, protocol: int, source: bytes, target: bytes, length: int
) -> bytes:
    """An IP header without options before `length` bytes; longer ones than it can say are told as 0 (offloading)."""
    if version == 6:
        return (
            struct.pack(">IHBB", 6 << 28 | tos << 20, length if length <= MAX_PACKET else 0, protocol, ttl)
            + source
            + target
        )
    total = length + 20 if length + 20 <= MAX_PACKET else 0
    header = struct.pack(">BBHHHBBH", 0x45, tos, total, ip_id, 0x4000 if df else 0, ttl, protocol, 0) + source + target
    return header[:10] + struct.pack(">H", ones_complement(header)) + header[12:]


def with_checksum(body: bytes, at: int, protocol: int, source: bytes, target: bytes, right: bool = True) -> bytes:
    """The segment, datagram or ICMP message with its checksum at `at`; a wrong one, where it was wrong."""
    if len(body) < at + 2:
        return body
    body = body[:at] + b"\0\0" + body[at + 2 :]
    pseudo = b"" if protocol == ICMP else source + target + struct.pack(">II", len(body), protocol)
    value = ones_complement(pseudo + body)
    if protocol == UDP and value == 0:
        value = 0xFFFF
    if not right:
        value ^= 0x5555
        value = value or 0x1111
    return body[:at] + struct.pack(">H", value) + body[at + 2 :]


def ones_complement(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) & 1:
        data += b"\0"
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


def _block(kind: int, body: bytes) -> bytes:
    """A pcapng block."""
    body += bytes(-len(body) & 3)
    length = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + length + body + length
