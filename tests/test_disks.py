"""What comes from disks of unknown origin: damaged or joined archives, formats of others, old kinds of pcap."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import json
import shutil
import struct
import subprocess
import tarfile
import time
import zipfile
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kzpcap import analyze, reference
from kzpcap.capture import archive, tars
from kzpcap.capture.container import open_records
from kzpcap.capture.health import Notes
from kzpcap.capture.source import open_all
from kzpcap.errors import CaptureError
from tests.conftest import CAPTURES, run

CLEAN = (CAPTURES / "other-authorities" / "capture.pcapng").read_bytes()
RCKU = (CAPTURES / "kz-2019-rcku" / "capture.pcapng").read_bytes()


def tar(**members):
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as made:
        for name, data in members.items():
            info = tarfile.TarInfo(f"{name}.pcapng")
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
    return body.getvalue()


def zipped(**members):
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as made:
        for name, data in members.items():
            made.writestr(f"{name}.pcapng", data)
    return body.getvalue()


def opened(path):
    """Name behind the path -> the bytes, or what is said instead; and the notes."""
    found = {}
    for name, source, notes in open_all(str(path)):
        if isinstance(source, CaptureError):
            found.setdefault(name.removeprefix(str(path)), []).append(str(source))
        else:
            found[name.removeprefix(str(path))] = bytes(source.raw)
            found["notes of " + name.rpartition("/")[2]] = [note.text for note in notes.kept]
            source.close()
    return found


def second_header(data):
    """Where the header of the second member of a tar is."""
    size = tarfile.nti(data[124:136])
    return 512 + (size + 511) // 512 * 512


def test_behind_a_damaged_header_of_a_tar_it_goes_on(tmp_path):
    data = bytearray(tar(clean=CLEAN, lost=CLEAN, rcku=RCKU))
    at = second_header(data)
    data[at] ^= 1
    (tmp_path / "a.tar").write_bytes(data)
    found = opened(tmp_path / "a.tar")
    assert found["/clean.pcapng"] == CLEAN
    assert found["/rcku.pcapng"] == RCKU
    assert found["/(archive)"] == ["the tar archive is damaged: no header where one should be"]
    done = run("analyze", str(tmp_path / "a.tar"))
    assert done.returncode == 3
    assert f"(offset {at})" in done.stderr.decode()
    assert b"kz-2019-qaznet" in done.stdout


def test_what_is_no_tar_behind_the_end_of_one_is_told(tmp_path):
    (tmp_path / "a.tar").write_bytes(tar(rcku=RCKU) + b"something else" + bytes(20))
    assert opened(tmp_path / "a.tar")["/(archive)"] == ["the tar archive is damaged: no header where one should be"]


def test_joined_tars_are_all_read(tmp_path):
    (tmp_path / "a.tar").write_bytes(tar(one=CLEAN) + tar(two=RCKU) + bytes(4_096) + tar(three=CLEAN))
    found = opened(tmp_path / "a.tar")
    assert [name for name in found if name.startswith("/")] == ["/one.pcapng", "/two.pcapng", "/three.pcapng"]


@pytest.mark.parametrize("flags", [[], ["-p"], ["--format=v7"], ["--format=gnu"], ["--format=pax"], ["--sparse"]])
def test_tars_as_gnu_tar_makes_them(flags, tmp_path):
    if not shutil.which("tar"):
        pytest.skip("no tar")
    name = "a" if "v7" in str(flags) else "a" * 90 + "/" + "b" * 120
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(RCKU + bytes(100_000))
    subprocess.run(["tar", "-C", tmp_path, *flags, "-cf", tmp_path / "t.tar", name], check=True)
    assert opened(tmp_path / "t.tar")[f"/{name}"] == RCKU + bytes(100_000)


def test_a_tar_that_goes_backwards_ends(tmp_path):
    info = tarfile.TarInfo("x.pcap")
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 10 + b"\xfe\x00"  # base 256: -512
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "a.tar").write_bytes(bytes(header) + tar(rcku=RCKU))
    found = opened(tmp_path / "a.tar")
    assert found["/rcku.pcapng"] == RCKU
    assert "damaged" in found["/(archive)"][0]


def test_a_header_hidden_in_data_is_bounded_too(tmp_path):
    """The size of pax leads to a header that stands inside of what the older field takes for data."""
    huge = tarfile.TarInfo("long")
    huge.type, huge.size = b"L", 64 << 20
    inside = huge.tobuf(tarfile.USTAR_FORMAT)
    info = tarfile.TarInfo("x.pcap")
    info.size = len(inside)
    pax = b"10 size=0\n"
    head = tarfile.TarInfo("pax")
    head.type, head.size = b"x", len(pax)
    made = head.tobuf(tarfile.USTAR_FORMAT) + pax + bytes(512 - len(pax)) + info.tobuf(tarfile.USTAR_FORMAT) + inside
    (tmp_path / "a.tar").write_bytes(made + bytes(65 << 20))
    assert "a header of 67,108,864 bytes" in opened(tmp_path / "a.tar")["/(archive)"][0]


def test_case_import_goes_on_behind_damage(tmp_path):
    data = bytearray(tar(clean=CLEAN, lost=CLEAN, rcku=RCKU))
    data[second_header(data)] ^= 1
    (tmp_path / "a.tar").write_bytes(data)
    done = run("case", "import", str(tmp_path / "a.tar"), "--case", str(tmp_path / "case"))
    assert done.returncode == 1
    assert "no header where one should be" in (done.stdout + done.stderr).decode()
    states = run("case", "summary", str(tmp_path / "case"), "--json")
    assert json.loads(states.stdout)["states"]["intercepted"] == 1


def test_what_stands_before_the_members_of_a_zip_is_told(tmp_path):
    first, second = zipped(rcku=RCKU), zipped(clean=CLEAN)
    (tmp_path / "a.zip").write_bytes(first + second)
    found = opened(tmp_path / "a.zip")
    assert found["/clean.pcapng"] == CLEAN
    assert found["/(archive)"] == [
        f"what stands before the members that the zip archive lists: {len(first):,} bytes are not read"
    ]


def test_a_folder_of_a_zip_with_data_is_a_file(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        made.writestr("folder/", b"")
        made.writestr(zipfile.ZipInfo("x/"), RCKU)
    assert {name: data for name, data in opened(tmp_path / "a.zip").items() if name[0] == "/"} == {"/x/": RCKU}


def test_a_zip_that_was_to_be_split_and_fitted(tmp_path):
    with (tmp_path / "a.zip").open("wb") as file:
        file.write(archive.SPLIT)
        with zipfile.ZipFile(file, "a") as made:
            made.writestr("r.pcapng", RCKU)
    found = opened(tmp_path / "a.zip")
    assert found["/r.pcapng"] == RCKU
    assert "/(archive)" not in found


def test_damage_of_a_compressed_archive_is_told_with_each_of_its_captures(tmp_path):
    packed = bytearray(gzip.compress(tar(clean=CLEAN, rcku=RCKU), 0))
    packed[700] ^= 1  # a stored block: only the checksum tells
    (tmp_path / "flipped.tar.gz").write_bytes(packed)
    found = opened(tmp_path / "flipped.tar.gz")
    assert "CRC check failed" in found["/(archive)"][0]
    assert found["/rcku.pcapng"] == RCKU
    for name in ("clean", "rcku"):
        assert any("of the archive: " in text and "CRC" in text for text in found[f"notes of {name}.pcapng"])
    whole = gzip.compress(tar(clean=CLEAN), 0)
    (tmp_path / "cut.tar.gz").write_bytes(whole[:-1_000])
    assert "cut short" in opened(tmp_path / "cut.tar.gz")["/(archive)"][0]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"GMBU" + bytes(200), "a Network Monitor 2 capture, which kzpcap does not read: convert it first"),
        (b"TRSNIFF data    \x1a" + bytes(200), "a Sniffer capture"),
        (b"\x1f\x9d" + bytes(200), "a file of compress (.Z)"),
        (b"\x5d\0\0\x80\0" + b"\xff" * 8 + bytes(9), "an LZMA file"),
        (b"\x51\x2a\x4d\x18" + bytes(200), "begins with a skippable frame"),
        (gzip.compress(gzip.compress(RCKU)), "compressed more than once"),
        (bz2.compress(b"7z\xbc\xaf" + bytes(200)), "a 7z archive"),
        (zipped(x=gzip.compress(gzip.compress(RCKU))), "compressed more than once"),
    ],
    ids=["netmon", "sniffer", "Z", "lzma", "skippable", "gzip in gzip", "7z in bzip2", "gzip in gzip in zip"],
)
def test_what_is_known_and_not_read_is_a_failure_with_its_reason(data, why, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "x").write_bytes(data)
    done = run("batch", str(tmp_path / "disk"), "--case", str(tmp_path / "case"))
    assert done.returncode == 1
    told = " ".join((done.stdout + done.stderr).decode().split())
    assert why in told


def pcap(magic, header, packets, order="<"):
    made = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65_535, 1)
    for second, data in packets:
        made += struct.pack(order + "IIII", second, 7, len(data), len(data)) + bytes(header - 16) + data
    return made


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("magic", "header"),
    [(0xA1B2C3D4, 16), (0xA1B2C3D4, 20), (0xA1B2C3D4, 24), (0xA1B2CD34, 24), (0xA1B2CD34, 28), (0xA1B23C4D, 16)],
)
def test_each_length_of_record_headers(magic, header, order):
    packets = [(1_563_614_000 + number, bytes([number]) * (60 + 7 * number)) for number in range(5)]
    for count in (1, 2, 5):
        raw = pcap(magic, header, packets[:count], order)
        records, seen = open_records(raw, Notes()), []
        while records.advance():
            seen.append((records.time_ns // 10**9, raw[records.offset : records.offset + records.captured]))
        assert seen == packets[:count]


def test_a_usual_pcap_stays_one_whatever_is_in_its_packets():
    """Packets that look like records behind longer headers."""
    inner = struct.pack("<IIII", 1_563_614_000, 7, 60, 60)
    for shift in (4, 8):
        data = bytes(shift) + inner * 40
        raw = pcap(0xA1B2C3D4, 16, [(1_563_614_000, data)] * 3)
        records, seen = open_records(raw, Notes()), 0
        while records.advance():
            assert raw[records.offset : records.offset + records.captured] == data
            seen += 1
        assert seen == 3


def test_the_captures_of_old_kinds_are_judged(tmp_path):
    if not shutil.which("editcap"):
        pytest.skip("no editcap")
    for kind in ("nokiapcap", "rh6_1pcap", "suse6_3pcap", "modpcap"):
        path = tmp_path / kind
        subprocess.run(["editcap", "-F", kind, CAPTURES / "kz-2019-rcku" / "capture.pcapng", path], check=True)
        with analyze(str(path), reference.load()) as report:
            assert [one.verdict.state.value for one in report.connections()].count("intercepted") == 1, kind


def test_a_header_is_one_by_its_checksum():
    assert tars.is_tar(tar(x=b"1")[:512])
    assert not tars.is_tar(bytes(512))
    assert not tars.is_tar(b"ustar")


def test_damage_without_end_and_numbers_without_end_take_no_time(tmp_path):
    head = tarfile.TarInfo("pax")
    head.type, head.size = b"x", 200_000
    digits = head.tobuf(tarfile.USTAR_FORMAT) + b"1" * 200_000 + bytes(-200_000 % 512)
    head.size = 250_000
    chain = head.tobuf(tarfile.USTAR_FORMAT) * 2_048
    for name, data in (("digits.tar", digits + tar(rcku=RCKU)), ("chain.tar", chain)):
        (tmp_path / name).write_bytes(data)
        begun = time.process_time()
        found = opened(tmp_path / name)
        assert time.process_time() - begun < 5, name
        assert len(found["/(archive)"]) <= tars.MAX_DAMAGES + 2
    assert opened(tmp_path / "digits.tar")["/rcku.pcapng"] == RCKU


def test_a_size_beyond_the_file_hides_no_later_member(tmp_path):
    data = bytearray(tar(clean=CLEAN, lost=CLEAN, rcku=RCKU))
    at = second_header(data)
    data[at + 124 : at + 136] = b"%011o\0" % (1 << 30)
    data[at + 148 : at + 156] = b" " * 8
    data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + 512])
    (tmp_path / "a.tar").write_bytes(data)
    found = opened(tmp_path / "a.tar")
    assert found["/rcku.pcapng"] == RCKU
    assert "/(archive)" in found


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("behind", [False, True], ids=["sizes before", "sizes behind"])
def test_a_zip_that_was_cut_short_gives_what_is_there(tmp_path, method, behind):
    """Without its directory each member is found by the header before it."""
    whole = io.BytesIO()
    with zipfile.ZipFile(Unseekable(whole) if behind else whole, "w", method) as made:
        for name, data in (("one.pcap", RCKU), ("folder/", b""), ("два.pcap", CLEAN)):
            made.writestr(name, data)
    raw = whole.getvalue()
    if behind and method == zipfile.ZIP_STORED:
        (tmp_path / "a.zip").write_bytes(raw[:-30])
        (found,) = [one for name, one in opened(tmp_path / "a.zip").items() if name == "/one.pcap"]
        assert "told in the directory alone" in found[0]
        return
    (tmp_path / "a.zip").write_bytes(raw[:-30])
    found = opened(tmp_path / "a.zip")
    assert (found["/one.pcap"], found["/два.pcap"]) == (RCKU, CLEAN)
    assert "has lost its directory" in found["/(archive)"][0]
    (tmp_path / "a.zip").write_bytes(raw[: raw.index("два".encode()) + 200])
    found = opened(tmp_path / "a.zip")
    assert found["/one.pcap"] == RCKU
    assert CLEAN.startswith(found["/два.pcap"]) or "cannot" in str(found["/два.pcap"])


class Unseekable(io.RawIOBase):
    """A stream: what is written to it has its size behind it."""

    def __init__(self, file):
        self.file = file

    def writable(self):
        return True

    def write(self, data):
        return self.file.write(data)


@given(st.binary(max_size=400))
def test_no_bytes_break_the_reading_of_local_headers(raw):
    from kzpcap.capture import zips

    for _, found in zips.members(io.BytesIO(b"PK\3\4" + raw)):
        if not isinstance(found, CaptureError):
            with contextlib.suppress(EOFError, zlib.error):
                while found.read1(100):
                    pass
