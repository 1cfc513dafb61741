"""The interceptor of 2019, rebuilt: on a target's name it shows a leaf forged after the origin's, and reads along.

    python -m lab.box SPEC.json

It runs on the router at its hop, before routing, so that a packet whose TTL ends there still reaches it. Two builds:

- `terminate`: every TCP connection to port 443 ends here (TPROXY); what is no target is passed on over a second
  connection, so the SYN-ACK is always the box's.
- `take-over`: the TCP handshake goes through to the origin (NFQUEUE looks on); at a target's ClientHello the box
  becomes both ends of the connection, with sockets in TCP_REPAIR that go on with its sequence numbers, windows and
  timestamps. The SYN-ACK has the origin's TTL and the ServerHello the box's.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import select
import socket
import ssl
import struct
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from lab import hello as hellos
from lab import journal
from lab.forge import GENERATIONS, Forger
from lab.nfqueue import ACCEPT, Queue, Queued
from lab.origin import peek
from lab.packets import ACK, FIN, MSS, RST, SACK_PERMITTED, SYN, TIMESTAMPS, WINDOW_SCALE, Segment, segment
from lab.pki import key_pem, pem, sha256

SOL_IP, IP_TRANSPARENT, IP_TTL = 0, 19, 2
SOL_IPV6, IPV6_TRANSPARENT, IPV6_UNICAST_HOPS = 41, 75, 16
TCP_REPAIR, TCP_REPAIR_QUEUE, TCP_QUEUE_SEQ, TCP_REPAIR_OPTIONS, TCP_TIMESTAMP, TCP_REPAIR_WINDOW = (
    19,
    20,
    21,
    22,
    24,
    29,
)
RECEIVE_QUEUE, SEND_QUEUE, REPAIR_ON, REPAIR_OFF_NO_PROBE = 1, 2, 1, -1

# Thirteen suites of TLS 1.2: the published ClientHello had as many; which is not known.
SUITES = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA:"
    "ECDHE-RSA-AES256-SHA:AES128-GCM-SHA256:AES256-GCM-SHA384:AES128-SHA:AES256-SHA:ECDHE-ECDSA-AES128-SHA256"
)

Address = tuple[str, int]


class Box:
    """What both builds share: whom to intercept, the origin's chain, the forged one."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec
        self.targets = {name.lower() for name in spec["targets"]}
        intermediate, root = x509.load_pem_x509_certificates(Path(spec["ca"]).read_bytes())
        key = serialization.load_pem_private_key(Path(spec["key"]).read_bytes(), None)
        self.forger = Forger(GENERATIONS[spec["generation"]], root, key, intermediate)
        self.sent = [intermediate, root] if spec.get("send_root") else [intermediate]
        self.cache: dict[tuple[str, str], tuple[ssl.SSLContext, dict[str, Any]] | None] = {}
        self.lock = threading.Lock()

    def wants(self, client: Address, server: Address, name: str | None) -> bool:
        """The name is a target's, and the flow is of the share on which the box acts."""
        if (name or "").lower() not in self.targets or Path("/run/lab/box-off").exists():
            return False
        flow = f"{client[0]} {client[1]} {server[0]}"
        seed = server[0] if self.spec.get("share_by") == "origin" else flow
        return hashlib.sha256(seed.encode()).digest()[0] * 100 < 256 * self.spec.get("share", 100)

    def impersonate(self, client: Address, server: Address, name: str) -> tuple[ssl.SSLContext, dict[str, Any]] | None:
        """A context with a leaf after the origin's; None where the public does not trust the origin's chain."""
        with self.lock:
            if (server[0], name) not in self.cache:
                self.cache[server[0], name] = self._forge(client, server, name)
                time.sleep(self.spec.get("fetch_ms", 0) / 1000)
            return self.cache[server[0], name]

    def _forge(self, client: Address, server: Address, name: str) -> tuple[ssl.SSLContext, dict[str, Any]] | None:
        context = self.upstream()
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(self.spec["public"])
        try:
            with connect((client[0], 0), server, self.spec["initial_ttl"]) as plain:
                journal.note("box", "fetched", plain.getsockname(), server, server_name=name)
                with context.wrap_socket(plain, server_hostname=name) as tls:
                    origin = x509.load_der_x509_certificate(tls.getpeercert(True) or b"")
                    rest = tls.unwrap()
                    # The origin's FIN must not come when the socket is gone: it would go on to the client.
                    with contextlib.suppress(OSError):
                        rest.shutdown(socket.SHUT_WR)
                        while rest.recv(4096):
                            pass
        except ssl.SSLCertVerificationError:
            return None
        key, leaf = self.forger.forge(origin)
        chain = [leaf, *self.sent]
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.maximum_version = ssl.TLSVersion.TLSv1_2
        made.set_ciphers(SUITES + ":@SECLEVEL=0")
        made.set_alpn_protocols(["http/1.1"])
        if self.spec.get("no_resumption"):
            made.options |= ssl.OP_NO_TICKET
        path = Path(f"/run/lab/forged-{sha256(leaf)[:16]}.pem")
        path.write_bytes(key_pem(key) + pem(*chain))
        made.load_cert_chain(path)
        return made, {"chain": [sha256(certificate) for certificate in chain], "origin_chain": [sha256(origin)]}

    def upstream(self) -> ssl.SSLContext:
        """The box's own ClientHello: TLS 1.2, thirteen suites."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(SUITES)
        return context

    def relay(
        self, client: Address, server: Address, name: str, down: socket.socket, up: socket.socket, forged: Any
    ) -> None:
        """TLS with the client under the forged leaf, TLS with the origin, and the clear text in between."""
        context, more = forged
        journal.note("box", "intercepted", client, server, server_name=name, version="TLSv1.2", **more)
        after: dict[str, Any] = {"finished": False}
        try:
            with contextlib.suppress(OSError, ssl.SSLError):
                down.settimeout(10)
                with context.wrap_socket(down, server_side=True) as theirs:
                    after = {"finished": True, "resumed": bool(theirs.session_reused)}
                    up.settimeout(10)
                    with self.upstream().wrap_socket(up, server_hostname=name) as ours:
                        pump(theirs, ours)
        finally:
            journal.note("box", "finished", client, server, **after)
            down.close()
            up.close()


def connect(source: Address, server: Address, ttl: int) -> socket.socket:
    """A connection of the box's in the client's name."""
    out = transparent(":" in server[0], ttl)
    out.settimeout(10)
    out.bind(source)
    out.connect(server)
    return out


def transparent(ipv6: bool, ttl: int) -> socket.socket:
    """A socket that may have any address."""
    out = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET)
    level, option, hops = (SOL_IPV6, IPV6_TRANSPARENT, IPV6_UNICAST_HOPS) if ipv6 else (SOL_IP, IP_TRANSPARENT, IP_TTL)
    out.setsockopt(level, option, 1)
    out.setsockopt(level, hops, ttl)
    out.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return out


def pump(one: socket.socket, other: socket.socket) -> None:
    """Copy both ways until a side ends."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        waiting = [s for s in (one, other) if isinstance(s, ssl.SSLSocket) and s.pending()]
        ready = waiting or select.select([one, other], [], [], 0.5)[0]
        for source in ready:
            data = source.recv(16_384)
            if not data:
                return
            (other if source is one else one).sendall(data)


