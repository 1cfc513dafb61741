"""Hellos, records and message order: split, cut, resumed, upgraded, encrypted, hostile."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kzpcap.flows import reassemble
from kzpcap.tls import handshake, messages, records, upgrade
from kzpcap.tls.fingerprints import ja3, ja3_string, ja4
from tests.build import (
    certificate_body,
    client_hello,
    client_hello_body,
    extension,
    message,
    packets,
    record,
    server_hello_body,
    streams,
    vector,
)


def read(client, server=b"", size=1_400):
    return handshake.read_streams(streams(client, server, size))


def flight(*ders, session=b""):
    return record(
        22, message(2, server_hello_body(session=session)) + message(11, certificate_body(*ders)) + message(14, b"")
    )


@pytest.mark.parametrize("size", [1, 3, 7, 1_400])
def test_a_hello_over_many_segments(size):
    found = read(client_hello(b"www.facebook.com"), size=size)
    assert found.client_hello.hello.server_name == b"www.facebook.com"
    assert found.client_hello.hello.complete


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_hello_over_many_records(cut):
    whole = message(1, client_hello_body(b"www.facebook.com"))
    split = b"".join(record(22, whole[i : i + cut]) for i in range(0, len(whole), cut))
    assert read(split).client_hello.hello.server_name == b"www.facebook.com"


def test_a_hello_that_is_cut_behind_its_name_gives_the_name():
    whole = client_hello(b"vk.com", extensions=extension(21, b"\0" * 100))
    found = read(whole[:-60])
    assert found.client_hello.hello.server_name == b"vk.com"
    assert not found.client_hello.hello.complete
    assert ja3(found.client_hello.hello) is None


def test_a_name_that_is_cut_is_not_a_name():
    found = read(client_hello(b"vk.com.evil.example")[:-13]).client_hello.hello
    assert found.server_name is None
    assert not found.complete


def test_several_messages_in_a_record_and_the_chain_as_sent():
    found = read(client_hello(), flight(b"leaf", b"intermediate", b"leaf"), size=9)
    assert found.chains[0].certificates == (b"leaf", b"intermediate", b"leaf")
    assert found.history == "Csxn"
    assert found.server_hello.hello.version == 0x0303


def test_frames_are_those_of_the_first_and_last_byte():
    server = flight(b"x" * 3_000)
    found = read(client_hello(), server)
    assert found.chains[0].first_frame == 100
    assert found.chains[0].seen.frame == 102


@given(
    st.lists(st.tuples(st.sampled_from([2, 11, 12, 14]), st.binary(max_size=40)), min_size=1, max_size=8),
    st.lists(st.integers(1, 50), min_size=1, max_size=5),
    st.integers(1, 60),
)
def test_messages_over_any_records_and_segments_have_the_frames_of_their_bytes(said, sizes, size):
    clear = b"".join(message(kind, body) for kind, body in said)
    raw, place_of, at = b"", [], 0  # place_of: where each byte of the messages stands in the stream
    while at < len(clear):
        piece = clear[at : at + sizes[at % len(sizes)]]
        place_of += range(len(raw) + 5, len(raw) + 5 + len(piece))
        raw += record(22, piece)
        at += len(piece)
    stream = reassemble(packets(raw, size))
    begin = 0
    wanted = []
    for kind, body in said:
        first, last = place_of[begin], place_of[begin + 3 + len(body)]
        begin += 4 + len(body)
        frames = (stream.packet_at(first).frame, stream.packet_at(last).frame)
        assert frames == tuple(stream.packets[1 + at // size].frame for at in (first, last))
        wanted.append((kind, body, True, first, *frames))
    found = records.read(stream).messages
    told = [(one.kind, one.body, one.complete, one.offset, one.first_frame, one.packet.frame) for one in found]
    assert told == wanted


def test_after_a_message_that_is_too_long_the_next_has_its_own_frame():
    stream = reassemble(packets(record(22, b"\x02\xff\xff\xff") + record(22, message(14, b"")), 9))
    side = records.read(stream)
    assert side.malformed == stream.packets[1].frame
    assert [(one.kind, one.first_frame) for one in side.messages] == [(14, stream.packets[2].frame)]


def test_a_gap_before_the_certificate_ends():
    server = packets(flight(b"x" * 5_000), first_frame=100)
    del server[3]
    client = packets(client_hello(), sport=40_000, dport=443)
    found = handshake.read_streams((reassemble(client), reassemble(server)))
    assert found.lost
    assert found.chains[0].complete is False


def test_session_id_resumption():
    session = b"s" * 32
    answer = record(22, message(2, server_hello_body(session=session))) + record(20, b"\1") + record(22, b"\xaa" * 40)
    found = read(client_hello(session=session), answer)
    assert found.resumed == "session_id"


def test_ticket_resumption():
    answer = record(22, message(2, server_hello_body()) + message(4, b"\0" * 6 + b"new ticket")) + record(20, b"\1")
    found = read(client_hello(extensions=extension(35, b"old ticket")), answer)
    assert found.resumed == "ticket"
    assert found.tickets == (b"new ticket",)


def test_a_full_handshake_is_not_resumed():
    assert read(client_hello(), flight(b"leaf") + record(20, b"\1")).resumed is None


def test_hello_retry_request():
    retry = record(22, message(2, server_hello_body(random=messages.HELLO_RETRY_RANDOM)))
    selected = extension(43, b"\x03\x04")
    answer = retry + record(20, b"\1") + record(22, message(2, server_hello_body(suite=0x1301, extensions=selected)))
    client = client_hello() + record(20, b"\1") + client_hello(random=b"\x08" * 32)
    found = read(client, answer)
    assert len(found.client_hellos) == 2
    assert found.server_hello.hello.cipher_suite == 0x1301
    assert found.server_hello.hello.version == 0x0304
    assert "j" in found.history


def test_alerts_of_both_sides():
    found = read(client_hello() + record(21, b"\x02\x30"), flight(b"leaf") + record(21, b"\x01\x70"))
    assert [(alert.from_client, alert.code) for alert in found.alerts] == [(True, 48), (False, 112)]


def test_a_decoy_hello_behind_overlapping_bytes_is_listed_as_the_clients():
    decoy, real = client_hello(b"example.com"), client_hello(b"example.net", random=b"\x08" * 32)
    sent = packets(decoy, sport=40_000, dport=443)
    sent += packets(real, first_frame=20, sport=40_000, dport=443)[1:]
    found = handshake.read_streams((reassemble(sent), reassemble([])))
    assert [(h.hello.server_name, h.alternative) for h in found.client_hellos] == [
        (b"example.com", False),
        (b"example.net", True),
    ]
    assert not found.server_conflicts


def test_sslv2_format():
    body = (
        b"\x01\x03\x01" + (6).to_bytes(2, "big") + b"\0\0" + (16).to_bytes(2, "big") + b"\0\0\x05\0\0\x0a" + b"c" * 16
    )
    found = read(bytes([0x80, len(body)]) + body, flight(b"leaf"))
    hello = found.client_hello.hello
    assert hello.sslv2_format
    assert hello.cipher_suites == (5, 10)
    assert ja4(hello, "tcp") is None


def test_plain_answer():
    found = read(client_hello(), b"HTTP/1.1 403 Forbidden\r\n\r\n")
    assert found.plain_answer.body.startswith(b"HTTP/1.1 403")
    assert found.server_hello is None


@pytest.mark.parametrize("change", [{"seq": 601}, {"first_frame": 5}], ids=["behind a gap", "before the hello"])
def test_what_is_no_answer_to_the_hello_is_no_plain_answer(change):
    """The middle of an answer whose first segments were not captured, and a banner that came before."""
    client, answer = packets(client_hello(), sport=40_000, dport=443), packets(b"\xd7!\x84>" * 9, **change)
    found = handshake.read_streams((reassemble(client), reassemble(answer[1:])))
    assert found.client_hello is not None
    assert found.plain_answer is None


@pytest.mark.parametrize(
    ("client", "server", "protocol", "requested"),
    [
        (b"CONNECT vk.com:443 HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", "http-connect", b"vk.com"),
        (
            b"\x05\x01\x00\x05\x01\x00\x03\x06vk.com\x01\xbb",
            b"\x05\x00\x05\x00\x00\x01\0\0\0\0\0\0",
            "socks5",
            b"vk.com",
        ),
        (b"\x04\x01\x01\xbb\0\0\0\x01me\0vk.com\0", b"\0\x5a\0\0\0\0\0\0", "socks4", b"vk.com"),
        (b"EHLO me\r\nSTARTTLS\r\n", b"220 hi\r\n250 STARTTLS\r\n220 go\r\n", "smtp", None),
        (b"a STARTTLS\r\n", b"* OK ready\r\na OK go\r\n", "imap", None),
        (b"\0\0\0\x08\x04\xd2\x16\x2f", b"S", "postgresql", None),
    ],
)
def test_tls_after_something_else(client, server, protocol, requested):
    found = read(client + client_hello(b"inner.example"), server + flight(b"leaf"))
    assert found.upgrade == upgrade.Upgrade(protocol, requested, requested is not None)
    assert found.client_hello.hello.server_name == b"inner.example"
    assert found.chains[0].certificates == (b"leaf",)


def test_what_is_no_tls():
    assert read(b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n") is None
    assert read(b"SSH-2.0-x\r\n", b"SSH-2.0-y\r\n") is None


def test_grease_is_left_out_of_ja3():
    hello = messages.client_hello(client_hello_body(suites=(0x1A1A, 0xC02F), extensions=extension(0x2A2A, b"")), True)
    assert ja3_string(hello) == "771,49199,0,,"


def test_ja4_of_a_known_hello():
    """FoxIO's specification: first and last character of ALPN, sorted suites, extensions without SNI and ALPN."""
    extra = (
        extension(16, vector(vector(b"h2", 1), 2))
        + extension(43, b"\x02\x03\x04")
        + extension(13, vector(b"\x04\x03", 2))
    )
    hello = messages.client_hello(client_hello_body(suites=(0x1302, 0x1301), extensions=extra), True)
    assert ja4(hello, "tcp").startswith("t13d0204h2_")
    assert ja4(hello, "quic").startswith("q13d0204h2_")


