"""Everything seen about one connection, in one compact record that holds no packet.

An observation says what happened and in which frames, not what it means. Observations are made while the capture is
read (observer.py), kept in a spill, and judged once all are there.
"""

# Annotations are not postponed: NamedTuple would compile each of them at every start.
from enum import StrEnum
from typing import NamedTuple

from kzpcap.certificates.possession import Possession
from kzpcap.certificates.staple import Staple
from kzpcap.paths.local import is_local
from kzpcap.reference.targets import Match
from kzpcap.tls.quic import Turns
from kzpcap.tls.seen import AlertSeen, Seen

MAX_PROBE_TTL = 32
MOMENT_NS = 100_000_000
LOWEST_START = 30
"""Systems begin at 64 or more, and no way has 34 routers."""
FAILURES = ("silent", "reset", "closed")
"""Ways in which an attempt may fail for want of luck, or because somebody wants it to: repetition tells."""
IGNORED = "ignored_reset"
"""What a mark of a reset says that its receiver drops: it lies outside of the window."""


class Absent(StrEnum):
    """Why there is no (whole) certificate of the server."""

    ENCRYPTED = "ENCRYPTED"
    UNDECRYPTABLE = "UNDECRYPTABLE"
    RESUMED = "RESUMED"
    NOT_SENT = "NOT_SENT"
    NOT_REACHED = "NOT_REACHED"
    NOT_CAPTURED = "NOT_CAPTURED"
    ONE_SIDED = "ONE_SIDED"
    TRUNCATED = "TRUNCATED"
    MALFORMED = "MALFORMED"
    LIMIT = "LIMIT"
    SCRUBBED = "SCRUBBED"


class Reaction(StrEnum):
    """What the client did after the server's hello."""

    WENT_ON = "went_on"
    REFUSED = "refused"
    CLOSED = "closed"
    SILENT = "silent"
    NOT_SEEN = "not_seen"


class Mark(NamedTuple):
    """IP marks of one packet of the server's side, and what it carried."""

    what: str
    frame: int
    time_ns: int
    ttl: int
    ip_id: int
    dont_fragment: bool
    checksum_ok: bool = True
    window: int = 0
    options: bytes = b""
    """TCP's, as sent."""


class Probe(NamedTuple):
    """One copy of a ClientHello's first segment as the client sent it."""

    ttl: int
    frame: int
    time_ns: int
    seq: int
    ip_id: int
    tos: int
    dont_fragment: bool