def terminate(box: Box) -> None:
    """Build one: the SYN ends here."""
    ipv6 = bool(box.spec.get("ipv6"))
    server = transparent(ipv6, box.spec["initial_ttl"])
    server.bind(("::" if ipv6 else "0.0.0.0", 8443))
    server.listen(128)
    print("ready", flush=True)

    def serve(down: socket.socket, client: Address, origin: Address) -> None:
        data = peek(down)
        if not data:
            return
        name = hellos.parse(data).server_name if hellos.complete(data) else None
        forged = box.impersonate(client, origin, name) if name and box.wants(client, origin, name) else None
        with connect(client, origin, box.spec["initial_ttl"]) as up:
            if name and forged:
                box.relay(client, origin, name, down, up, forged)
            else:
                journal.note("box", "passed on", client, origin, server_name=name)
                pump(down, up)

    while True:
        down, peer = server.accept()

        def work(down: socket.socket = down, client: Address = peer[:2]) -> None:
            with down:
                local = down.getsockname()[:2]
                try:
                    serve(down, client, local)
                except ssl.SSLError as error:
                    journal.note("box", "failed", client, local, why=str(error))
                except OSError:
                    pass  # a client or an origin went away

        threading.Thread(target=work, daemon=True).start()


@dataclass
class Flow:
    """A TCP connection that passes by, up to its ClientHello."""

    syn: Segment
    answer: Segment | None = None
    answered: float = 0.0
    client_timestamp: tuple[int, float] = (0, 0.0)
    held: list[Queued] = field(default_factory=list)
    first: Segment | None = None
    hello: bytes = b""
    decided: bool = False
    seizing: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def release(self, queue: Queue) -> None:
        """Let everything that was held back go on, in order."""
        with self.lock:
            self.seizing = False
            for packet in self.held:
                queue.verdict(packet, ACCEPT)
            self.held.clear()


