"""Containers: every magic, byte order and block that the formats define, and what damage leaves."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kzpcap.capture.container import open_records
from kzpcap.capture.health import Notes
from kzpcap.errors import CaptureError

PACKETS = [(1_563_613_200, 123_456, b"a" * 60), (1_563_613_201, 1, b"b" * 61)]


def records(raw):
    notes = Notes()
    reader = open_records(raw, notes)
    found = []
    while reader.advance():
        found.append(
            (reader.frame, reader.time_ns, reader.link_type, raw[reader.offset : reader.offset + reader.captured])
        )
    return reader, found, notes


def pcap(order="<", magic=0xA1B2C3D4, extra=b"", link=1, packets=PACKETS):
    out = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65_535, link)
    for seconds, fraction, data in packets:
        out += struct.pack(order + "IIII", seconds, fraction, len(data), len(data)) + extra + data
    return out


@pytest.mark.parametrize("order", ["<", ">"])
def test_one_wrong_bit_of_a_length_costs_two_packets_at_most(order):
    """Of each bit of each record's captured length: what stands behind it is found again, and nothing else is."""
    sizes = (54, 66, 1_514, 60, 583, 74, 66, 1_200, 54, 60)
    packets = [(1_563_613_200 + n, n * 31_000 + 7, bytes([65 + n]) * size) for n, size in enumerate(sizes)]
    raw, at = pcap(order, packets=packets), 24
    for _, _, data in packets:
        for bit in range(32):
            damaged = bytearray(raw)
            damaged[at + 8 + bit // 8] ^= 1 << bit % 8
            _, found, _ = records(bytes(damaged))
            there = {body for _, _, body in packets} & {entry[3] for entry in found}
            assert len(there) >= len(packets) - 2, (at, bit)
            assert len(found) <= len(packets)
        at += 16 + len(data)


@pytest.mark.parametrize("lost", [1, 4, 7, 16])
def test_bytes_that_are_lost_cost_no_more_than_the_packet_they_were_in_and_its_neighbour(lost):
    """Behind the first record's header, that is: before it there is no time to compare another with."""
    packets = [(1_563_613_200 + n, n * 31_000 + 7, bytes([65 + n]) * (500 - n)) for n in range(12)]
    raw = pcap(packets=packets)
    for at in range(40, 40 + 5 * 500, 97):
        _, found, _ = records(raw[:at] + raw[at + lost :])
        there = {body for _, _, body in packets} & {entry[3] for entry in found}
        assert len(there) >= len(packets) - 2, at


@pytest.mark.parametrize("bit", range(2, 32))
def test_one_wrong_bit_of_a_block_length_is_no_end_of_the_file(bit):
    """Near the end of a file too: a block that claims more than is left may be cut, or its length may be wrong."""
    blocks = [section("<"), interface("<", 1), *(enhanced("<", 0, n, bytes([65 + n]) * 200) for n in range(20))]
    damaged = bytearray(b"".join(blocks[:8]))
    at = len(damaged)
    damaged += b"".join(blocks[8:])
    damaged[at + 4 + bit // 8] ^= 1 << bit % 8
    _, found, notes = records(bytes(damaged))
    assert len({entry[3] for entry in found}) >= 19
    assert [note.kind for note in notes.kept][:1] == ["damaged"]


MANNERS = {
    "fractions of another unit": lambda n, size: (1_563_613_200 + n, 800_000_000 + n if n % 3 else 7, size, size),
    "lengths that were not kept": lambda n, size: (1_563_613_200 + n, 7, size, 0xFFFFFFFF if n % 4 < 2 else size),
    "none kept": lambda n, size: (1_563_613_200 + n, 7, size, 0),
    "days between": lambda n, size: (1_563_613_200 + n * 200_000, 7, size, size),
    "there and back": lambda n, size: (1_563_613_200 + (n == 9) * 172_800, 7, size, size - (n == 9)),
    "no times": lambda n, size: (0, 0, size, size),
    "all at once": lambda n, size: (1_563_613_200 + n % 2 * 10**6, 999_999_999 if n % 2 else 5, size, size - n % 2),
}


@pytest.mark.parametrize("manner", MANNERS)
@pytest.mark.parametrize("count", [1, 2, 3, 40])
@pytest.mark.parametrize("cut", [0, 9])
def test_an_odd_manner_of_writing_is_no_damage(manner, count, cut):
    """What tcpdump reads is read: a file that keeps other numbers than it should keeps its packets all the same."""
    raw = pcap(packets=[])
    for n in range(count):
        body = bytes((n * 31 + k * 7) % 256 for k in range(60 + n % 5))
        raw += struct.pack("<IIII", *MANNERS[manner](n, len(body))) + body
    _, found, notes = records(raw[: len(raw) - cut])
    assert len(found) == count - bool(cut)
    assert {note.kind for note in notes.kept} <= {"cut-short"}


@pytest.mark.parametrize(("magic", "extra"), [(0xA1B2C3D4, 4), (0xA1B2C3D4, 8), (0xA1B2CD34, 12)])
@pytest.mark.parametrize(("count", "cut"), [(1, 0), (2, 0), (3, 0), (4, 9), (20, 0), (20, 9)])
def test_longer_record_headers_of_few_packets_too(magic, extra, count, cut):
    """Red Hat's, Nokia's and SuSE's: days may lie between packets, and one may be empty."""
    packets = [(1_563_613_200 + n * 200_000, 7, b"" if n == 2 else bytes([97 + n]) * 60) for n in range(count)]
    raw = pcap(magic=magic, extra=b"\0" * extra, packets=packets)
    _, found, _ = records(raw[: len(raw) - cut])
    assert [entry[3] for entry in found] == [data for _, _, data in packets[: count - bool(cut)]]


def test_a_file_that_ends_in_its_own_header_holds_no_capture():
    for raw in (pcap()[:20], section("<")[:27], section("<")[:8]):
        with pytest.raises(CaptureError, match="header that is cut short"):
            records(raw)


def test_a_capture_that_was_cut_off_inside_of_its_last_block_is_cut():
    whole = section("<") + interface("<", 1) + b"".join(enhanced("<", 0, n, b"q" * 200) for n in range(3))
    for left in range(1, 231):
        reader, found, notes = records(whole[:-left])
        assert reader.truncated
        assert len(found) == 2
        assert [note.kind for note in notes.kept] == ["cut-short"]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("magic", "tick", "extra"),
    [(0xA1B2C3D4, 1_000, b""), (0xA1B23C4D, 1, b""), (0xA1B2CD34, 1_000, b"\0" * 8)],
    ids=["micro", "nano", "kuznetzov"],
)
def test_pcap(order, magic, tick, extra):
    _, found, notes = records(pcap(order, magic, extra))
    assert [entry[3] for entry in found] == [data for _, _, data in PACKETS]
    assert found[0][1] == 1_563_613_200 * 10**9 + 123_456 * tick
    assert [entry[2] for entry in found] == [1, 1]
    assert not notes.kept


def block(order, kind, body):
    body += b"\0" * (-len(body) % 4)
    length = 12 + len(body)
    return struct.pack(order + "II", kind, length) + body + struct.pack(order + "I", length)


def section(order):
    return block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))