class Observation(NamedTuple):
    """One connection; what has a default is what only a handshake shows."""

    number: int
    """Counted from 1 in the order in which connections ended."""
    first_frame: int
    last_frame: int
    time_ns: int
    client: tuple[str, int]
    server: tuple[str, int]
    syn: Mark | None
    syn_ack: Mark | None
    client_packets: int
    server_packets: int
    server_bytes: int
    server_marks: tuple[Mark, ...]
    resets: tuple[Mark, ...]
    client_resets: tuple[Mark, ...]
    absent: Absent | None
    given_up: int
    duplicates: int
    tunnels: int
    client_stamps: tuple[int, int] | None
    """The first and the last TCP timestamp (TSval) that the client is seen to send."""
    odd_acks: tuple[int, ...]
    """Frames of the server's segments that acknowledge what the client had not sent."""
    ppp: bool = False
    """Over PPP or PPPoE: the other end of the link is the provider's, or a tunnel's."""
    client_closed: int | None = None
    """The frame in which the client itself closed, by FIN or by a reset with its SYN's TTL, where it may matter: where
    there are resets, and where a ClientHello had no ServerHello for an answer."""
    transport: str = "tcp"
    tls: bool = False
    server_name_raw: bytes | None = None
    server_name: str | None = None
    name_status: str = "no_hello"
    """seen, absent (a whole hello without one), cut (hello not whole) or no_hello."""
    other_names: tuple[str, ...] = ()
    target: Match | None = None
    ech_offered: bool = False
    """ECH or GREASE ECH: nobody on the path can tell which."""
    ech_inner_unknown: bool = False
    """The name on the wire is a known public name: the name asked lies in the encrypted part."""
    client_hello: Seen | None = None
    hello_first_frame: int = 0
    server_hello: Seen | None = None
    hello_sent: bool = False
    """A ClientHello, whole or cut, was seen."""
    offers_tls13: bool = False
    version: int | None = None
    cipher: int | None = None
    alpn_offered: tuple[bytes, ...] | None = None
    alpn_chosen: bytes | None = None
    ja3: str | None = None
    ja4: str | None = None
    ja3s: str | None = None
    chain: tuple[str, ...] = ()
    chain_seen: Seen | None = None
    chain_complete: bool = False
    client_chain: tuple[str, ...] = ()
    possession: Possession | None = None
    possession_frame: int | None = None
    resumed: str | None = None
    resumed_session: str | None = None
    """Digest of the session id or ticket that the server accepted."""
    issued_session: tuple[str, ...] = ()
    alerts: tuple[AlertSeen, ...] = ()
    reaction: Reaction = Reaction.NOT_SEEN
    history: str = ""
    probes: tuple[Probe, ...] = ()
    plain_answer: bytes = b""
    plain_frame: int | None = None
    upgrade: str | None = None
    requested_name: bytes | None = None
    proxied: bool = False
    conflicts: tuple[tuple[int, int], ...] = ()
    """Frames of server bytes that were sent twice with different content."""
    other_chain: tuple[str, ...] = ()
    """The chain that the later copy of conflicting server bytes holds."""
    other_chain_frame: int | None = None
    waited: bool = False
    """The client repeated its hello or kept the connection open for some seconds: no answer was silence."""
    finished_ok: bool | None = None
    """The server's Finished fits the keys and the captured transcript; None where it was not opened."""
    finished_frame: int | None = None
    chain_problem: str | None = None
    """Why a Certificate that is there could not be read."""
    quic: Turns | None = None
    strays: int = 0
    server_time: int | None = None
    """The first four bytes of ServerHello.random up to TLS 1.2, in seconds: the time, where a server still sends it."""
    staple: Staple | None = None
    flight: int = 0
    """Bytes of the server's encrypted records before the client's first."""
    client_record: int | None = None
    """The length of the client's first encrypted record."""
    sentinel: bool = False
    """ServerHello.random ends in the downgrade sentinel of RFC 8446 section 4.1.3."""
    server_closed: Mark | None = None
    """The FIN with which the server's side answered the ClientHello: no byte of an answer lies before it."""
    acknowledged_more: bool = False
    """Behind its ServerHello the server's side acknowledges bytes of the client's that are not in the capture."""
    timestamps: bytes = b""
    """The SignedCertificateTimestampList of the ServerHello's extension (RFC 6962 section 3.3.1)."""
    long_hello: bool = False
    """The ClientHello took more than one packet on the wire; a card that cuts segments has it captured as one."""
    name_split: bool = False
    """The name that was asked for is whole in no packet: who looks at packets alone does not see it."""
    syn_again: bool = False
    """The SYN was sent again before it was answered: which of them was, and so how long that took, is not known."""

    @property
    def syn_ack_ns(self) -> int | None:
        """Nanoseconds from the SYN to the SYN-ACK; None where they were not both seen, or the SYN was sent again."""
        if self.syn is None or self.syn_ack is None or self.syn_again:
            return None
        return self.syn_ack.time_ns - self.syn.time_ns

    @property
    def name_open(self) -> bool:
        """Did the client send hellos with different names, and nothing shows which was answered (decoys)?"""
        return bool(self.other_names) and self.possession is not Possession.PROVED

    @property
    def name_known(self) -> bool:
        """Is it known what name was asked for, or that none was? Two whose names are not known are not of one name."""
        return self.name_status == "seen" or self.name_status == "absent"

    @property
    def on_private_network(self) -> bool:
        """Is the server's address private? A proxy's says nothing of where the server is."""
        return not self.proxied and is_local(self.server[0])

    @property
    def probe_ttl(self) -> int | None:
        """The lowest TTL of the hello, where it is below that of the SYN: a TTL-limited probe.

        None where a copy with the whole TTL went before any answer: no low TTL drew that (decoys of circumvention).
        Where the SYN was not captured, no system sends with so low a TTL, and no way is so long.
        """
        probes = self.probes
        if not probes:
            return None
        lowest = probes[0].ttl
        if len(probes) > 1:
            ttls = {probe.ttl for probe in probes}
            lowest = min(ttls)
            if len(ttls) > 2:
                return lowest
            if self.syn is not None and len(ttls) == 2 and max(ttls) >= self.syn.ttl - 1:
                whole = min([probe.frame for probe in probes if probe.ttl != lowest])
                answers = [mark.frame for mark in self.server_marks if mark.what != "syn_ack"]
                if whole < min(answers, default=whole + 1):
                    return None
        if lowest > MAX_PROBE_TTL:
            return None
        return lowest if (lowest < LOWEST_START if self.syn is None else lowest < self.syn.ttl - 1) else None

    @property
    def reset_taken(self) -> bool:
        """Did a reset come from the server's side that the client did not have to drop?"""
        return bool(self.resets) and self.resets[0].what != IGNORED

    def _closed_before(self, mark: Mark) -> bool:
        """Had the client itself closed? Not by a reset of the same moment: who injects one, injects two."""
        if self.client_closed is None or self.client_closed > mark.frame:
            return False
        own = next((reset for reset in self.client_resets if reset.frame == self.client_closed), None)
        return own is None or mark.time_ns - own.time_ns > MOMENT_NS

    @property
    def failed(self) -> str | None:
        """How a connection ended after its ClientHello without an answer to it: reset, alert, plain, closed, silent."""
        if not self.hello_sent or self.server_hello or self.chain:
            return None
        if self.plain_frame:
            return "plain"
        if any(not alert.from_client for alert in self.alerts):
            return "alert"
        if self.absent is Absent.NOT_CAPTURED or self.absent is Absent.TRUNCATED or self.absent is Absent.LIMIT:
            return None  # an answer came, or may have, and is not in the capture or was not kept
        closed = self.server_closed
        if closed is not None and self.resets and closed.frame < self.resets[0].frame:
            return "closed"  # and reset what the client sent to nobody then, as every system does
        if self.reset_taken and not self._closed_before(self.resets[0]):
            return "reset"
        if closed is not None:
            return "closed"
        if self.server_bytes or not self.waited:
            return None
        return "silent" if self.syn_ack or self.transport != "tcp" else None
