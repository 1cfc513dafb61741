"""Why the server's certificate is not, or not wholly, in a connection."""

from __future__ import annotations

from kzpcap.capture.flow import Flow
from kzpcap.iana import is_tls13
from kzpcap.observations import Absent
from kzpcap.tls.seen import ChainSeen, Handshake

RECORD_TYPES = range(20, 24)
"""The first byte of a record (RFC 8446 section 5.1)."""


def scrubbed(chain: ChainSeen) -> bool:
    """Was the leaf taken out of the capture (scrub/): zeros in its place, its length as it was?"""
    return bool(chain.certificates) and bool(chain.certificates[0]) and not any(chain.certificates[0])


def absent_reason(handshake: Handshake, flow: Flow) -> Absent | None:
    """The reason why the server's Certificate is not, or not wholly, there; None where it is."""
    if handshake.chains:
        if scrubbed(handshake.chains[0]):
            return Absent.SCRUBBED
        if handshake.chains[0].complete:
            return None if handshake.chains[0].certificates else Absent.NOT_SENT
        if handshake.chains[0].malformed:
            return Absent.MALFORMED
        return Absent.TRUNCATED if handshake.cut or not handshake.lost else Absent.NOT_CAPTURED
    answer = handshake.server_hello
    if handshake.resumed:
        return Absent.RESUMED
    if answer is None and handshake.first_answer is not None:
        return _behind_retry(handshake)
    if handshake.chain_problem:
        return Absent.MALFORMED
    if answer is not None and is_tls13(answer.hello.version):
        if not handshake.keys:
            return Absent.ENCRYPTED
        return Absent.NOT_CAPTURED if handshake.lost and not handshake.finished_ok else Absent.UNDECRYPTABLE
    if answer is None:
        return _without_hello(handshake, flow)
    if handshake.cut:
        return Absent.TRUNCATED
    if handshake.lost:
        return Absent.NOT_CAPTURED
    if handshake.malformed:
        return Absent.MALFORMED
    if handshake.full:
        return Absent.LIMIT
    if handshake.key_exchange or "n" in handshake.history or handshake.server_cipher_change:
        return Absent.NOT_SENT
    return Absent.LIMIT if flow.given_up else Absent.NOT_REACHED


def without_tls(flow: Flow) -> Absent:
    """No TLS: no byte of payload at all; a first segment so short that it may begin a record; or other bytes."""
    for packet in flow.packets:
        if packet.length:
            cut = packet.captured < packet.length and _may_begin_record(packet.payload)
            return Absent.TRUNCATED if cut else Absent.NOT_CAPTURED
    return Absent.NOT_CAPTURED if flow.has_data else Absent.NOT_REACHED


def _may_begin_record(body: bytes) -> bool:
    return not body or (body[0] in RECORD_TYPES and body[1:2] in (b"", b"\x03"))


def _behind_retry(handshake: Handshake) -> Absent:
    """A HelloRetryRequest, and nothing that answers the second ClientHello."""
    if handshake.cut:
        return Absent.TRUNCATED
    return Absent.NOT_CAPTURED if handshake.lost or handshake.server_data else Absent.NOT_REACHED


def _without_hello(handshake: Handshake, flow: Flow) -> Absent:
    """No ServerHello: nothing of the server, nothing yet, or the part of it that was not captured."""
    from_server = flow.side(1 - handshake.client_direction).packets
    if flow.given_up and handshake.transport != "tcp":
        return Absent.LIMIT  # of a socket of many connections: the answer may be among what was not kept
    if not from_server:
        return Absent.ONE_SIDED if handshake.transport == "tcp" else Absent.NOT_REACHED
    if handshake.cut:
        return Absent.TRUNCATED
    if handshake.server_data or handshake.server_cipher_change or handshake.client_hello is None:
        return Absent.NOT_CAPTURED
    answered = flow.side(1 - handshake.client_direction).bytes
    # The client's own alerts are no answer, and one that is encrypted came behind a ServerHello.
    alerted = any(not alert.from_client and alert.code is not None for alert in handshake.alerts)
    if answered and not alerted and not handshake.plain_answer:
        return Absent.NOT_CAPTURED
    return Absent.NOT_REACHED
