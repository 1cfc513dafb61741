"""The tables of a case: what can be asked of them, and what cannot be reached through them."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import pytest

from kzpcap.cases import summary, tables
from kzpcap.cases.pool import Limits
from kzpcap.cases.runner import batch
from kzpcap.cases.store import Case
from kzpcap.cases.verify import verify
from kzpcap.cases.work import Settings
from tests.conftest import CAPTURES, judged, run


def asked(case, sql, *options):
    return run("case", "sql", str(case), sql, *options)


def test_sql_over_the_tables_of_a_case(disk, tmp_path):
    pytest.importorskip("duckdb")
    judged(tmp_path / "case", disk)
    total = summary.total(Case.open(tmp_path / "case"))
    done = asked(tmp_path / "case", "SELECT state, count(*) AS n FROM connections GROUP BY state", "--json")
    assert done.returncode == 0, done.stderr.decode()
    assert {row["state"]: row["n"] for row in map(json.loads, done.stdout.splitlines())} == dict(total.states)
    edge = asked(tmp_path / "case", "SELECT before_address, after_address FROM edges WHERE bound='exact'", "--csv")
    assert b"92.47.151.210,95.56.243.92" in edge.stdout
    certificates = asked(tmp_path / "case", "SELECT count(DISTINCT sha256) AS n FROM certificates", "--json")
    assert json.loads(certificates.stdout)["n"] == len(list((tmp_path / "case" / "certificates").iterdir()))
    probes = asked(tmp_path / "case", "SELECT router FROM probes WHERE ttl = 4 AND side = 'target'")
    assert b"92.47.151.210" in probes.stdout
    assert verify(Case.open(tmp_path / "case")).faults == []


def test_every_column_is_documented_and_filled_somewhere(disk, tmp_path):
    pytest.importorskip("duckdb")
    from kzpcap.cases.tables import TABLES, query

    judged(tmp_path / "case", disk, CAPTURES / "resumed-session", CAPTURES / "missing-pieces")
    case = Case.open(tmp_path / "case")
    for table, columns in TABLES.items():
        names, rows = query(case, f"SELECT * FROM {table}")
        assert names == [name for name, _, _ in columns]
        assert all(says for _, _, says in columns)
        filled = {name for row in rows for name, value in zip(names, row, strict=True) if value is not None}
        rare = {"target_in_force", "inferred_hop", "problem", "place_bound"}
        assert set(names) - filled <= rare, table


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('/etc/passwd', header=false, columns={'a': 'VARCHAR'}, delim='')",
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM '/etc/passwd'",
        "COPY connections TO '/tmp/kzpcap-leak.csv'",
        "SELECT 1; SELECT 2",
        "INSTALL httpfs",
        "ATTACH '/tmp/kzpcap-leak.db'",
        "SET enable_external_access = true",
        "DROP VIEW connections",
        "SELECT * FROM read_csv('https://example.org/x.csv')",
        "no sql at all",
        "SELECT * FROM no_such_table",
    ],
)
def test_sql_reaches_nothing_but_the_case(sql, disk, tmp_path):
    pytest.importorskip("duckdb")
    judged(tmp_path / "case", disk / "1.bin")
    done = asked(tmp_path / "case", sql)
    assert done.returncode == 6
    assert b"Traceback" not in done.stderr
    assert not Path("/tmp/kzpcap-leak.csv").exists()
    assert not Path("/tmp/kzpcap-leak.db").exists()


def test_segments_follow_the_results(disk, tmp_path, monkeypatch):
    pytest.importorskip("duckdb")

    monkeypatch.setattr(tables, "SEGMENT", 2)
    judged(tmp_path / "case", disk / "1.bin", disk / "2.bin", disk / "3.bin")
    case = Case.open(tmp_path / "case")
    first = {path.name for path in tables.compact(case)}
    assert len(first) == 2
    assert {path.name for path in tables.compact(case)} == first
    judged(tmp_path / "case", disk)
    second = {path.name for path in tables.compact(case)}
    assert len(second) == 3
    assert len(first & second) == 1, "the full segment stays"
    (count,) = next(iter(tables.query(case, "SELECT count(*) FROM captures")[1]))
    assert count == 6
    segment = case.folder / "segments" / min(second)
    data = (segment / "edges.parquet").read_bytes()
    (segment / "edges.parquet").write_bytes(data[:-1] + b"x")
    assert any("drop the segment" in fault.says for fault in verify(case).faults)
    shutil.rmtree(segment)
    assert {path.name for path in tables.compact(case)} == second
    assert verify(case).faults == []


def test_tables_show_the_last_analysis_and_all_of_them(disk, tmp_path):
    pytest.importorskip("duckdb")
    from kzpcap.cases.tables import query

    judged(tmp_path / "case", disk / "1.bin")
    case = Case.open(tmp_path / "case")
    batch(case, [str(disk / "1.bin")], Settings(keep_addresses=True), 1, Limits())
    assert list(query(case, "SELECT count(*) FROM captures")[1]) == [(1,)]
    assert list(query(case, "SELECT count(*) FROM captures_all")[1]) == [(2,)]
    done = run("case", "summary", str(case.folder), "--analysis", "typo")
    assert done.returncode == 6
    late = "SELECT CAST(CASE WHEN range = 300000 THEN 'a' ELSE '1' END AS INT) FROM range(400000)"
    assert asked(case.folder, late, "--csv").returncode == 6
    assert asked(case.folder, "EXPLAIN ANALYZE COPY (SELECT 1) TO '/tmp/kzpcap-leak.csv'").returncode == 6
    assert asked(case.folder, "SELECT 1 AS a, 2 AS a", "--json").returncode == 6


def test_a_segment_in_the_making_is_open_and_no_fault(disk, tmp_path):
    judged(tmp_path / "case", disk)
    case = Case.open(tmp_path / "case")
    tables.compact(case)
    (case.folder / "segments" / ".new").mkdir()
    found = verify(case)
    assert found.faults == []
    assert [fault.path for fault in found.open] == ["segments/.new"]


def test_who_reads_tables_keeps_them_from_being_made_anew(disk, tmp_path, monkeypatch):
    judged(tmp_path / "case", disk)
    case = Case.open(tmp_path / "case")
    monkeypatch.setattr(tables, "WAIT", 0.2)
    _, reading = tables.query(case, "SELECT count(*) FROM connections")
    (case.folder / "segments" / "half made").mkdir()  # whoever has the segments to himself drops it
    _, beside = tables.query(case, "SELECT count(*) FROM connections")
    assert (case.folder / "segments" / "half made").exists()
    assert list(beside) == list(reading), "made aside meanwhile"
    list(tables.query(case, "SELECT 1")[1])
    assert not (case.folder / "segments" / "half made").exists()


def test_without_room_to_compare_nothing_is_called_wrong(disk, tmp_path, monkeypatch):
    judged(tmp_path / "case", disk)
    case = Case.open(tmp_path / "case")
    tables.compact(case)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tables, "_segment", full)
    found = verify(case)
    assert found.faults == []
    assert [fault.says for fault in found.open] == ["are not compared with the results: no room to make them again"]
