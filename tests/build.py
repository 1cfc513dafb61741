"""Small builders for TLS bytes, streams and observations."""

from __future__ import annotations

import struct

from kzpcap.capture.packet import Packet
from kzpcap.flows import reassemble


def vector(body, size):
    return len(body).to_bytes(size, "big") + body


def message(kind, body):
    return bytes([kind]) + vector(body, 3)


def record(kind, body, version=0x0303):
    return struct.pack(">BHH", kind, version, len(body)) + body


def extension(kind, body):
    return struct.pack(">HH", kind, len(body)) + body


def server_name(name):
    return extension(0, vector(b"\0" + vector(name, 2), 2))


def client_hello_body(name=b"vk.com", extensions=b"", suites=(0xC02F, 0x009C), session=b"", random=b"\x07" * 32):
    sent = (server_name(name) if name is not None else b"") + extensions
    packed = b"".join(suite.to_bytes(2, "big") for suite in suites)
    return b"\x03\x03" + random + vector(session, 1) + vector(packed, 2) + b"\x01\x00" + vector(sent, 2)


def client_hello(name=b"vk.com", **more):
    return record(22, message(1, client_hello_body(name, **more)))


def server_hello_body(suite=0x009C, session=b"", extensions=b"", random=b"\x09" * 32):
    return b"\x03\x03" + random + vector(session, 1) + suite.to_bytes(2, "big") + b"\0" + vector(extensions, 2)


def certificate_body(*ders):
    return vector(b"".join(vector(der, 3) for der in ders), 3)


def packets(data, size=1_400, first_frame=10, seq=1, sport=443, dport=40_000):
    """Segments of a direction that starts with a SYN."""
    syn = Packet()
    syn.frame, syn.seq, syn.flags, syn.sport, syn.dport = (
        first_frame - 1,
        seq - 1,
        2 if dport == 443 else 18,
        sport,
        dport,
    )
    found = [syn]
    for number, at in enumerate(range(0, len(data), size)):
        packet = Packet()
        packet.frame, packet.seq, packet.flags, packet.ttl = first_frame + number, seq + at, 24, 57
        packet.ack = 1
        packet.sport, packet.dport = sport, dport
        packet.payload = data[at : at + size]
        packet.captured = packet.length = len(packet.payload)
        found.append(packet)
    return found


def streams(client, server, size=1_400):
    """Both directions, reassembled."""
    return (
        reassemble(packets(client, size, 10, sport=40_000, dport=443)),
        reassemble(packets(server, size, 100, sport=443, dport=40_000)),
    )