def take_over(box: Box) -> None:
    """Build two: the connection is the origin's until its ClientHello names a target."""
    queue = Queue(1)
    flows: dict[tuple[Address, Address], Flow] = {}
    print("ready", flush=True)
    while True:
        for packet in queue.packets():
            seen = segment(packet.data)
            if seen is None or not look(box, queue, flows, packet, seen):
                queue.verdict(packet, ACCEPT)


def look(box: Box, queue: Queue, flows: dict[tuple[Address, Address], Flow], packet: Queued, seen: Segment) -> bool:
    """Note what a packet tells of its flow; true where the packet is held back (and its verdict given later)."""
    if seen.flags & SYN and not seen.flags & ACK:
        flows[seen.key] = Flow(seen)
        return False
    back = flows.get((seen.destination, seen.source))
    if back is not None and seen.flags & SYN:
        back.answer, back.answered = seen, time.monotonic()
        return False
    flow = flows.get(seen.key)
    if flow is None or flow.answer is None:
        return False
    with flow.lock:
        if flow.seizing:  # a ClientHello sent again must not reach the origin either
            flow.held.append(packet)
            return True
    if flow.decided:
        return False
    if TIMESTAMPS in seen.options:
        flow.client_timestamp = struct.unpack_from(">I", seen.options[TIMESTAMPS])[0], time.monotonic()
    if seen.flags & (FIN | RST):
        flow.decided = True
    if not seen.payload:
        return False
    flow.first = flow.first or seen
    at = (seen.seq - flow.first.seq) & 0xFFFFFFFF
    if at == len(flow.hello):
        flow.hello += seen.payload
    flow.held.append(packet)
    whole = hellos.complete(flow.hello)
    if whole is False:
        return True
    flow.decided = True
    client, server = seen.key
    name = hellos.parse(flow.hello).server_name if whole else None
    if name and box.wants(client, server, name):
        # Fetching the origin's chain takes its time, and other flows go on.
        flow.seizing = True
        threading.Thread(target=seize, args=(box, queue, flow, client, server, name), daemon=True).start()
    else:
        journal.note("box", "let through", client, server, server_name=name)
        flow.release(queue)
    return True


