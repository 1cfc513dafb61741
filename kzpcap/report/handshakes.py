"""`kzpcap handshakes`: the flat list, one JSON line a TLS connection, that a scientist loads into a dataframe."""

from __future__ import annotations

import hashlib
import tempfile
from array import array
from collections.abc import Iterator
from typing import Any, Self

from kzpcap.absent import absent_reason
from kzpcap.capture.flow import Flow
from kzpcap.paths.icmp import IcmpError, address
from kzpcap.report.text import decode, rfc3339
from kzpcap.tls.fingerprints import ja3, ja3s, ja4
from kzpcap.tls.seen import Handshake

IN_MEMORY = 16 << 20


class Lines:
    """Lines that come as connections end, and go out by their first frames; many are kept in a temporary file."""

    def __init__(self) -> None:
        self.file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY, prefix="kzpcap-")  # noqa: SIM115 - by __exit__
        self.frames = array("Q")
        self.ends = array("Q", [0])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def add(self, frame: int, line: str) -> None:
        """Keep a line."""
        self.frames.append(frame)
        self.ends.append(self.ends[-1] + self.file.write(line.encode("utf-8", "surrogateescape") + b"\n"))

    def in_order(self) -> Iterator[str]:
        """All of them; those of one frame in the order in which they came."""
        for at in sorted(range(len(self.frames)), key=self.frames.__getitem__):
            self.file.seek(self.ends[at])
            yield self.file.read(self.ends[at + 1] - self.ends[at]).decode("utf-8", "surrogateescape")


def row(file: str, flow: Flow, handshake: Handshake) -> dict[str, Any]:
    """One TLS connection."""
    first = flow.packets[0]
    ends = ((address(first.src), first.sport), (address(first.dst), first.dport))
    client, server = ends if first.direction == handshake.client_direction else (ends[1], ends[0])
    seen = handshake.client_hello
    hello = seen.hello if seen else None
    answered = handshake.server_hello
    answer = answered.hello if answered else None
    chain = handshake.chains[0] if handshake.chains and handshake.chains[0].complete else None
    reason = absent_reason(handshake, flow)
    when = seen.seen.time_ns if seen else flow.first_time
    return {
        "record": "handshake",
        "file": file,
        "transport": handshake.transport,
        "client_address": client[0],
        "client_port": client[1],
        "server_address": server[0],
        "server_port": server[1],
        "frame": seen.seen.frame if seen else flow.first_frame,
        "time": rfc3339(when) if when else None,
        "server_name": decode(hello.server_name) if hello and hello.server_name is not None else None,
        "alpn_protocols": [decode(name) for name in hello.alpn_protocols]
        if hello and hello.alpn_protocols is not None
        else None,
        "ja3": ja3(hello) if hello else None,
        "ja4": ja4(hello, handshake.transport) if hello else None,
        "client_hello": seen is not None,
        "server_hello": None
        if answer is None
        else {"version": f"0x{answer.version:04x}", "cipher": f"0x{answer.cipher_suite:04x}", "ja3s": ja3s(answer)},
        "certificate_sha256": [hashlib.sha256(der).hexdigest() for der in chain.certificates] if chain else [],
        "certificate_absent": reason.value if reason else None,
        "history": handshake.history,
    }


def time_exceeded(file: str, errors: list[IcmpError]) -> Iterator[dict[str, Any]]:
    """One row per ICMP Time Exceeded, of any code, IPv4 and IPv6."""
    for error in errors:
        if error.time_exceeded:
            yield {
                "record": "time_exceeded",
                "file": file,
                "frame": error.frame,
                "outer_src": error.outer_src,
                "q_src": error.q_src,
                "q_sport": error.q_sport,
                "q_dst": error.q_dst,
                "q_dport": error.q_dport,
                "q_ttl": error.q_ttl,
            }
