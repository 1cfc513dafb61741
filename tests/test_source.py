"""Compressed captures and archives: the same connections, each member by its name, bombs refused, damage told."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import mmap
import random
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib

import pytest

from kzpcap.capture.health import Notes
from kzpcap.capture.unpack import UNPACKERS, Source, _lz4, _zstd, copy
from tests.conftest import CAPTURES, run

QAZNET = (CAPTURES / "kz-2019-rcku" / "capture.pcapng").read_bytes()
GENUINE = (CAPTURES / "kz-2019-rcku-genuine" / "capture.pcapng").read_bytes()


def zstd(data):
    out = io.BytesIO()
    module = __import__(_zstd(io.BytesIO(b"\x28\xb5\x2f\xfd")).__class__.__module__, fromlist=["ZstdFile"])
    with module.ZstdFile(out, "w") as file:
        file.write(data)
    return out.getvalue()


def lz4(data):
    from lz4 import frame

    assert _lz4
    return frame.compress(data)


def zipped(**members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "/"), data)
    return out.getvalue()


def tarred(**members):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def reports(path, *options):
    done = run("analyze", "--json", *options, str(path))
    return done, [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zstd, lz4], ids=lambda f: f.__name__)
def test_compressed(pack, tmp_path):
    path = tmp_path / "packed"
    path.write_bytes(pack(QAZNET))
    done, (document,) = reports(path)
    assert done.returncode == 0
    assert [c["state"] for c in document["connections"]] == ["genuine", "intercepted", "genuine"]
    assert document["capture"]["compression"]


@pytest.mark.parametrize("outer", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("pack", [zipped, tarred])
def test_archives_give_each_member_by_its_name(pack, outer, tmp_path):
    path = tmp_path / "evidence"
    path.write_bytes(outer(pack(readme=b"a text file", one=QAZNET, two=gzip.compress(GENUINE))))
    done, documents = reports(path)
    assert done.returncode == 0, done.stderr
    assert [d["summary"]["connections"] for d in documents] == [3, 1]
    lines = [json.loads(line) for line in run("handshakes", str(path)).stdout.splitlines()]
    assert [line["file"] for line in lines if line["record"] == "file"] == ["one", "two"]
    assert b"evidence/one" in run("analyze", str(path)).stdout


def test_an_archive_in_an_archive_is_not_opened(tmp_path):
    path = tmp_path / "nested.zip"
    path.write_bytes(zipped(inner=zipped(one=QAZNET)))
    done, documents = reports(path)
    assert done.returncode == 3
    assert documents == []
    assert b"inside an archive is not read" in done.stderr


def test_names_inside_an_archive_are_only_shown(tmp_path):
    path = tmp_path / "tricky.zip"
    path.write_bytes(zipped(**{"..__..__etc__\x1b[31mpasswd": QAZNET}))
    done = run("analyze", str(path))
    assert done.returncode == 0
    assert b"\x1b" not in done.stdout
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["tricky.zip"]


def test_a_bomb_spread_over_members_is_refused(tmp_path):
    path = tmp_path / "bomb.zip"
    path.write_bytes(zipped(**{f"m{i}": b"\0" * (30 << 20) for i in range(4)}))
    done, _ = reports(path)
    assert done.returncode == 3
    assert b"refused" in done.stderr


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, zstd, lz4, zipped, tarred], ids=lambda f: f.__name__)
@pytest.mark.parametrize("cut", [3, 40, 2_000])
def test_damage_is_told(pack, cut, tmp_path):
    path = tmp_path / "cut"
    whole = pack(one=QAZNET) if pack in (zipped, tarred) else pack(QAZNET)
    path.write_bytes(whole[:-cut])
    done = run("analyze", str(path))
    assert b"Traceback" not in done.stderr
    assert done.returncode in (0, 3)
    assert done.stdout or done.stderr


RUNS = (CAPTURES / "lab-kz-three-runs" / "capture.pcap").read_bytes()


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zstd, lz4], ids=lambda f: f.__name__)
@pytest.mark.parametrize("in_tar", [False, True])
@pytest.mark.parametrize("cut", [0.5, 0.9])
def test_of_a_compressed_file_that_is_cut_all_is_read_that_is_there(pack, in_tar, cut, tmp_path):
    """Up to the last block: a disk that filled up, an upload that broke off. The last read keeps what it had."""
    chance, data = random.Random(1), RUNS[:24]
    for _ in range(40):  # noise between, or the copies come to nothing
        data += RUNS[24:] + struct.pack("<IIII", 1_563_613_942, 0, 60_000, 60_000) + chance.randbytes(60_000)
    whole = pack(tarred(one=data) if in_tar else data)
    path = tmp_path / "cut"
    path.write_bytes(whole[: int(len(whole) * cut)])
    done, documents = reports(path)
    assert [note["kind"] for note in documents[0]["capture"]["notes"]].count("damaged") == 1
    assert documents[0]["capture"]["packets"]["read"] > 500 * 40 * (cut - 0.4)
    assert done.returncode == (3 if in_tar else 0), "of the archive itself the rest is missing"


@pytest.mark.parametrize("pack", [bz2.compress, zstd], ids=lambda f: f.__name__)
def test_a_compressed_file_of_which_nothing_is_left_is_damaged_and_no_empty_file(pack, tmp_path):
    path = tmp_path / "cut"
    path.write_bytes(pack(RUNS)[:2_000])
    done, documents = reports(path)
    assert (done.returncode, documents) == (3, [])
    assert b"of which nothing can be unpacked" in done.stderr


def test_an_encrypted_member_is_told_so(tmp_path):
    path = tmp_path / "locked.zip"
    whole = bytearray(zipped(one=QAZNET))
    for magic, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        whole[whole.index(magic) + at] |= 1
    path.write_bytes(whole)
    done, _ = reports(path)
    assert done.returncode == 3
    assert b"one: a member that cannot be unpacked: it is encrypted" in done.stderr


def test_a_bomb_in_layers_is_refused_by_what_came_in(tmp_path):
    """Zeros, compressed, in an archive: each layer's ratio is within bounds, that of both together is not."""
    # Huffman codes alone: eight to one, and what comes of it repeats itself for the next layer.
    packer = zlib.compressobj(9, zlib.DEFLATED, 31, 9, zlib.Z_HUFFMAN_ONLY)
    member = packer.compress(bytes(100 << 20)) + packer.flush()
    assert len(member) > (100 << 20) / 10
    path = tmp_path / "layers.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.gz", member)
    assert path.stat().st_size < 50_000
    done, documents = reports(path)
    assert done.returncode == 3
    assert documents == []
    assert b"refused" in done.stderr


