"""QUIC Initials: the vectors of RFC 9001 appendix A, pieces out of order, hostile bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kzpcap.capture.packet import Packet
from kzpcap.tls import dtls, quic, quic_packet
from tests.build import client_hello_body, message, server_hello_body, vector

DCID = bytes.fromhex("8394c8f03e515708")


def test_keys_of_rfc_9001_appendix_a():
    client = quic_packet.initial_keys(quic_packet.V1, DCID, "client in")[0]
    assert client.key.hex() == "1f369613dd76d5467730efcbe3b1a22d"
    assert client.iv.hex() == "fa044b2f42a3fd3b46fb255c"
    assert client.hp.hex() == "9f50449e04a0e810283a1e9933adedd2"
    server = quic_packet.initial_keys(quic_packet.V1, DCID, "server in")[0]
    assert server.key.hex() == "cf3a5331653c364c88f0f379b6067e37"


def test_keys_of_rfc_9369_appendix_a():
    client = quic_packet.initial_keys(quic_packet.V2, DCID, "client in")[0]
    assert client.key.hex() == "8b1a0bc121284290a29e0971b5cd045d"
    assert client.hp.hex() == "45b95e15235d6f45a6b19cbcb0294ba9"


def varint(value):
    return (value | 0x4000).to_bytes(2, "big")


def initial(frames, number, version=quic_packet.V1, dcid=DCID, which=-1, label="client in"):
    """A protected client Initial."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    keys = quic_packet.initial_keys(version, dcid, label)[which]
    plain = frames + b"\0" * max(0, 40 - len(frames))
    kind = 0xD0 if version in quic_packet.V2_TYPES else 0xC0
    head = bytes([kind]) + version.to_bytes(4, "big") + vector(dcid, 1) + vector(b"", 1) + b"\0"
    head += varint(len(plain) + 16 + 1) + bytes([number])
    nonce = (int.from_bytes(keys.iv, "big") ^ number).to_bytes(12, "big")
    sealed = AESGCM(keys.key).encrypt(nonce, plain, head)
    mask = Cipher(algorithms.AES(keys.hp), modes.ECB()).encryptor().update(sealed[3:19])
    out = bytearray(head + sealed)
    out[0] ^= mask[0] & 0x0F
    out[len(head) - 1] ^= mask[1]
    return bytes(out)


def crypto(offset, data):
    return b"\x06" + varint(offset) + varint(len(data)) + data


class Flow:
    def __init__(self, *datagrams):
        self.packets = []
        for number, (direction, data) in enumerate(datagrams):
            packet = Packet()
            packet.frame, packet.direction, packet.payload = number + 1, direction, data
            packet.sport, packet.dport = (443, 40_000) if direction else (40_000, 443)
            self.packets.append(packet)

    def part(self, packets):
        made = Flow()
        made.packets = packets
        return made


def sealed_initial(dcid, scid, keys, frames):
    found = quic_packet.Unprotected(0xC0, b"\1", frames + bytes(40))
    length = len(found.payload) + 1 + 16
    rest = quic_packet.V1.to_bytes(4, "big") + vector(dcid, 1) + vector(scid, 1) + b"\0" + varint(length)
    return quic_packet.sealed(found, rest, keys)


def asked(dcid, scid, name):
    """The Initial of a client that calls itself `scid`, and the server `dcid`."""
    keys = quic_packet.initial_keys(quic_packet.V1, dcid, "client in")[0]
    return 0, sealed_initial(dcid, scid, keys, crypto(0, message(1, client_hello_body(name))))


def answered(first, scid, chosen):
    """That of a server that calls itself `chosen`, to a client that calls itself `scid` and it `first`."""
    keys = quic_packet.initial_keys(quic_packet.V1, first, "server in")[0]
    return 1, sealed_initial(scid, chosen, keys, crypto(0, message(2, server_hello_body())))


@pytest.mark.parametrize(
    ("own", "together"),
    [(b"", False), (b"self", False), (b"me %d", False), (b"me %d", True)],
    ids=["no id", "one id for all", "ids of their own", "and all at once"],
)
def test_a_client_may_keep_one_socket_for_many_connections(own, together):
    """Each has ids of its own, or the server's tell: a hello is not laid beside the answer to another."""
    clients, servers = [], []
    for number in range(9):
        first, chosen = bytes([number + 1]) * 8, bytes([number + 101]) * 8
        mine = own.replace(b"%d", b"%d" % number)
        clients.append(asked(first, mine, b"site%d.example" % number))
        servers.append(answered(first, mine, chosen))
    order = clients + servers if together else [one for pair in zip(clients, servers, strict=True) for one in pair]
    parts = quic.connections(Flow(*order))
    assert len(parts) == 9
    for number, part in enumerate(parts):
        client, server, direction = quic.read(part)
        assert direction == 0
        assert b"site%d.example" % number in client.messages[0].body
        assert [one.kind for one in server.messages] == [2]