def interface(order, link, options=b""):
    return block(order, 1, struct.pack(order + "HHI", link, 0, 0) + options)


def enhanced(order, index, ticks, data, original=None):
    head = struct.pack(order + "IIIII", index, ticks >> 32, ticks & 0xFFFFFFFF, len(data), original or len(data))
    return block(order, 6, head + data)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("magic", [0x1C0001AB, 0x1C0001AC])
def test_ixia_writes_the_length_of_all_records_behind_the_file_header(order, magic):
    raw = pcap(order, magic)
    _, found, notes = records(raw[:24] + struct.pack(order + "I", len(raw) - 24) + raw[24:])
    assert [(when, data) for _, when, _, data in found] == [
        (seconds * 1_000_000_000 + micro * 1_000, data) for seconds, micro, data in PACKETS
    ]
    assert not notes.kept


@pytest.mark.parametrize(
    ("version", "lengths"),
    [((2, 2), (70, 60)), ((543, 0), (70, 60)), ((2, 3), (70, 60)), ((2, 3), (60, 70)), ((2, 4), (60, 70))],
)
def test_the_two_lengths_stand_as_their_version_has_them(version, lengths):
    raw = struct.pack("<IHHiIII", 0xA1B2C3D4, *version, 0, 0, 65_535, 1)
    for number in range(3):
        raw += struct.pack("<IIII", 1_563_613_200 + number, 7, *lengths) + bytes([97 + number]) * 60
    reader, found, notes = records(raw)
    assert [data for _, _, _, data in found] == [b"a" * 60, b"b" * 60, b"c" * 60]
    assert reader.original == 70
    assert not notes.kept


