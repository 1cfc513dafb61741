"""Second readers, for corroboration only: nothing else imports them.

dpkt and scapy read the same packets; tshark reads the same handshakes. None shares code with kzpcap.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from kzpcap.errors import WitnessMissing

PACKET_WITNESSES = ("dpkt", "scapy")
INSTALL = {
    "dpkt": "pip install 'kzpcap[witnesses]'",
    "scapy": "pip install 'kzpcap[witnesses]'",
    "tshark": "install Wireshark's tshark (Debian: apt install tshark)",
}


@dataclass(frozen=True, slots=True)
class PacketSeen:
    """One TCP or UDP packet as a witness reads it: what every reader must agree on."""

    frame: int
    src: str
    dst: str
    ttl: int
    protocol: int
    sport: int
    dport: int
    seq: int
    payload: int
    """Length of the payload that was captured."""


def missing(witness: str) -> WitnessMissing:
    """The error for a witness that is not installed, with how to install it."""
    return WitnessMissing(f"{witness} is not installed: {INSTALL[witness]}")


def fd_path(file: IO[bytes]) -> str:
    """A path by which another reader opens the same file: the original may be standard input or inside an archive."""
    return f"/dev/fd/{file.fileno()}"


def packets(witness: str, path: str) -> Iterator[PacketSeen]:
    """The packets of a capture as dpkt or scapy reads them; WitnessMissing where it is not installed."""
    module: Any
    try:
        if witness == "dpkt":
            from kzpcap.capture.witnesses import with_dpkt as module
        else:
            from kzpcap.capture.witnesses import with_scapy as module
    except ImportError as error:
        raise missing(witness) from error
    found: Iterator[PacketSeen] = module.packets(path)
    return found