def test_what_belongs_to_one_connection_is_not_taken_apart():
    """After Retry and Version Negotiation a client goes on under other ids; so it does towards the server's own."""
    first, token, chosen = b"first..1", b"retried2", b"server.3"
    retry = b"\xf0" + quic_packet.V1.to_bytes(4, "big") + vector(b"me", 1) + vector(token, 1) + b"token" + bytes(16)
    refused = b"\x80" + bytes(4) + vector(b"me", 1) + vector(first, 1) + b"\x0a\x0a\x0a\x0a"
    begins, again = asked(first, b"me", b"a.example"), asked(token, b"me", b"a.example")
    answer = answered(token, b"me", chosen)
    assert len(quic.connections(Flow(begins, (1, retry), again, answer, asked(chosen, b"me", b"")))) == 1
    anew = asked(b"anew...1", b"other", b"a.example")
    assert len(quic.connections(Flow(begins, (1, refused), anew))) == 1
    assert len(quic.connections(Flow(answer, begins, anew))) == 2, "an answer that was recorded before its question"
    assert len(quic.connections(Flow(begins, asked(b"unseen.4", b"me", b"")))) == 1, "the server was not captured"


def test_initials_that_are_made_up_do_not_hide_the_true_one():
    junk = [(0, initial(b"", 1, dcid=bytes([number]) * 8)[:-16] + bytes(16)) for number in range(20, 60)]
    true = asked(b"\1" * 8, b"", b"vk.com")
    parts = [part for part in quic.connections(Flow(*junk, true)) if quic.read(part) is not None]
    assert len(parts) == 1
    assert b"vk.com" in quic.read(parts[0])[0].messages[0].body
    one = quic.read(Flow(*junk, true))
    assert one is not None
    assert b"vk.com" in one[0].messages[0].body


def test_a_hello_in_pieces_out_of_order_and_coalesced():
    hello = message(1, client_hello_body(b"quic.example"))
    for version in (quic_packet.V1, quic_packet.V2, 0xFF00001D, 0xFACEB002, 0x54303531, 0xFF020000, 0x0A0A0A0A):
        late, early = crypto(40, hello[40:]), crypto(0, hello[:40])
        one = initial(late, 1, version) + initial(early, 2, version)
        client, server, direction = quic.read(Flow((0, one)))
        assert direction == 0
        assert client.messages[0].body == hello[4:]
        assert client.messages[0].complete
        assert not server.messages


def test_a_hello_over_two_datagrams_has_the_frames_of_both():
    hello = message(1, client_hello_body(b"quic.example"))
    client, _, _ = quic.read(Flow((1, initial(crypto(0, hello[:50]), 1)), (1, initial(crypto(50, hello[50:]), 2))))
    assert (client.messages[0].first_frame, client.messages[0].packet.frame) == (1, 2)


def test_a_server_that_was_recorded_before_the_client_is_read(monkeypatch):
    hello, answer = message(1, client_hello_body(b"quic.example")), message(2, b"\3\3" + b"\7" * 32 + b"\0\x13\1\0")
    servers = [(1, initial(crypto(at, answer[at : at + 24]), at, label="server in")) for at in (0, 24)]
    clients = [(0, initial(crypto(0, hello), 1))]
    for datagrams in ([*servers, *clients], [servers[0], *clients, servers[1]]):
        client, server, direction = quic.read(Flow(*datagrams))
        assert direction == 0
        assert client.messages[0].body == hello[4:]
        assert server.messages[0].body == answer[4:]
    assert quic.read(Flow(*servers)) is None
    tries = []
    real = quic_packet.unprotect
    monkeypatch.setattr(quic, "unprotect", lambda *given: tries.append(1) or real(*given))
    quic.read(Flow(*servers * 2_000, *clients))
    assert len(tries) <= 2 * 2 * (quic.MAX_FAILED + 1)


