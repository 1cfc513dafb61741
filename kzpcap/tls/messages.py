# cython: annotation_typing=False, language_level=3, boundscheck=True, wraparound=True
"""ClientHello, ServerHello, Certificate and their neighbours from bytes (RFC 8446 section 4, RFC 5246 section 7.4).

Written for an observer: odd input is described, not refused. What is cut short gives the fields that are there, with
`complete` false; every extension is kept, known or not, GREASE too.

The file runs as it is; messages.pxd gives the compiled form its types.
"""

from __future__ import annotations

from typing import NamedTuple

from kzpcap.iana import is_tls13
from kzpcap.wire import Reader, ShortRead

HELLO_RETRY_RANDOM = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")

SERVER_NAME, STATUS_REQUEST, GROUPS, POINT_FORMATS, SIGNATURE_ALGORITHMS, ALPN = 0, 5, 10, 11, 13, 16
DELEGATED_CREDENTIAL, SERVER_CERTIFICATE_TYPE = 34, 20
RAW_PUBLIC_KEY = b"\x02"
RAW_KEY_SAYS = "a raw public key (RFC 7250), and no certificate"
"""What the server chose for its certificate's type (RFC 7250)."""
SCT, SESSION_TICKET, PRE_SHARED_KEY, EARLY_DATA, SUPPORTED_VERSIONS, KEY_SHARE = 18, 35, 41, 42, 43, 51
COMPRESS_CERTIFICATE, RECORD_SIZE_LIMIT, PSK_MODES = 27, 28, 45
ECH = 0xFE0D
MAX_CERTIFICATES = 64


class ClientHello(NamedTuple):
    """RFC 8446 section 4.1.2; `sslv2_format` for the hello of RFC 5246 appendix E.2.

    `complete`: all bytes of the message are there (what they say may still be odd).
    """

    legacy_version: int
    random: bytes
    session_id: bytes
    cipher_suites: tuple[int, ...]
    compression_methods: bytes
    extensions: tuple[tuple[int, bytes], ...]
    complete: bool
    sslv2_format: bool = False
    dtls: bool = False

    def extension(self, kind: int) -> bytes | None:
        """The body of the first extension of this type."""
        for number, body in self.extensions:
            if number == kind:
                return body
        return None

    @property
    def server_name(self) -> bytes | None:
        """The first host_name of server_name (RFC 6066 section 3), raw; a name that is cut is none."""
        body = self.extension(SERVER_NAME)
        return host_name(body) if body else None

    @property
    def alpn_protocols(self) -> tuple[bytes, ...] | None:
        """ALPN's protocol names (RFC 7301), raw; None where the extension is absent."""
        body = self.extension(ALPN)
        return None if body is None else protocol_names(body)

    @property
    def supported_versions(self) -> tuple[int, ...]:
        """The versions offered by extension 43, as sent."""
        body = self.extension(SUPPORTED_VERSIONS)
        return numbers(body, 2, 1) if body else ()

    @property
    def supported_groups(self) -> tuple[int, ...]:
        """Extension 10."""
        body = self.extension(GROUPS)
        return numbers(body, 2, 2) if body else ()

    @property
    def point_formats(self) -> tuple[int, ...]:
        """Extension 11."""
        body = self.extension(POINT_FORMATS)
        return numbers(body, 1, 1) if body else ()

    @property
    def key_shares(self) -> tuple[tuple[int, int], ...]:
        """(group, length of the key) of each share offered by extension 51, as sent."""
        body = self.extension(KEY_SHARE)
        found: list[tuple[int, int]] = []
        try:
            reader = Reader(body or b"")
            reader.uint(2)
            while reader.left() > 0:
                group = reader.uint(2)
                found.append((group, len(reader.vector(2))))
        except ShortRead:
            pass
        return tuple(found)

    @property
    def session_ticket(self) -> bytes:
        """A ticket offered for resumption (RFC 5077), empty where none."""
        return self.extension(SESSION_TICKET) or b""


class ServerHello(NamedTuple):
    """RFC 8446 section 4.1.3; a HelloRetryRequest is one with a fixed random."""

    legacy_version: int
    random: bytes
    session_id: bytes
    cipher_suite: int
    extensions: tuple[tuple[int, bytes], ...]
    complete: bool

    def extension(self, kind: int) -> bytes | None:
        """The body of the first extension of this type."""
        for number, body in self.extensions:
            if number == kind:
                return body
        return None

    @property
    def version(self) -> int:
        """The negotiated version: selected_version, else the legacy field."""
        body = self.extension(SUPPORTED_VERSIONS)
        return int.from_bytes(body[:2], "big") if body and len(body) >= 2 else self.legacy_version

    @property
    def is_retry(self) -> bool:
        """Is this a HelloRetryRequest?"""
        return self.random == HELLO_RETRY_RANDOM

    @property
    def alpn(self) -> bytes | None:
        """The protocol chosen in clear."""
        body = self.extension(ALPN)
        return body[3 : 3 + body[2]] if body and len(body) > 3 else None


def host_name(body: bytes) -> bytes | None:
    """The first host_name in the body of server_name."""
    names = Reader(body)
    try:
        names.uint(2)
        while names.left() > 0:
            kind = names.uint(1)
            length = names.uint(2)
            name = names.take(length)
            if kind == 0:
                return name
    except ShortRead:
        pass
    return None


