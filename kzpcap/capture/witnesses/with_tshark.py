"""The TLS handshakes of a capture as tshark reads them. tshark is driven directly, on a file, and never on a network.

pyshark would parse the same program's XML; it is slow on many packets and breaks on new Pythons, so it is left out.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from typing import IO

from kzpcap.capture.witnesses import fd_path, missing
from kzpcap.errors import CaptureError

FIELDS = (
    "frame.number", "ip.src", "ipv6.src", "ip.dst", "ipv6.dst", "tcp.srcport", "tcp.dstport", "udp.srcport",
    "udp.dstport", "tls.handshake.type", "tls.handshake.extensions_server_name", "tls.handshake.ciphersuite",
    "tls.handshake.certificate", "icmp.type", "icmpv6.type", "tcp.stream", "frame.protocols",
)  # fmt: skip
OPTIONS = ("tcp.reassemble_out_of_order:TRUE", "tcp.try_heuristic_first:TRUE", "nameres.mac_name:FALSE")
TIMEOUT = 600
MAX_OUTPUT = 1 << 30


@dataclass(slots=True)
class HandshakeSeen:
    """One connection as tshark reads it; `client` sent the ClientHello."""

    client: tuple[str, int]
    server: tuple[str, int]
    hello_frame: int | None = None
    server_name: str | None = None
    server_hello_frame: int | None = None
    cipher: int | None = None
    chain_frame: int | None = None
    chain: list[str] = field(default_factory=list)

    @property
    def frame(self) -> int:
        """Where it was first seen."""
        return self.hello_frame or self.server_hello_frame or self.chain_frame or 0


def program() -> str:
    """tshark's path; WitnessMissing where there is none."""
    found = shutil.which("tshark")
    if found is None:
        raise missing("tshark")
    return found


def version() -> str:
    """The version that tshark says it is."""
    done = subprocess.run([program(), "--version"], capture_output=True, text=True, check=False, timeout=60)
    found = re.search(r"\d+\.\d+\.\d+", done.stdout)
    return f"tshark {found[0]}" if found else "tshark"


def handshakes(file: IO[bytes]) -> list[HandshakeSeen]:
    """Every connection with a ClientHello or ServerHello, in the order of their first message."""
    command = [program(), "-n", "-r", fd_path(file), "-Y", "tls.handshake", "-T", "fields", "-E", "occurrence=a"]
    for option in OPTIONS:
        command += ["-o", option]
    for name in FIELDS:
        command += ["-e", name]
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=TIMEOUT, pass_fds=(file.fileno(),))
    except subprocess.TimeoutExpired as error:
        raise CaptureError("tshark did not finish in time") from error
    # Of a damaged one it reads a part, and ends with a status of its own; a signal may have ended it anywhere.
    unread = done.returncode > 0 and not done.stdout and b"cut short" not in done.stderr
    if unread or done.returncode < 0:
        lines = done.stderr.decode("utf-8", "backslashreplace").split("\n")
        why = next((line.strip() for line in reversed(lines) if line.strip()), "it says nothing")
        raise CaptureError(f"tshark ended with status {done.returncode}: {why}")
    if len(done.stdout) > MAX_OUTPUT:
        raise CaptureError(f"tshark told more than {MAX_OUTPUT:,} bytes")
    found: dict[tuple[object, ...], HandshakeSeen] = {}
    for line in done.stdout.decode("utf-8", "backslashreplace").splitlines():
        columns = line.split("\t")
        if len(columns) == len(FIELDS):
            _row(dict(zip(FIELDS, columns, strict=True)), found)
    return list(found.values())


def _last(row: dict[str, str], *names: str) -> str:
    """The innermost value of the first of these fields that is there."""
    for name in names:
        if row[name]:
            return row[name].split(",")[-1]
    return ""


def _row(row: dict[str, str], found: dict[tuple[object, ...], HandshakeSeen]) -> None:
    if row["icmp.type"] or row["icmpv6.type"]:
        return
    sport, dport = _last(row, "tcp.srcport", "udp.srcport"), _last(row, "tcp.dstport", "udp.dstport")
    if not sport or not dport:
        return
    stack = row["frame.protocols"].split(":")
    inner = next((layer for layer in reversed(stack) if layer in ("ip", "ipv6")), "ip")
    sender = (_last(row, f"{inner}.src"), int(sport))
    receiver = (_last(row, f"{inner}.dst"), int(dport))
    frame = int(row["frame.number"])
    kinds = [int(kind) for kind in row["tls.handshake.type"].split(",") if kind.isdigit()]
    transport = f"tcp {row['tcp.stream']}" if row["tcp.srcport"] else "udp"  # a stream ends where a port is used again
    if 1 in kinds:
        seen = found.setdefault((transport, sender, receiver), HandshakeSeen(sender, receiver))
        if seen.hello_frame is None:
            seen.hello_frame = frame
            seen.server_name = row["tls.handshake.extensions_server_name"].split(",")[0] or None
        return
    if not {2, 11} & set(kinds) or (transport, sender, receiver) in found:
        return  # nothing to compare, or the client's own certificate
    seen = found.setdefault((transport, receiver, sender), HandshakeSeen(receiver, sender))
    if 2 in kinds and row["tls.handshake.ciphersuite"] and seen.cipher is None:
        seen.server_hello_frame = frame
        seen.cipher = int(row["tls.handshake.ciphersuite"].split(",")[0], 0)
    if 11 in kinds and row["tls.handshake.certificate"] and not seen.chain:
        seen.chain_frame = frame
        ders = row["tls.handshake.certificate"].replace(":", "").split(",")
        seen.chain = [hashlib.sha256(bytes.fromhex(der)).hexdigest() for der in ders if der]