def test_a_damaged_first_initial_does_not_hide_the_next():
    """The keys follow from its connection ID, which the server's answer and the client's next Initials need."""
    hello, answer = message(1, client_hello_body(b"quic.example")), message(2, b"\3\3" + b"\7" * 32 + b"\0\x13\1\0")
    first = bytearray(initial(crypto(0, hello), 1))
    first[-1] ^= 1
    again, server = initial(crypto(0, hello), 2), initial(crypto(0, answer), 1, label="server in")
    client, other, _ = quic.read(Flow((0, bytes(first)), (0, again), (1, server)))
    assert client.messages[0].body == hello[4:]
    assert other.messages[0].body == answer[4:]
    client, other, _ = quic.read(Flow((0, bytes(first)), (1, server)))
    assert not client.messages
    assert other.messages[0].body == answer[4:]


def test_other_keys_open_nothing():
    raw = bytearray(initial(crypto(0, b"\1\0\0\0"), 1))
    raw[-1] ^= 1
    assert quic.read(Flow((0, bytes(raw)))) is None


def test_version_negotiation_and_retry():
    refusal = b"\x80\0\0\0\0" + vector(DCID, 1) + vector(b"", 1) + bytes.fromhex("00000001 6b3343cf")
    assert quic_packet.negotiation(refusal) == (quic_packet.V1, quic_packet.V2)
    for cut in (refusal[:-1], refusal[:7], b"\x00" + refusal[1:], b"\x80\0\0\0\1" + refusal[5:]):
        assert quic_packet.negotiation(cut) is None
    retry = b"\xf0\0\0\0\1" + vector(b"", 1) + vector(DCID, 1) + b"token" + b"\0" * 16
    hello = initial(crypto(0, message(1, client_hello_body())), 1)
    found = quic.turns(Flow((0, hello), (1, refusal), (0, hello), (1, retry)), 0)
    assert found == quic.Turns(quic_packet.V1, 4, 2, (quic_packet.V1, quic_packet.V2))
    assert quic.turns(Flow((0, hello), (0, refusal), (0, retry)), 0) == quic.Turns(quic_packet.V1)


def test_a_version_that_is_not_known_does_not_hide_the_next_with_the_same_connection_id():
    frames = crypto(0, message(1, client_hello_body(b"quic.example")))
    unknown = bytearray(initial(frames, 1))
    unknown[1:5] = b"\x7a\x7a\x7a\x7a"
    client, _, _ = quic.read(Flow((0, bytes(unknown)), (0, initial(frames, 2))))
    assert client.messages[0].complete


def test_a_server_may_switch_to_a_compatible_version():
    """RFC 9368: the hello in version 1, the answer in version 2 under the same connection id, then an ACK."""
    hello = message(1, client_hello_body(b"quic.example"))
    answer = message(2, b"\x03\x03" + b"\x09" * 32 + b"\0\x13\x01\0\0\0")
    client, server, _ = quic.read(
        Flow(
            (0, initial(crypto(0, hello), 1)),
            (1, initial(crypto(0, answer), 1, quic_packet.V2, label="server in")),
            (0, initial(b"\x02\0\0\0\0", 2, quic_packet.V2)),
        )
    )
    assert client.messages[0].body == hello[4:]
    assert server.messages[0].body == answer[4:]


@pytest.mark.parametrize("which", [0, -1], ids=["the salt of v1", "another salt"])
def test_after_version_negotiation_the_hello_is_that_of_the_new_version(which):
    """The first one, of a version that borrows a salt, is longer: its bytes must not run into the second's."""
    first = message(1, client_hello_body(b"a-much-longer-name.quic.example"))
    second = message(1, client_hello_body(b"quic.example", random=b"\x08" * 32))
    forced = bytearray(initial(crypto(0, first), 1, 0x0A0A0A0A, which=which))
    refusal = b"\x80\0\0\0\0" + vector(b"", 1) + vector(DCID, 1) + bytes.fromhex("00000001")
    client, _, _ = quic.read(Flow((0, bytes(forced)), (1, refusal), (0, initial(crypto(0, second), 2))))
    assert client.messages[0].body == second[4:]


def test_google_quic_is_told_by_its_own_headers():
    assert quic.is_gquic(Flow((0, b"\xc0Q050" + b"\0" * 20)))
    assert quic.is_gquic(Flow((0, b"\x0d" + b"\7" * 8 + b"Q043" + b"\0" * 20)))
    assert not quic.is_gquic(Flow((0, b"\xc0\0\0\0\1\x08abcQ0xyz" + b"\0" * 20))), "two letters in a connection id"


