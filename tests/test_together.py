"""Several files as one recording: what was split is judged as the whole was, in mergecap's frames."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from kzpcap.capture.container import open_records
from kzpcap.capture.health import Notes
from kzpcap.capture.together import open_together
from tests.conftest import CAPTURES, run

WHOLE = CAPTURES / "lab-kz-take-over" / "capture.pcap"
OPTIONS = [
    "--trusted-root", str(WHOLE.parent / "root.pem"), "--interception-ca", str(WHOLE.parent / "interception.pem"),
]  # fmt: skip


def packets(path):
    raw = path.read_bytes()
    records = open_records(raw, Notes())
    while records.advance():
        body = raw[records.offset : records.offset + records.captured]
        yield records.time_ns, records.original, body, records.link_type


def write(path, rows, magic=0xA1B2C3D4):
    """A pcap of these packets, in microseconds or nanoseconds."""
    tick = 1_000 if magic == 0xA1B2C3D4 else 1
    link = rows[0][3] if rows else 1
    out = struct.pack("<IHHiIII", magic, 2, 4, 0, 0, 262_144, link)
    for time_ns, original, body, _ in rows:
        out += struct.pack("<IIII", time_ns // 10**9, time_ns % 10**9 // tick, len(body), original) + body
    path.write_bytes(out)


@pytest.fixture
def ring(tmp_path):
    """The files of a ring buffer: one recording cut in three, in the middle of connections; the names in any order."""
    rows = list(packets(WHOLE))
    third = len(rows) // 3
    write(tmp_path / "b.pcap", rows[:third])
    write(tmp_path / "c.pcap", rows[third : third * 2], 0xA1B23C4D)
    write(tmp_path / "a.pcap", rows[third * 2 :])
    return [str(tmp_path / name) for name in ("a.pcap", "b.pcap", "c.pcap")]


def analysed(*arguments):
    done = run("analyze", "--json", *OPTIONS, *arguments)
    assert done.returncode == 0, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_what_was_split_is_judged_as_the_whole(ring):
    (whole,) = analysed(str(WHOLE))
    (laid,) = analysed("--together", *ring)
    for part in ("connections", "certificates", "ladders", "summary"):
        assert laid[part] == whole[part], part
    assert [entry["packets"] for entry in laid["capture"]["parts"]] == [len(list(packets(Path(path)))) for path in ring]
    apart = analysed(*ring)
    assert sum(len(one["connections"]) for one in apart) > len(whole["connections"]), "the cuts went through some"


def test_the_order_of_the_files_does_not_matter(ring):
    (first,), (second,) = analysed("--together", *ring), analysed("--together", *reversed(ring))
    assert first["connections"] == second["connections"]
    assert first["ladders"] == second["ladders"]


@pytest.mark.skipif(shutil.which("mergecap") is None, reason="mergecap is not installed (Debian: wireshark-common)")
def test_frames_are_those_of_mergecap(ring, tmp_path):
    merged = tmp_path / "merged.pcapng"
    subprocess.run(["mergecap", "-w", str(merged), *ring], check=True)
    (_, source, _) = next(open_together(ring, False))
    ours = open_records(source.raw, Notes())
    theirs = list(packets(merged))
    count = 0
    while ours.advance():
        time_ns, original, body, link = theirs[count]
        assert (ours.time_ns, ours.original, ours.link_type) == (time_ns, original, link)
        assert bytes(ours.raw[ours.offset : ours.offset + ours.captured]) == body
        count += 1
    assert count == len(theirs) > 100
    del ours
    source.close()


def test_two_link_types_and_secrets_in_one(tmp_path):
    """A pcapng with its key log inside, beside a capture of another link type: both are read, and opened."""
    keyed = CAPTURES / "lab-key-log"
    keys = (keyed / "keys.log").read_bytes()
    secrets = block(10, struct.pack("<II", 0x544C534B, len(keys)) + keys)
    first = tmp_path / "keyed.pcapng"
    rows = list(packets(next(keyed.glob("capture.pcap*"))))
    body = block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)) + block(
        1, struct.pack("<HHI", rows[0][3], 0, 0)
    )
    for time_ns, original, packet, _ in rows:
        ticks = time_ns // 1_000
        head = struct.pack("<IIIII", 0, ticks >> 32, ticks & 0xFFFFFFFF, len(packet), original)
        body += block(6, head + packet)
    first.write_bytes(body[:28] + body[28:48] + secrets + body[48:])
    second = CAPTURES / "lab-raw-ip" / "capture.pcap"
    (laid,) = analysed("--together", str(first), str(second))
    apart = analysed(str(first), str(second))
    assert len(laid["capture"]["link_types"]) == 2
    assert laid["capture"]["secrets"] == apart[0]["capture"]["secrets"] == 1
    assert any(one["tls_version"] == "TLS 1.3" and one["certificates"] for one in laid["connections"])
    assert set(laid["certificates"]) == set(apart[0]["certificates"]) | set(apart[1]["certificates"])
    assert len(laid["connections"]) == sum(len(one["connections"]) for one in apart)


def block(kind, body):
    body += bytes(-len(body) & 3)
    length = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + length + body + length


def test_what_is_no_capture_is_told_and_the_rest_is_read(ring, tmp_path):
    (tmp_path / "notes.txt").write_text("nothing to see")
    done = run("analyze", "--json", *OPTIONS, "--together", ring[0], str(tmp_path / "notes.txt"), *ring[1:])
    assert done.returncode == 3
    assert "notes.txt: not a capture" in done.stderr.decode()
    assert len(json.loads(done.stdout)["capture"]["parts"]) == 3


def test_a_damaged_part_is_named_by_its_number(ring, tmp_path):
    cut = tmp_path / "cut.pcap"
    cut.write_bytes(Path(ring[2]).read_bytes()[:-7])
    (laid,) = analysed("--together", *ring[:2], str(cut))
    assert any(note["text"].startswith("file 3: the file ends inside a packet") for note in laid["capture"]["notes"])
    assert [part["damaged"] for part in laid["capture"]["parts"]] == [False, False, True]


def test_the_digests_are_those_of_the_files(ring):
    import hashlib

    (laid,) = analysed("--together", *ring)
    assert [part["sha256"] for part in laid["capture"]["parts"]] == [
        hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in ring
    ]
    assert laid["capture"]["sha256"] is None


def keyed(path, order):
    """lab-key-log as a pcapng whose secrets stand where `order` says: before, after, or alone."""
    folder = CAPTURES / "lab-key-log"
    keys = (folder / "keys.log").read_bytes()
    rows = list(packets(next(folder.glob("capture.pcap*"))))
    body = block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
    body += block(1, struct.pack("<HHI", rows[0][3], 0, 0))
    for part in order:
        if part == "secrets":
            body += block(10, struct.pack("<II", 0x544C534B, len(keys)) + keys)
            continue
        for time_ns, original, packet, _ in rows:
            ticks = time_ns // 1_000
            head = struct.pack("<IIIII", 0, ticks >> 32, ticks & 0xFFFFFFFF, len(packet), original)
            body += block(6, head + packet)
    path.write_bytes(body)
    return str(path)


@pytest.mark.parametrize("orders", [[["packets", "secrets"]], [["packets"], ["secrets"]], [["secrets"], ["packets"]]])
def test_secrets_open_wherever_they_stand(orders, tmp_path):
    paths = [keyed(tmp_path / f"{number}.pcapng", order) for number, order in enumerate(orders)]
    (laid,) = analysed("--together", *paths)
    assert sum(bool(one["certificates"]) for one in laid["connections"]) == 4


def test_a_file_full_of_link_types_does_not_blind_the_others(ring, tmp_path):
    """Two files of 40,000 sections with as many link types: one interface for each in all, not for each file."""
    for name in ("x", "y"):
        out = bytearray()
        for link in range(40_000):
            out += block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
            out += block(1, struct.pack("<HHI", link, 0, 0)) + block(6, struct.pack("<IIIII", 0, 0, 1, 4, 4) + b"abcd")
        (tmp_path / name).write_bytes(out)
    (whole,) = analysed(str(WHOLE))
    (laid,) = analysed("--together", str(tmp_path / "x"), str(tmp_path / "y"), *ring)
    assert len(laid["connections"]) == len(whole["connections"])


def test_more_files_than_descriptors_are_told_and_not_a_crash(ring, tmp_path):
    import resource

    paths = []
    for number in range(400):
        paths.append(str(tmp_path / f"{number}.pcap"))
        shutil.copy(ring[0], paths[-1])
    command = [sys.executable, "-m", "kzpcap", "analyze", "--json", "--no-digest", "--together", *paths]
    for limit, codes in ((1_024, {0}), (100, {3})):
        done = subprocess.run(
            command, capture_output=True, check=False, timeout=300,
            preexec_fn=lambda limit=limit: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)),
        )  # fmt: skip
        assert done.returncode in codes, done.stderr[-500:]
        assert b"Traceback" not in done.stderr
        assert b"too many open files" in done.stderr.lower() if limit == 100 else json.loads(done.stdout)