def snoop(sizes=(60, 62, 100, 54)):
    out = b"snoop\0\0\0" + struct.pack(">II", 2, 4)
    for number, size in enumerate(sizes):
        padding = -size & 3
        header = (size, size, 24 + size + padding, 0, 1_563_613_200 + number, 7)
        out += struct.pack(">6I", *header) + bytes([97 + number]) * size + bytes(padding)
    return out


def test_snoop():
    reader, found, notes = records(snoop())
    assert [(when, link, data) for _, when, link, data in found] == [
        ((1_563_613_200 + number) * 1_000_000_000 + 7_000, 1, bytes([97 + number]) * size)
        for number, size in enumerate((60, 62, 100, 54))
    ]
    assert reader.format == "snoop"
    assert not notes.kept


@pytest.mark.parametrize("field", [4, 8])
@pytest.mark.parametrize("bit", range(31))
def test_one_wrong_bit_of_a_snoop_length_costs_two_packets_at_most(field, bit):
    raw = bytearray(snoop((60, 62, 100, 54, 80, 1_400, 66)))
    at = 16 + 24 + 60 + field + 3 - bit // 8
    raw[at] ^= 1 << (bit & 7)
    _, found, _ = records(bytes(raw))
    assert len(found) >= 5
    assert [data[:1] for _, _, _, data in found][-4:] == [b"d", b"e", b"f", b"g"]


@pytest.mark.parametrize("at", range(0, 24, 4))
def test_bytes_put_into_a_snoop_header_cost_two_packets_at_most(at):
    """Though the record that they stand in may be read, with a time of its own making."""
    sizes = (60, 62, 100, 54, 80, 1_400, 66)
    raw = snoop(sizes)
    begin = 16 + sum(24 + size + (-size & 3) for size in sizes[:3])
    _, found, _ = records(raw[: begin + at] + b"\x11\x22\x33\x44" + raw[begin + at :])
    assert [data[:1] for _, _, _, data in found][-2:] == [b"f", b"g"]
    assert [data[:1] for _, _, _, data in found][:3] == [b"a", b"b", b"c"]


def test_a_snoop_record_that_is_cut_is_not_taken_for_others_by_what_is_in_it():
    inner = snoop((40, 44, 48))[16:]
    long_ago = b"".join(
        inner[at : at + 16] + struct.pack(">I", 999) + inner[at + 20 : end]
        for at, end in ((0, 64), (64, 132), (132, 204))
    )
    raw = snoop((60,)) + struct.pack(">6I", 1_000, 1_000, 1_024, 0, 1_563_613_201, 7) + long_ago
    reader, found, notes = records(raw)
    assert len(found) == 1
    assert reader.truncated
    assert [note.kind for note in notes.kept] == ["cut-short"]


def test_pcapng_sections_of_both_orders_and_their_interfaces():
    raw = b""
    for order in ("<", ">"):
        raw += section(order) + interface(order, 1) + interface(order, 101)
        raw += enhanced(order, 0, 1_563_613_200_000_000, b"x" * 33) + enhanced(order, 1, 7, b"y" * 20)
    _, found, notes = records(raw)
    assert [(entry[0], entry[2], len(entry[3])) for entry in found] == [
        (1, 1, 33),
        (2, 101, 20),
        (3, 1, 33),
        (4, 101, 20),
    ]
    assert found[0][1] == 1_563_613_200 * 10**9
    assert not notes.kept


@pytest.mark.parametrize(
    ("resolution", "ticks", "expected"),
    [
        (b"\x09", 5_000_000_001, 5_000_000_001),
        (b"\x03", 1_500, 1_500_000_000),
        (b"\x8a", 1_536, 1_500_000_000),
        (b"\x00", 3, 3 * 10**9),
    ],
)
def test_if_tsresol(resolution, ticks, expected):
    options = struct.pack("<HH", 9, 1) + resolution + b"\0\0\0" + struct.pack("<HH", 0, 0)
    _, found, _ = records(section("<") + interface("<", 1, options) + enhanced("<", 0, ticks, b"z" * 20))
    assert found[0][1] == expected