def test_what_no_key_opens_is_tried_a_bounded_number_of_times(monkeypatch):
    asked = []
    monkeypatch.setattr(quic, "unprotect", lambda *arguments: asked.append(1))
    packet = b"\xc0\0\0\0\1" + vector(DCID, 1) + vector(b"", 1) + b"\0" + varint(30) + b"x" * 30
    assert quic.read(Flow(*((0, packet * 20) for _ in range(100)))) is None
    assert len(asked) <= 2 * quic.MAX_FAILED * quic.MAX_KEYS


@given(st.binary(max_size=300), st.binary(max_size=100))
def test_any_bytes(first, second):
    assert quic.read(Flow((0, b"\xc0\0\0\0\1" + first), (1, second))) is None
    quic_packet.crypto_frames(first)
    assert quic.turns(Flow((0, b"\xc0" + first), (1, second)), 0).retry_frame in (None, 2)
    quic_packet.negotiation(b"\x80\0\0\0\0" + first)


@pytest.mark.parametrize("version", [quic_packet.V1, quic_packet.V2])
def test_a_packet_that_was_opened_is_sealed_to_the_same_bytes(version):
    label = "client in"
    data = initial(crypto(0, b"x" * 60), 5, version)
    header = quic_packet.long_header(data, 0)
    (keys,) = quic_packet.initial_keys(version, DCID, label)
    found = quic_packet.opened(data, header, keys)
    assert quic_packet.sealed(found, data[1 : header.pn_offset], keys) == data


def test_where_the_frames_of_an_initial_end():
    known = crypto(0, b"one") + bytes(5) + crypto(3, b"two")
    frames, end = quic_packet.placed_crypto_frames(known + b"\x1c\0\0\6reason")
    assert [(offset, data) for offset, data, _ in frames] == [(0, b"one"), (3, b"two")]
    assert all(known[at : at + len(data)] == data for _, data, at in frames)
    assert end == len(known)
    assert quic_packet.placed_crypto_frames(known)[1] == len(known)


@pytest.mark.parametrize("late", [False, True])
def test_a_client_without_an_id_goes_on_towards_a_server_that_was_not_captured_or_too_late(late):
    """The second half of its hello was lost, and goes to the id that the server chose: the keys are the first's."""
    first, chosen = b"first..1", b"server.3"
    hello = message(1, client_hello_body(b"vk.com"))
    keys = quic_packet.initial_keys(quic_packet.V1, first, "client in")[0]
    begins = (0, sealed_initial(first, b"", keys, crypto(0, hello[:40])))
    again = (0, sealed_initial(chosen, b"", keys, crypto(40, hello[40:])))
    order = [begins, again, answered(first, b"", chosen)] if late else [begins, again]
    (part,) = quic.connections(Flow(*order))
    client, server, _ = quic.read(part)
    assert client.messages[0].complete
    assert b"vk.com" in client.messages[0].body
    assert len(server.messages) == late


def of_dtls(direction, kind, random=b"\1" * 32):
    """A DTLS 1.2 record with the beginning of a handshake message in clear (RFC 6347 section 4.2.2)."""
    body = b"\xfe\xfd" + random + bytes(30)
    head = bytes([kind]) + len(body).to_bytes(3, "big") + bytes(5) + len(body).to_bytes(3, "big")
    return direction, b"\x16\xfe\xfd" + bytes(8) + len(head + body).to_bytes(2, "big") + head + body


def test_one_socket_for_many_dtls_handshakes():
    """A client that takes another random after HelloVerifyRequest goes on; after a ServerHello it begins anew."""
    one, two, three = (bytes([number]) * 32 for number in (1, 2, 3))
    first = [of_dtls(0, 1, one), of_dtls(1, 3), of_dtls(0, 1, two), of_dtls(1, 2)]
    assert len(dtls.connections(Flow(*first))) == 1
    again = [of_dtls(0, 1, two), of_dtls(1, 2)]
    assert len(dtls.connections(Flow(*first, *again))) == 1, "what is sent again begins nothing"
    parts = dtls.connections(Flow(*first, of_dtls(0, 1, three), of_dtls(1, 2)))
    assert [len(part.packets) for part in parts] == [4, 2]
