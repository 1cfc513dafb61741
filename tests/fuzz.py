"""Coverage-guided fuzzing of each parser with atheris: `make fuzz SECONDS=600`, or `tests/fuzz.py TARGET SECONDS`.

The modules are interpreted, so that atheris sees their branches. Anything but the errors a parser documents is a
finding; it is written to the working directory and belongs, fixed, among the tests.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import atheris  # noqa: E402

from tests.interpreted import install  # noqa: E402

install()
with atheris.instrument_imports(include=["kzpcap"]):
    from kzpcap import clock, dns, reference
    from kzpcap.capture.codes import ICMP
    from kzpcap.capture.container import open_records
    from kzpcap.capture.decode import decode
    from kzpcap.capture.health import Notes
    from kzpcap.capture.packet import Packet
    from kzpcap.capture.scan import Scanner
    from kzpcap.certificates import staple, transparency
    from kzpcap.certificates.certificate import parse
    from kzpcap.certificates.der import signed_bytes
    from kzpcap.certificates.linkage import signed_by
    from kzpcap.errors import CaptureError
    from kzpcap.flows import reassemble
    from kzpcap.paths import icmp
    from kzpcap.reference import DATA, read_pem
    from kzpcap.scrub.choose import Choices
    from kzpcap.scrub.work import scrub
    from kzpcap.tls import compressed, dtls, handshake, messages, quic, quic_packet, upgrade

REFERENCE = reference.load()
LINKS = (1, 0, 101, 113, 276, 127, 105, 9, 104, 107, 239, 258, 192, 51, 50, 10, 11, 12, 117, 138, 226, 274)


def scan(raw):
    """A whole capture: container, decoder, scanner, reassembly, handshakes."""
    notes = Notes()
    try:
        scanner = Scanner(open_records(raw, notes), notes)
        while not scanner.done:
            for flow in scanner.read(1_000):
                if flow.packets:
                    handshake.read(flow)
    except CaptureError:
        pass


def packet(raw):
    """One packet of a link type chosen by its first byte."""
    if len(raw) < 2:
        return
    with contextlib.suppress(IndexError):  # the scanner counts it as malformed
        decode(Packet(), raw, 1, len(raw) - 1, len(raw) + raw[0], LINKS[raw[0] % len(LINKS)])


def segments(raw, frame=1):
    """A direction whose segments have the lengths, offsets and TTLs that the bytes say."""
    found, at, seq = [], 0, 1_000
    while at + 4 < len(raw) and len(found) < 64:
        one = Packet()
        size = raw[at] | (raw[at + 1] & 3) << 8
        one.seq = (seq + raw[at + 2] - 128 if raw[at + 1] & 4 else seq) & 0xFFFFFFFF
        one.frame, one.ttl, one.flags, one.direction = frame, raw[at + 3], raw[at + 1] >> 3, frame & 1
        one.payload = raw[at + 4 : at + 4 + size]
        one.captured = one.length = len(one.payload)
        seq += len(one.payload)
        at += 4 + size
        frame += 1
        found.append(one)
    return found


def tls(raw):
    """Two directions of a connection."""
    half = len(raw) // 2
    handshake.read_streams((reassemble(segments(raw[:half], 1)), reassemble(segments(raw[half:], 100))))


def hellos(raw):
    """Message bodies and what comes before TLS."""
    for parser in (messages.client_hello, messages.server_hello):
        found = parser(raw, True)
        if isinstance(found, messages.ClientHello):
            _ = (found.server_name, found.alpn_protocols, found.supported_versions, found.key_shares)
    messages.certificate_list(raw, 0x0303)
    compressed.unpack(raw)
    messages.sslv2_client_hello(raw)
    upgrade.recognise(raw[: len(raw) // 2], raw[len(raw) // 2 :])


LEAF = read_pem(DATA / "specimens" / "rcku.kz_genuine_leaf_thawte.pem")[0]
ISSUER = read_pem(DATA / "intermediates" / "thawte_ev_rsa_ca_2018.pem")[0]


def evidence(raw):
    """What stands beside a certificate: timestamps, a stapled response, what is told of the time."""
    transparency.timestamps(raw)
    transparency.octets(raw)
    staple.read(b"\x01" + len(raw).to_bytes(3, "big") + raw, LEAF, ISSUER)
    clock.http_date(b"HTTP/1.1 200 OK\r\nDate:" + raw)
    clock.ntp_time(raw)


def certificates(raw):
    """A certificate of these bytes, and a real one with them in it: whatever it is, its signature is its own."""
    assert parse(raw).der == raw
    at = int.from_bytes(raw[:2], "big") % len(LEAF)
    changed = LEAF[:at] + raw[2:] + LEAF[at + len(raw[2:]) :]
    found = parse(changed)
    assert found.der == changed
    if signed_bytes(changed) != signed_bytes(LEAF):
        assert not signed_by(found, parse(ISSUER))


class Datagrams:
    """A flow of UDP packets."""

    def __init__(self, raw):
        self.packets = segments(raw)

    def part(self, packets):
        """Some of them."""
        made = Datagrams(b"")
        made.packets = packets
        return made


def datagrams(raw):
    """QUIC and DTLS, each connection of a flow; the CRYPTO frames also as if the packet had been opened."""
    flow = Datagrams(raw)
    for part in quic.connections(flow):
        quic.read(part)
    for part in dtls.connections(flow):
        dtls.read(part)
    quic_packet.crypto_frames(raw)
    quic_packet.negotiation(raw)
    quic.turns(flow, 0)


def control(raw):
    """ICMP errors and DNS answers."""
    one = Packet()
    one.protocol, one.src, one.dst, one.payload = ICMP, b"\x0a\0\0\1", b"\x0a\0\0\2", raw
    icmp.read(one)
    dns.answers(raw)


def scrubbed(raw):
    """A whole scrub: whatever the capture, nothing more than the original shows, and nothing of what was left out."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(raw)
        file.flush()
        for profile in ("evidence", "public"):
            try:
                found = scrub(file.name, REFERENCE, Choices(profile))
            except CaptureError:
                return
            with found.output:
                assert not found.proof.wrong, found.proof.wrong
                assert not found.proof.leaks, found.proof.leaks


TARGETS = {
    "scrubbed": scrubbed,
    "scan": scan,
    "packet": packet,
    "tls": tls,
    "hellos": hellos,
    "datagrams": datagrams,
    "control": control,
    "certificates": certificates,
    "evidence": evidence,
}


def main():
    name, seconds = sys.argv[1], sys.argv[2]
    corpus = ROOT / "build" / "fuzz" / name
    corpus.mkdir(parents=True, exist_ok=True)
    if name in ("scan", "scrubbed"):
        for path in (ROOT / "captures").glob("*/capture.pcapng"):
            (corpus / path.parent.name).write_bytes(path.read_bytes()[:20_000])
    options = [
        f"-max_total_time={seconds}",
        "-timeout=20",
        "-rss_limit_mb=2048",
        "-print_final_stats=1",
        "-close_fd_mask=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], lambda raw: TARGETS[name](bytes(raw)))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
