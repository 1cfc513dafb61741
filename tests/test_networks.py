"""Tables of AS numbers: the shipped one, and one that is given in each format."""

from __future__ import annotations

import contextlib
import gzip
import ipaddress
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kzpcap.errors import ReferenceDataError
from kzpcap.paths.asn_table import open_table
from kzpcap.paths.local import PRIVATE
from kzpcap.paths.networks import Networks
from kzpcap.reference import DATA
from tests.conftest import CAPTURES, run

IPTOASN = (
    "92.46.0.0\t92.47.255.255\t9198\tKZ\tKAZTELECOM-AS\n"
    "10.0.0.0\t10.255.255.255\t0\tNone\tNot routed\n"
    "2a00:5da0::\t2a00:5da7:ffff:ffff:ffff:ffff:ffff:ffff\t9198\tKZ\tKAZTELECOM-AS\n"
)
PREFIX2AS = "92.46.0.0\t15\t9198\n92.47.151.0\t24\t50482_9198\n2a00:5da0::\t29\t9198\n"


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("text", [IPTOASN, PREFIX2AS], ids=["iptoasn", "prefix2as"])
def test_text_tables(text, packed, tmp_path):
    path = tmp_path / "table.tsv"
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    table = open_table(path)
    assert table.get("92.46.1.1")[0] == 9198
    assert table.get("2a00:5da3::1")[0] == 9198
    assert table.get("10.1.1.1") is None
    assert table.get("203.0.113.1") is None
    assert table.get("2001:db8::1") is None


def test_the_longest_prefix_counts_and_every_origin_is_kept(tmp_path):
    path = tmp_path / "prefix2as"
    path.write_text(PREFIX2AS)
    assert open_table(path).get("92.47.151.210") == (50482, "(also AS9198)")
    assert open_table(path).get("92.47.152.210") == (9198, "")


def test_the_shipped_table():
    networks = Networks(DATA / "asn")
    assert networks.of("95.56.243.92").text == "AS9198 Kazakhtelecom"
    assert networks.of("92.47.151.210").asn == 50482
    assert networks.of("192.168.1.1") is None
    assert networks.of("not an address") is None


@pytest.mark.parametrize("block", [*PRIVATE, "fc00:1::/32", "fd12:3456::/32"])
def test_the_shipped_table_has_no_private_address(block):
    """So that it need not be opened for them."""
    networks, network = Networks(DATA / "asn"), ipaddress.ip_network(block)
    step = max(1, network.num_addresses // 512)
    for address in (network[number] for number in range(0, network.num_addresses, step)):
        assert networks.by_each_table(str(address)) == []
        assert networks.of(str(address)) is None


def test_a_given_table_is_told_first_and_the_shipped_one_beside_it(tmp_path):
    path = tmp_path / "routeviews-20190720.pfx2as"
    path.write_text("92.46.0.0\t15\t9198\n95.56.0.0\t14\t9198\n")
    capture = str(CAPTURES / "kz-2019-ladder" / "capture.pcapng")
    text = re.sub(r"\s+", " ", run("analyze", "--asn", str(path), capture).stdout.decode())
    told = "92.47.151.210: AS9198 Kazakhtelecom, routeviews-20190720.pfx2as; AS50482 Kazakhtelecom, iptoasn 2026-09-18;"
    assert told in text
    report = json.loads(run("analyze", "--json", "--asn", str(path), capture).stdout)
    assert report["ladders"][0]["last_clean_hop"]["asn"] == 9198
    assert "asn:routeviews-20190720.pfx2as" in report["reference"]["supplied"]
    given = DATA / "asn" / "iptoasn.mmdb"
    assert run("analyze", "--asn", str(given), capture).returncode == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "0 rows"),
        ("hello world\n", "line 1 is neither"),
        ("92.46.0.0\t99\t9198\n", ":1: .*no prefix length"),
        ("92.46.0.0\t15\t9198\nx\t15\t9198\n", ":2: "),
        ("92.46.0.0\t92.47.0.0\tx\tKZ\tname\n", ":1: "),
        ("92.46.0.0\t15\t_1\n", ":1: .*no prefix length"),
        ("92.46.0.0\t15\t" + "9" * 5_000 + "\n", ":1: .*no prefix length"),
    ],
)
def test_what_is_no_table_is_named(text, message, tmp_path):
    path = tmp_path / "table"
    path.write_text(text)
    with pytest.raises(ReferenceDataError, match=message):
        open_table(path)
    capture = str(CAPTURES / "kz-2019-ladder" / "capture.pcapng")
    assert run("analyze", "--asn", str(path), capture).returncode == 4
    assert run("analyze", "--asn", str(tmp_path / "none"), capture).returncode == 4


@given(st.binary(max_size=200))
def test_any_bytes(raw):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table"
        path.write_bytes(raw)
        with contextlib.suppress(ReferenceDataError):
            open_table(path).get("92.46.1.1")


def test_damage_is_named_before_anything_is_printed(tmp_path):
    capture = str(CAPTURES / "kz-2019-ladder" / "capture.pcapng")
    shipped = (DATA / "asn" / "iptoasn.mmdb").read_bytes()
    for number, raw in enumerate((gzip.compress(IPTOASN.encode())[:-12], b"\x1f\x8b\x08 not gzip", shipped[-400:])):
        path = tmp_path / f"{number}"
        path.write_bytes(raw)
        done = run("analyze", "--json", "--asn", str(path), capture)
        assert (done.returncode, done.stdout) == (4, b""), number
        assert b"Traceback" not in done.stderr


def test_names_of_a_given_table_stay_visible(tmp_path):
    path = tmp_path / "table.tsv"
    path.write_text("92.47.0.0\t92.47.255.255\t1\tKZ\t\x1b[31mred\u202e\n", "utf-8")
    text = run("analyze", "--asn", str(path), str(CAPTURES / "kz-2019-ladder" / "capture.pcapng")).stdout.decode()
    assert "\x1b" not in text
    assert "\u202e" not in text