def protocol_names(body: bytes) -> tuple[bytes, ...]:
    """The names in the body of ALPN, up to where it is cut."""
    names: list[bytes] = []
    reader = Reader(body)
    try:
        reader.uint(2)
        while reader.left() > 0:
            names.append(reader.vector(1))
    except ShortRead:
        pass
    return tuple(names)


def numbers(body: bytes, size: int, vector: int) -> tuple[int, ...]:
    """A vector of integers of `size` bytes, its length in `vector` bytes; empty where it is cut."""
    try:
        return Reader(body).uints(size, vector)
    except ShortRead:
        return ()


def _extensions(reader: Reader) -> tuple[tuple[int, bytes], ...]:
    """Extensions to the end of the message; of the last one, what is there."""
    if reader.left() < 2:
        return ()
    length = reader.uint(2)
    end = reader.pos + min(length, reader.left())
    found: list[tuple[int, bytes]] = []
    while min(end, reader.end) - reader.pos >= 4:
        kind = reader.uint(2)
        size = reader.uint(2)
        found.append((kind, reader.take(min(size, reader.left()))))
    return tuple(found)


def is_raw_key_chosen(body: bytes) -> bool:
    """Do these EncryptedExtensions say that a raw public key follows in place of a certificate (RFC 7250)?"""
    try:
        return (SERVER_CERTIFICATE_TYPE, RAW_PUBLIC_KEY) in _extensions(Reader(body))
    except ShortRead:
        return False


def client_hello(body: bytes, complete: bool, dtls: bool = False) -> ClientHello | None:
    """Parse a ClientHello body; None where not even its first fields are there."""
    reader = Reader(body)
    try:
        version = reader.uint(2)
        random = reader.take(32)
        session_id = reader.vector(1)
    except ShortRead:
        return None
    suites: tuple[int, ...] = ()
    compression = b""
    extensions: tuple[tuple[int, bytes], ...] = ()
    whole = complete
    try:
        if dtls:
            reader.vector(1)  # cookie
        suites = reader.uints(2, 2)
        compression = reader.vector(1)
        extensions = _extensions(reader)
    except ShortRead:
        whole = False
    return tuple.__new__(
        ClientHello, (version, random, session_id, suites, compression, extensions, whole, False, dtls)
    )


def sslv2_client_hello(data: bytes) -> tuple[ClientHello, int] | None:
    """An SSLv2-format ClientHello at the start of `data`, and its length with the record header."""
    if len(data) < 11 or not data[0] & 0x80 or data[2] != 1:
        return None
    length = (data[0] & 0x7F) << 8 | data[1]
    version = data[3] << 8 | data[4]
    specs, session, challenge = (int.from_bytes(data[at : at + 2], "big") for at in (5, 7, 9))
    if version not in (2, 0x0300, 0x0301, 0x0302, 0x0303) or specs % 3 or not specs:
        return None
    if length != 9 + specs + session + challenge or challenge < 8:
        return None
    body = data[11 : 2 + length]
    suites = tuple(int.from_bytes(body[i : i + 3], "big") for i in range(0, min(specs, len(body)) - 2, 3))
    random = body[specs + session :].rjust(32, b"\0")[:32]
    hello = ClientHello(
        version, random, body[specs : specs + session], suites, b"", (), len(body) == length - 9, sslv2_format=True
    )
    return hello, 2 + length


def server_hello(body: bytes, complete: bool) -> ServerHello | None:
    """Parse a ServerHello body; drafts of TLS 1.3 before 22 have no session id and no compression.

    Some of those drafts were spoken with the final number 0x0304 in the legacy field, where RFC 8446 never puts it.
    """
    reader = Reader(body)
    try:
        version = reader.uint(2)
        random = reader.take(32)
        if version == 0x0304 or (version >> 8 == 0x7F and version & 0xFF < 22):
            session_id = b""
            suite = reader.uint(2)
        else:
            session_id = reader.vector(1)
            suite = reader.uint(2)
            if reader.left():
                reader.uint(1)
    except ShortRead:
        return None
    return tuple.__new__(ServerHello, (version, random, session_id, suite, _extensions(reader), complete))


def delegated_credential(body: bytes) -> bytes | None:
    """The credential beside the leaf of a Certificate message of TLS 1.3 (RFC 9345 section 4); None without one."""
    reader = Reader(body)
    try:
        reader.vector(1)
        reader.uint(3)
        reader.vector(3)
        extensions = Reader(reader.vector(2))
        while extensions.left():
            kind, data = extensions.uint(2), extensions.vector(2)
            if kind == DELEGATED_CREDENTIAL:
                return data
    except ShortRead:
        pass
    return None


def certificate_list(body: bytes, version: int) -> tuple[tuple[bytes, ...], bool]:
    """The DER certificates of a Certificate message in wire order, and whether all of it was there.

    Of more than MAX_CERTIFICATES those in the middle are left out.
    """
    reader = Reader(body)
    found: list[bytes] = []
    try:
        if is_tls13(version):
            reader.vector(1)  # certificate_request_context
        end = reader.uint(3) + reader.pos
        while reader.pos < min(end, reader.end):
            if len(found) > MAX_CERTIFICATES:
                del found[MAX_CERTIFICATES // 2]  # the leaf and the issuer may stand at either end
            found.append(reader.vector(3))
            if is_tls13(version):
                reader.vector(2)
        return tuple(found), reader.pos >= end
    except ShortRead:
        return tuple(found), False