@given(st.binary(max_size=300))
def test_any_body_parses_or_is_none(body):
    for parser in (messages.client_hello, messages.server_hello):
        parser(body, True)
    messages.certificate_list(body, 0x0303)
    messages.certificate_list(body, 0x0304)
    messages.sslv2_client_hello(body)


@given(st.data(), st.integers(1, 200))
def test_any_damage_to_a_handshake_ends_in_facts(data, size):
    client, server = bytearray(client_hello()), bytearray(flight(b"leaf" * 30))
    for side in (client, server):
        for _ in range(data.draw(st.integers(0, 5))):
            side[data.draw(st.integers(0, len(side) - 1))] = data.draw(st.integers(0, 255))
    found = read(bytes(client), bytes(server), size)
    assert found is None or len(found.history) <= 100


@given(st.binary(max_size=400), st.integers(1, 100), st.booleans())
def test_any_bytes_as_records(raw, size, upgraded):
    side = records.read(reassemble(packets(raw, size)), upgraded)
    assert sum(len(m.body) for m in side.messages) <= len(raw)


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_any_bytes_as_an_upgrade(client, server):
    found = upgrade.recognise(client, server)
    assert found is None or found.protocol


@pytest.mark.parametrize("minor", [0, 5, 255])
@pytest.mark.parametrize("empty", [0, 1, 3])
def test_the_minor_version_of_a_record_and_empty_records_mean_nothing(minor, empty):
    """RFC 8446 section 5.1: legacy_record_version "MUST be ignored for all purposes"; OpenSSL reads over empty ones."""
    odd = 0x0300 | minor
    nothing = record(22, b"", odd) * empty
    hello = nothing + record(22, message(1, client_hello_body(b"vk.com")), odd)
    flight = [message(2, server_hello_body()), message(11, certificate_body(b"leaf")), message(14, b"")]
    found = read(hello, nothing + b"".join(record(22, one, odd) + nothing for one in flight))
    assert found.client_hello.hello.server_name == b"vk.com"
    assert found.chains[0].certificates == (b"leaf",)