def test_if_tsoffset():
    options = struct.pack("<HHq", 14, 8, 100) + struct.pack("<HH", 0, 0)
    _, found, _ = records(section("<") + interface("<", 1, options) + enhanced("<", 0, 2_000_000, b"z" * 20))
    assert found[0][1] == 102 * 10**9


def test_simple_and_obsolete_packet_blocks():
    raw = section("<") + interface("<", 1) + block("<", 3, struct.pack("<I", 20) + b"s" * 20)
    raw += block("<", 2, struct.pack("<HHIIII", 0, 0, 0, 9_000_000, 22, 22) + b"p" * 22)
    _, found, _ = records(raw)
    assert [entry[3] for entry in found] == [b"s" * 20, b"p" * 22]
    assert found[1][1] == 9 * 10**9


def test_secrets_are_kept_and_name_resolution_is_counted():
    line = b"SERVER_HANDSHAKE_TRAFFIC_SECRET aa bb\n"
    raw = section("<") + block("<", 10, struct.pack("<II", 0x544C534B, len(line)) + line) + block("<", 4, b"\0\0\0\0")
    reader, _, _ = records(raw)
    assert reader.secrets == [line]
    assert reader.private_blocks == 1


def test_a_cut_record_keeps_all_before_it():
    whole = pcap()
    _, found, notes = records(whole[:-5])
    assert len(found) == 1
    assert [(note.kind, note.offset) for note in notes.kept] == [("cut-short", 24 + 16 + 60)]


def test_reading_goes_on_after_a_damaged_record():
    packets = [(1_563_613_200 + i, 0, bytes([i]) * 60) for i in range(6)]
    raw = bytearray(pcap(packets=packets))
    at = 24 + 2 * 76
    raw[at + 8 : at + 12] = b"\xff\xff\xff\x7f"
    reader, found, notes = records(bytes(raw))
    assert [entry[3][0] for entry in found] == [0, 1, 3, 4, 5]
    assert reader.skipped_bytes == 76
    assert notes.kept[0].offset == at


MANY = [(1_563_613_200 + number, 0, bytes([65 + number]) * 60) for number in range(12)]
EACH = 16 + 60


@pytest.mark.parametrize("bit", [12, 16, 17])
def test_a_length_that_reaches_beyond_the_file_hides_nothing_behind_it(bit):
    raw = bytearray(pcap(packets=MANY))
    at = 24 + 4 * EACH + 8
    raw[at : at + 4] = (60 ^ 1 << bit).to_bytes(4, "little")
    reader, found, notes = records(bytes(raw))
    assert [entry[3] for entry in found] == [data for _, _, data in MANY[:4] + MANY[5:]]
    assert not reader.truncated
    assert reader.skipped_bytes == EACH
    assert [note.kind for note in notes.kept] == ["damaged"]


def test_a_file_that_ends_in_a_record_is_cut_and_no_more():
    reader, found, notes = records(pcap(packets=MANY)[:-20])
    assert len(found) == len(MANY) - 1
    assert reader.truncated
    assert [note.kind for note in notes.kept] == ["cut-short"]


def test_a_cut_record_is_not_taken_for_others_by_what_is_in_it():
    """What looks like records of another year stands in the payload: the one time that is known tells."""
    inner = struct.pack("<IIII", 77, 0, 20, 20) + b"x" * 20 + struct.pack("<IIII", 78, 0, 20, 20) + b"y" * 20
    raw = pcap(packets=MANY[:1]) + struct.pack("<IIII", 1_563_613_201, 0, 500, 500) + inner
    reader, found, notes = records(raw)
    assert len(found) == 1
    assert reader.truncated
    assert [note.kind for note in notes.kept] == ["cut-short"]


def test_one_wrong_time_does_not_lose_what_is_behind_the_next_damage():
    raw = bytearray(pcap(packets=MANY))
    at = 24 + 4 * EACH
    raw[at : at + 4] = (1_563_613_204 ^ 1 << 20).to_bytes(4, "little")
    raw[at + EACH + 8 : at + EACH + 12] = b"\xff\xff\xff\x7f"
    _, found, _ = records(bytes(raw))
    assert [entry[3] for entry in found] == [data for _, _, data in MANY[:5] + MANY[6:]]


