# cython: annotation_typing=False, language_level=3, boundscheck=True, wraparound=True
"""What a TLS handshake is once it is read (handshake.py): each message with its frame, and Handshake, all of it.

The file runs as it is; seen.pxd gives the compiled form its types.
"""

from __future__ import annotations

from typing import NamedTuple

from kzpcap.iana import is_tls13
from kzpcap.tls import quic, upgrade
from kzpcap.tls.messages import PRE_SHARED_KEY, ClientHello, ServerHello


class Seen(NamedTuple):
    """Where something was seen: the frame, when, and the sender's IP marks in it."""

    frame: int
    time_ns: int
    ttl: int
    ip_id: int


class ClientHelloSeen(NamedTuple):
    """A ClientHello; `alternative` for one that the first copy of the bytes hides (a decoy, or the hello behind it)."""

    hello: ClientHello
    seen: Seen
    first_frame: int
    alternative: bool = False


class ServerHelloSeen(NamedTuple):
    """A ServerHello or HelloRetryRequest."""

    hello: ServerHello
    seen: Seen


class ChainSeen(NamedTuple):
    """A Certificate message's list as sent; `complete` false where the message was cut."""

    certificates: tuple[bytes, ...]
    complete: bool
    seen: Seen
    first_frame: int
    malformed: bool = False
    """The message is there whole, and its list claims more than it holds."""


class BytesSeen(NamedTuple):
    """The body of a message that is used later."""

    body: bytes
    seen: Seen


class AlertSeen(NamedTuple):
    """An alert; `code` None where it is encrypted."""

    from_client: bool
    level: int | None
    code: int | None
    seen: Seen


class CertificateVerify(NamedTuple):
    """TLS 1.3's proof of possession: the signature scheme, the signature, and the bytes it signs."""

    scheme: int
    signature: bytes
    signed: bytes
    seen: Seen
    delegated: bytes | None = None
    """The delegated credential beside the leaf (RFC 9345)."""


class Handshake:
    """Everything TLS about one connection; made empty, and filled as it is read."""

    def __init__(self, transport: str, client_direction: int) -> None:
        self.transport = transport
        self.client_direction = client_direction
        self.client_hellos: tuple[ClientHelloSeen, ...] = ()
        self.server_hellos: tuple[ServerHelloSeen, ...] = ()
        self.chains: tuple[ChainSeen, ...] = ()
        self.client_chains: tuple[ChainSeen, ...] = ()
        self.alternative_chains: tuple[ChainSeen, ...] = ()
        """Certificate messages that later copies of the server's bytes hold, where copies differ."""
        self.key_exchange: BytesSeen | None = None
        self.certificate_status: BytesSeen | None = None
        self.certificate_verify: CertificateVerify | None = None
        self.tickets: tuple[bytes, ...] = ()
        self.alerts: tuple[AlertSeen, ...] = ()
        self.history = ""
        self.client_cipher_change: Seen | None = None
        self.server_cipher_change: Seen | None = None
        self.client_key_exchange: Seen | None = None
        self.client_data: Seen | None = None
        self.server_data: Seen | None = None
        self.client_data_bytes = 0
        self.client_encrypted_size: int | None = None
        """The length of the client's first encrypted record: TLS 1.3's Finished, or what it said in its place."""
        self.server_flight = 0
        """Bytes of the server's encrypted records before the client's first: TLS 1.3's flight with the Certificate."""
        self.upgrade: upgrade.Upgrade | None = None
        self.lost = False
        """Bytes of the server's side are missing in the handshake."""
        self.cut = False
        """Segments of the server's side were cut by the snapshot length."""
        self.full = False
        """The server said more messages than are kept."""
        self.client_full = False
        """So did the client."""
        self.malformed: int | None = None
        self.plain_answer: BytesSeen | None = None
        """What the server said where a ServerHello should stand, if that is no TLS."""
        self.server_conflicts: tuple[tuple[int, int], ...] = ()
        """Pairs of frames that brought different bytes for the same place of the server's stream."""
        self.client_conflict = False
        """The client's stream has overlapping bytes that differ (decoys)."""
        self.keys: str | None = None
        """opened or wrong, where a key log had this connection's client random."""
        self.finished_ok: bool | None = None
        """The server's Finished, in `finished_seen`, fits the keys and the captured transcript."""
        self.finished_seen: Seen | None = None
        self.strays = 0
        """Segments of both sides that were left out: too far from the others."""
        self.quic: quic.Turns | None = None
        self.chain_problem: str | None = None
        """Why a Certificate that is there cannot be read (RFC 8879 compression)."""

    @property
    def client_hello(self) -> ClientHelloSeen | None:
        """The first ClientHello."""
        return self.client_hellos[0] if self.client_hellos else None

    @property
    def server_hello(self) -> ServerHelloSeen | None:
        """The ServerHello that is no HelloRetryRequest: a retry answers no hello, it asks for another."""
        for seen in self.server_hellos:
            if not seen.hello.is_retry:
                return seen
        return None

    @property
    def first_answer(self) -> ServerHelloSeen | None:
        """The ServerHello, else the HelloRetryRequest: both choose version and cipher suite."""
        answer = self.server_hello
        return answer or (self.server_hellos[0] if self.server_hellos else None)

    @property
    def resumed(self) -> str | None:
        """How the session was resumed: psk, ticket or session_id; None where it was not, or it cannot be told."""
        seen = self.server_hello
        if seen is None or self.chains or self.lost or self.cut or self.client_key_exchange or "n" in self.history:
            return None
        if is_tls13(seen.hello.version):
            return "psk" if seen.hello.extension(PRE_SHARED_KEY) is not None else None
        after = self.history.split("s", 1)[-1] if "s" in self.history else ""
        server_letters = [letter for letter in after if letter.islower()]
        if not server_letters or server_letters[0] not in "ti" or "i" not in server_letters[:2]:
            return None
        hello = self.client_hello.hello if self.client_hello else None
        if hello is None:
            return "session_id" if seen.hello.session_id else "ticket"
        echoed = bool(hello.session_id) and hello.session_id == seen.hello.session_id
        if hello.session_ticket:  # RFC 5077 section 3.4: a session id sent with the ticket is echoed on acceptance
            return "ticket" if echoed or not hello.session_id else None
        return "session_id" if echoed else None