def test_each_page_of_a_map_is_given_back_once_a_pass():
    asked = []

    class Map(mmap.mmap):
        def madvise(self, option, start, length):
            asked.append((start // mmap.PAGESIZE, length // mmap.PAGESIZE))

    source = Source(Map(-1, 8 * mmap.PAGESIZE), 8 * mmap.PAGESIZE, None, None, [])
    for page in (0, 0.5, 3, 3, 3.9, 5, 1, 2):
        source.release(int(page * mmap.PAGESIZE))
    assert asked == [(0, 3), (3, 2), (0, 1), (1, 1)]


def test_a_file_that_shrinks_while_it_is_read(tmp_path):
    """In a process of its own: to touch a page of the map behind the end of the file would end it (SIGBUS)."""
    path = tmp_path / "capture.pcap"
    path.write_bytes((CAPTURES / "lab-kz-three-runs" / "capture.pcap").read_bytes())
    script = """
import os, sys
from kzpcap.analysis import Reading
from kzpcap.capture import scan
scan.MAX_WINDOW = 8_192
reading = Reading(sys.argv[1], want_digest=False)
flows = reading.flows(lambda done, size: os.truncate(sys.argv[1], min(os.path.getsize(sys.argv[1]), 40_960)))
found = sum(1 for _ in flows)
print(found, reading.scanner.packets, [note.kind for note in reading.notes.kept], reading.records.truncated)
"""
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found, packets, rest = done.stdout.split(" ", 2)
    assert int(found) > 10
    assert int(packets) > 100
    assert rest.strip() == "['cut-short', 'cut-short'] True", "what the file lost, and the record that was cut by it"


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress], ids=["gzip", "bzip2", "xz"])
@pytest.mark.parametrize("behind", [1, 3, 5])
def test_a_wrong_byte_at_the_very_end_costs_next_to_nothing(pack, behind, tmp_path):
    """It is the check of the whole that fails: what was unpacked before it is there, and is kept."""
    noise = random.Random(5).randbytes(300_000)
    damaged = bytearray(pack(noise))
    damaged[-behind] ^= 1
    notes, target = Notes(), io.BytesIO()
    held = io.BytesIO(bytes(damaged))
    opener = next(opener for magic, (_, opener) in UNPACKERS.items() if damaged.startswith(magic))
    copy(opener(held), target, 1 << 30, None, notes)
    assert len(target.getvalue()) > len(noise) - 4_096
    assert noise.startswith(target.getvalue())


def test_a_full_disk_is_told_of_the_file_that_was_unpacked(tmp_path):
    """Nothing is written again while the temporary file is closed, which would be another error, of no file's."""
    import resource

    path = tmp_path / "long.pcap.gz"
    path.write_bytes(gzip.compress(random.Random(3).randbytes(6_000_000), 1))
    done = subprocess.run(
        [sys.executable, "-m", "kzpcap", "analyze", str(path)],
        capture_output=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2_500_000, 2_500_000)),
        check=False,
    )
    assert done.returncode == 3
    assert b"long.pcap.gz: no room to unpack it" in done.stderr