@pytest.mark.parametrize(("kind", "filling"), [("pcap", b"\xff"), ("pcapng", b"\xff"), ("pcapng", b"\0")])
def test_a_large_hole_is_leapt_over(kind, filling):
    if kind == "pcap":
        raw, at = pcap(packets=MANY), 24 + 4 * EACH
    else:
        head = section("<") + interface("<", 1)
        blocks = [enhanced("<", 0, 10**6 * (number + 1), data) for number, (_, _, data) in enumerate(MANY)]
        raw, at = head + b"".join(blocks), len(head) + 4 * len(blocks[0])
    hole = filling * (5 << 20)
    reader, found, notes = records(raw[:at] + hole + raw[at:])
    assert [entry[3] for entry in found] == [data for _, _, data in MANY]
    assert reader.skipped_bytes == len(hole)
    assert len(notes.kept) == 1


def test_a_block_whose_length_covers_others_hides_none():
    """Its first length leads to the last block, the one at its end does not."""
    head = section("<") + interface("<", 1)
    blocks = [enhanced("<", 0, 10**6 * (number + 1), data) for number, (_, _, data) in enumerate(MANY)]
    lying = bytearray(blocks[3])
    lying[4:8] = (len(blocks[0]) * 8).to_bytes(4, "little")
    reader, found, notes = records(head + b"".join([*blocks[:3], bytes(lying), *blocks[4:]]))
    assert [entry[3] for entry in found] == [data for _, _, data in MANY[:3] + MANY[4:]]
    assert reader.skipped_bytes == len(blocks[0])
    assert "and other ones at its end" in notes.kept[0].text


def test_a_block_with_a_wrong_length_at_its_end_alone_is_read():
    head, only = section("<") + interface("<", 1), bytearray(enhanced("<", 0, 10**6, PACKETS[0][2]))
    only[-4:] = b"\1\2\3\4"
    _, found, notes = records(head + bytes(only) + enhanced("<", 0, 10**6, PACKETS[1][2]))
    assert [entry[3] for entry in found] == [data for _, _, data in PACKETS]
    assert [note.kind for note in notes.kept] == ["damaged"]


def test_reading_goes_on_after_a_damaged_block():
    raw = bytearray(section("<") + interface("<", 1) + b"".join(enhanced("<", 0, i, bytes([i]) * 40) for i in range(4)))
    start = raw.index(b"\x01" * 40) - 28
    raw[start + 4 : start + 8] = b"\xff\xff\xff\xff"
    _, found, notes = records(bytes(raw))
    assert [entry[3][0] for entry in found] == [0, 2, 3]
    assert notes.kept[0].offset == start


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "empty"),
        (b"hello, this is a text file\n", "plain text"),
        (b"\x89PNG\r\n", "PNG"),
        (b"%PDF-1.7", "PDF"),
        (b'{"a":1}', "JSON"),
    ],
)
def test_what_is_no_capture_is_named(raw, words):
    with pytest.raises(CaptureError, match=words):
        open_records(raw, Notes())


def test_an_impossible_clock_is_a_note():
    _, found, notes = records(section("<") + interface("<", 1) + enhanced("<", 0, (1 << 64) - 1, b"z" * 20))
    assert found[0][1] == 0
    assert notes.counts["clock"] == 1


@given(st.sampled_from([pcap(), section("<") + interface("<", 1) + enhanced("<", 0, 1, b"q" * 40)]), st.data())
def test_any_bytes_end_in_records_or_in_a_capture_error(start, data):
    raw = bytearray(start)
    for _ in range(data.draw(st.integers(0, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    raw += data.draw(st.binary(max_size=60))
    try:
        reader, found, _ = records(bytes(raw))
    except CaptureError:
        return
    assert sum(len(entry[3]) for entry in found) <= len(raw)
    assert reader.pos <= len(raw) + 4


@pytest.mark.parametrize(("value", "filtered"), [(b"\0tcp port 443", True), (b"\0", False), (b"\1" + bytes(8), False)])
def test_a_capture_filter_is_told_and_not_kept(value, filtered):
    option = struct.pack("<HH", 11, len(value)) + value + bytes(-len(value) & 3)
    body = struct.pack("<HHI", 1, 0, 0) + option + bytes(4)
    length = struct.pack("<I", 12 + len(body))
    section = struct.pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28)
    packet = struct.pack("<IIIIIII", 6, 32 + 60, 0, 0, 0, 60, 60) + b"a" * 60 + struct.pack("<I", 92)
    reader, found, _ = records(section + struct.pack("<I", 1) + length + body + length + packet)
    assert len(found) == 1
    assert bool(reader.filtered) is filtered
