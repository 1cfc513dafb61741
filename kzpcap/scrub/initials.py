"""A client's QUIC Initials as they stay: without the server's token, and with a ClientHello that is masked as TCP's is.

Their keys follow from a connection id that is sent in clear (RFC 9001 section 5.2): who has the capture can open them,
and seal them again. Servers write a client's address into their tokens (RFC 9000 section 8.1).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kzpcap.capture.packet import Packet
from kzpcap.scrub.mask import Policy, client_hello
from kzpcap.tls import quic, quic_packet
from kzpcap.wire import Reader

Range = tuple[int, int]
Stays = tuple[tuple[Range, ...], tuple[tuple[int, bytes], ...]]
"""The ranges of a payload that stay as they are, and what is put in the place of others."""
MAX_HELLO = 65_536
CLIENT_HELLO, HEAD = 1, 4


@dataclass
class Initial:
    """One of a client's Initials in clear; `pieces` are (offset in the CRYPTO stream, in the payload, length)."""

    frame: int
    rest: bytes
    """Its header behind the first byte, up to the packet number, with zeros for the token."""
    keys: quic_packet.Keys
    found: quic_packet.Unprotected
    pieces: list[tuple[int, int, int]]
    end: int
    """Where its frames end: what stands behind is not known."""


def masked(
    packets: Iterable[Packet], client: int, stays: Mapping[int, tuple[Range, ...]], policy: Policy
) -> dict[int, Stays]:
    """What stays of each datagram of one connection, of those in `stays`; an Initial that no key opens does not."""
    kept: dict[int, Stays] = {}
    ids: list[bytes] = []
    initials = []
    for packet in packets:
        if packet.frame not in stays:
            continue
        header = quic_packet.long_header(packet.payload, 0)
        if header is None or header.kind != quic_packet.INITIAL:
            kept[packet.frame] = stays[packet.frame], ()
            continue
        if packet.direction != client:
            if _without_token(packet.payload[: header.pn_offset]) == packet.payload[: header.pn_offset]:
                kept[packet.frame] = stays[packet.frame], ()
            continue
        if header.dcid not in ids and len(ids) < quic.MAX_KEYS:
            ids.append(header.dcid)
        initial = _opened(packet, header, ids)
        if initial is not None:
            initials.append(initial)
    change = _changes(initials, policy)
    for initial in initials:
        payload = bytearray(initial.found.payload)
        for offset, at, length in initial.pieces:
            payload[at : at + length] = change[offset : offset + length].ljust(length, b"\0")
        payload[initial.end :] = bytes(len(payload) - initial.end)  # PADDING
        made = quic_packet.sealed(initial.found._replace(payload=bytes(payload)), initial.rest, initial.keys)
        kept[initial.frame] = (), ((0, made),)
    return kept


def _opened(packet: Packet, header: quic_packet.LongHeader, ids: list[bytes]) -> Initial | None:
    for dcid in ids:
        for keys in quic_packet.initial_keys(header.version, dcid, "client in"):
            found = quic_packet.opened(packet.payload, header, keys)
            if found is not None:
                head = _without_token(packet.payload[: header.pn_offset])
                frames, end = quic_packet.placed_crypto_frames(found.payload)
                pieces = [(offset, at, len(data)) for offset, data, at in frames]
                return Initial(packet.frame, head[1:], keys, found, pieces, end)
    return None


def _without_token(head: bytes) -> bytes:
    """The header of an Initial, with as many zeros in place of its token."""
    reader = Reader(head, 5)
    reader.vector(1)
    reader.vector(1)
    length = quic_packet.varint(reader)
    return head[: reader.pos] + bytes(length) + head[reader.pos + length :]


def _changes(initials: list[Initial], policy: Policy) -> bytes:
    """The CRYPTO stream as it stays: whole ClientHellos, masked; zeros for all else."""
    crypto = quic.Crypto()
    for initial in initials:
        for offset, at, length in initial.pieces:
            crypto.add(offset, initial.found.payload[at : at + length], Packet())
    runs = crypto.assemble()
    stream = bytearray(runs[0][1] if runs and runs[0][0] == 0 else b"")
    at = 0
    while len(stream) - at >= HEAD:
        begin = at + HEAD
        end = min(len(stream), begin + int.from_bytes(stream[at + 1 : begin], "big"))
        if stream[at] == CLIENT_HELLO:
            for change in client_hello(bytes(stream[begin:end]), policy):
                size = change.end - change.begin
                value = bytes(size) if change.value is None else change.value[:size].ljust(size, b"\0")
                stream[begin + change.begin : begin + change.end] = value
        else:
            stream[at:end] = bytes(end - at)
        at = end
    return bytes(stream)
