# cython: annotation_typing=False, language_level=3, boundscheck=True, wraparound=False
"""IP datagrams that came in fragments, put together (RFC 791 section 3.2, RFC 8200 section 4.5).

The first copy of a byte counts. The file runs as it is; fragments.pxd gives the compiled form its types.
"""

from __future__ import annotations

from kzpcap.capture import limits, pieces
from kzpcap.capture.health import Notes
from kzpcap.capture.packet import Packet

MAX_WAITING = 128
"""Datagrams in the making at once; each may take twice its own length."""
WAIT_NS = 30_000_000_000
"""How long fragments of a datagram are waited for (RFC 791 section 3.2 has 15 s)."""
WAIT_FRAMES = 20_000
"""The same in frames: packets may have no times."""
MAX_WHOLE = 256
MAX_PIECES = 64
MAX_APART = 1_000
"""How many datagrams are remembered that were put together, of each how many pieces, and for how many frames."""
MAX_DATAGRAM = 65_535


class Datagram:
    """One IP datagram in the making: its bytes, and which of them have come."""

    def __init__(self, frame: int, time_ns: int) -> None:
        self.frame = frame
        self.time_ns = time_ns
        self.ttl = 0
        self.pieces: set[int] = set()
        """Hashes of those that came."""
        self.body = bytearray()
        self.have = bytearray()
        self.filled = 0
        self.total = -1
        self.header = b""


class Fragments:
    """The datagrams of a capture that are in fragments; `packets`: how many came, `duplicates`: captured twice."""

    def __init__(self, notes: Notes) -> None:
        self.notes = notes
        self.packets = 0
        self.reassembled = 0
        self.duplicates = 0
        self.waiting: dict[bytes, Datagram] = {}
        self.whole: dict[bytes, Datagram] = {}
        """Of the last datagrams that were put together: the pieces, without their bytes."""

    def add(self, p: Packet, data: bytes) -> bytes:
        """The datagram that a fragment makes whole, from its IP header on; empty where none is."""
        self.packets += 1
        size = 4 if p.version == 4 else 16
        key = (
            pieces.piece(data, p.address_at, p.address_at + size * 2)
            + p.fragment_id.to_bytes(4, "big")
            + bytes((p.fragment_protocol,))
        )
        piece = pieces.piece(data, p.fragment_at, p.fragment_end)
        one = hash((p.fragment_offset, piece))
        if self._is_again(key, one, p):
            self.duplicates += 1  # of a datagram that is whole nothing more is to come
            return b""
        held = self._held(key, p)
        if len(held.pieces) < MAX_PIECES:
            held.pieces.add(one)
        if p.fragment_offset + len(piece) > MAX_DATAGRAM:
            del self.waiting[key]
            self.notes.add("limit", "an IP datagram longer than it can be", p.frame)
            return b""
        self._put(held, p.fragment_offset, piece, p.frame)
        if p.fragment_offset == 0:
            held.header = pieces.piece(data, p.ip_at, p.fragment_at)
        if not p.more_fragments:
            held.total = p.fragment_offset + len(piece)
        if held.total < 0 or not held.header or held.filled < held.total or 0 in held.have[: held.total]:
            return b""
        del self.waiting[key]
        if len(self.whole) >= MAX_WHOLE:
            del self.whole[next(iter(self.whole))]
        done = Datagram(p.frame, p.time_ns)
        done.pieces, done.ttl = held.pieces, p.ttl
        self.whole[key] = done
        return with_length(held.header, bytes(held.body[: held.total]), p)

    def end(self) -> None:
        """Note what was still waited for at the end of the capture."""
        if self.waiting:
            text = f"IP datagrams of which not all fragments are in the capture: {len(self.waiting):,}"
            self.notes.add("fragments", text)

    def _is_again(self, key: bytes, one: int, p: Packet) -> bool:
        """Is this a fragment, captured twice, of a datagram that is whole?"""
        done = self.whole.get(key)
        return (
            done is not None
            and one in done.pieces
            and 0 <= done.ttl - p.ttl <= 1
            and p.frame - done.frame <= MAX_APART
            and abs(p.time_ns - done.time_ns) <= limits.QUEUED_NS
        )

    def _held(self, key: bytes, p: Packet) -> Datagram:
        """The datagram of a fragment; a new one where there is none, or one too old to be its."""
        held = self.waiting.get(key)
        if held is not None:
            if p.frame - held.frame <= WAIT_FRAMES and abs(p.time_ns - held.time_ns) <= WAIT_NS:
                return held
            self.notes.add("fragments", "an IP datagram of which fragments are missing", held.frame)
        if len(self.waiting) >= MAX_WAITING:
            del self.waiting[next(iter(self.waiting))]
            self.notes.add("limit", "an IP datagram was given up before all its fragments came", p.frame)
        held = self.waiting[key] = Datagram(p.frame, p.time_ns)
        return held

    def _put(self, held: Datagram, begin: int, piece: bytes, frame: int) -> None:
        """Put a piece where it belongs; bytes that are there already stay."""
        end = begin + len(piece)
        if end > len(held.body):
            held.body += bytes(end - len(held.body))
            held.have += bytes(end - len(held.have))
        before = bytes(held.have[begin:end])
        if 1 in before:
            ours = bytes(held.body[begin:end])
            merged = merge(ours, piece, before)
            if merged is None:
                self.notes.add("conflict", "IP fragments that overlap with different bytes", frame)
                merged = keep_first(ours, piece, before)
            held.body[begin:end] = merged
        else:
            held.body[begin:end] = piece
        held.filled += len(piece) - before.count(1)
        held.have[begin:end] = b"\1" * len(piece)


def with_length(header: bytes, body: bytes, p: Packet) -> bytes:
    """A datagram with the length that it has whole, and as no fragment."""
    if p.version == 4:
        whole = bytearray(header)
        whole[2:4] = min(0xFFFF, len(whole) + len(body)).to_bytes(2, "big")
        whole[6:8] = b"\0\0"
    else:
        whole = bytearray(header[:40])
        whole[4:6] = (len(body) if len(body) < 0x10000 else 0).to_bytes(2, "big")
        whole[6] = p.fragment_protocol
    return bytes(whole) + body


def merge(first: bytes, second: bytes, have: bytes) -> bytes | None:
    """Two overlapping pieces as one; None where they differ in a byte that both have."""
    if have.count(1) == len(have):
        return first if first == second else None
    for index in range(len(have)):
        if have[index] and first[index] != second[index]:
            return None
    return second


def keep_first(first: bytes, second: bytes, have: bytes) -> bytes:
    """Overlapping pieces that differ: what came first counts."""
    return bytes(first[index] if have[index] else second[index] for index in range(len(have)))