def test_hello_requests_fill_no_list():
    """RFC 5246 section 7.4.1.1: clients ignore them, and they are in no transcript."""
    requests = record(22, message(0, b"") * 4_000)
    found = read(client_hello(b"vk.com"), requests + flight(b"leaf"))
    assert found.chains[0].certificates == (b"leaf",)
    assert not found.full


def test_more_messages_than_are_kept_are_told():
    found = read(client_hello(b"vk.com"), record(22, message(2, server_hello_body()) + message(4, b"") * 300))
    assert found.full


@pytest.mark.parametrize("start", [b"GET /x HTTP/1.1\r\n\r\n", b"CONNECT vk.com:443 HTTP/1.1\r\n\r\n", b"EHLO me\r\n"])
def test_records_in_a_file_that_is_sent_are_no_handshake(start):
    """Whose client asked for them in plain text, and said no hello, in a stream that is whole from its SYN."""
    answer = b"HTTP/1.1 200 OK\r\n\r\n" if b"HTTP" in start else b"220 mail\r\n"
    assert (
        handshake.read_streams(
            (
                reassemble(packets(start, dport=443, sport=40_000)),
                reassemble(packets(answer, 1_400)[:1] + packets(answer + flight(b"leaf"), len(answer))[1:]),
            )
        )
        is None
    )
    uploaded = (
        reassemble(packets(start + flight(b"leaf"), len(start), sport=40_000, dport=443)),
        reassemble(packets(answer)),
    )
    assert handshake.read_streams(uploaded) is None