def seize(box: Box, queue: Queue, flow: Flow, client: Address, server: Address, name: str) -> None:
    """Become both ends of a connection; then let its ClientHello arrive."""
    assert flow.answer and flow.first
    forged = box.impersonate(client, server, name)
    if forged is None:
        journal.note("box", "let through", client, server, server_name=name, why="the public does not trust its chain")
        flow.release(queue)
        return
    elapsed = time.monotonic()
    ours, theirs = flow.answer, flow.syn
    server_clock = timestamp(ours, elapsed - flow.answered)
    client_clock = flow.client_timestamp[0] + int((elapsed - flow.client_timestamp[1]) * 1000)
    # A box that mimics sends with the TTL that the origin's packets have when they leave this router.
    ttl = flow.answer.ttl - 1 if box.spec.get("mimic") else box.spec["initial_ttl"]
    down = repaired(server, client, flow.answer.seq + 1, flow.first.seq, ours, theirs, server_clock, ttl)
    up = repaired(client, server, flow.first.seq, flow.answer.seq + 1, theirs, ours, client_clock, ttl)
    flow.release(queue)
    if box.spec.get("forward_hello"):
        up = forwarded(up, flow.hello, client, server, box.spec["initial_ttl"])
    box.relay(client, server, name, down, up, forged)


def forwarded(up: socket.socket, hello: bytes, client: Address, server: Address, ttl: int) -> socket.socket:
    """Send the client's own ClientHello to the origin, take its answer, and go on in a connection of the box's own.

    So both sides of the box show the same ClientHello.random, in connections with the same ports.
    """
    with up:
        up.settimeout(1)
        up.sendall(hello)
        with contextlib.suppress(OSError):
            up.recv(16_384)
    own = connect((client[0], 0), server, ttl)
    journal.note("box", "fetched", own.getsockname(), server)
    return own


def timestamp(seen: Segment, later: float) -> int:
    option = seen.options.get(TIMESTAMPS)
    return (struct.unpack_from(">I", option)[0] + int(later * 1000)) & 0xFFFFFFFF if option else 0


def repaired(
    local: Address, peer: Address, send: int, receive: int, ours: Segment, theirs: Segment, clock: int, ttl: int
) -> socket.socket:
    """An established socket with the sequence numbers, options and clock of a connection that others opened."""
    out = transparent(False, ttl)
    out.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, REPAIR_ON)
    out.bind(local)
    for which, number in ((SEND_QUEUE, send), (RECEIVE_QUEUE, receive)):
        out.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, which)
        out.setsockopt(socket.IPPROTO_TCP, TCP_QUEUE_SEQ, struct.pack("=I", number & 0xFFFFFFFF))
    out.connect(peer)
    options = struct.pack("=II", MSS, struct.unpack(">H", theirs.options.get(MSS, b"\x02\x18"))[0])
    if WINDOW_SCALE in ours.options and WINDOW_SCALE in theirs.options:
        scales = theirs.options[WINDOW_SCALE][0] | ours.options[WINDOW_SCALE][0] << 16
        options += struct.pack("=II", WINDOW_SCALE, scales)
    if SACK_PERMITTED in ours.options and SACK_PERMITTED in theirs.options:
        options += struct.pack("=II", SACK_PERMITTED, 0)
    if TIMESTAMPS in ours.options and TIMESTAMPS in theirs.options:
        options += struct.pack("=II", TIMESTAMPS, 0)
    out.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_OPTIONS, options)
    if clock:
        out.setsockopt(socket.IPPROTO_TCP, TCP_TIMESTAMP, struct.pack("=I", clock & 0xFFFFFFFF))
    window = struct.pack("=IIIII", receive & 0xFFFFFFFF, 64_240, 64_240, 64_240, receive & 0xFFFFFFFF)
    out.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_WINDOW, window)
    out.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, REPAIR_OFF_NO_PROBE)
    return out


if __name__ == "__main__":
    made = Box(json.loads(Path(sys.argv[1]).read_text()))
    {"terminate": terminate, "take-over": take_over}[made.spec["build"]](made)
