"""The corpus of others' captures: recall and precision against independent tools, no crash, no hang, little memory."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time

import pytest

from tests.conftest import CORPUS, ROOT, corpus_files, run

FLOORS = {
    "ClientHello": 99.9,
    "SNI": 99.9,
    "ALPN": 99.9,
    "JA3": 99.5,
    "JA4": 99.5,
    "ServerHello": 99.5,
    "CertChain": 99.5,
}
FIRST_CATEGORIES = "tls-plain|tls-clients|tls-server-only|tls-interception-products"


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "out.jsonl"
    done = run("handshakes", *map(str, corpus_files()))
    assert b"Traceback" not in done.stderr
    path.write_bytes(done.stdout)
    return path


def test_the_shipped_list_names_every_capture():
    """Where each is from is in the project, so that others can gather them; the captures are not."""
    files = {path.name: path for path in corpus_files()}
    rows = [line.split("\t") for line in (ROOT / "tests" / "corpus.tsv").read_text().splitlines() if line[0] != "#"]
    assert {row[0] for row in rows} == set(files)
    for name, repository, commit, path, licence, sha256 in rows:
        assert hashlib.sha256(files[name].read_bytes()).hexdigest() == sha256, name
        assert repository.count("/") == 1, name
        assert len(commit) >= 40, name  # a commit, or a release with its digest
        assert path, name
        assert licence, name


def score(output, tmp_path, *options):
    result = tmp_path / "scores.json"
    done = subprocess.run(
        [sys.executable, str(CORPUS / "score.py"), str(output), "--json", str(result), *options],
        capture_output=True,
        text=True,
        check=True,
    )
    print(done.stdout)
    return json.loads(result.read_text())


def shares(counts):
    found, false, missed = counts["tp"], counts["fp"], counts["fn"]
    return 100 * found / (found + false), 100 * found / (found + missed)


@pytest.mark.parametrize("scope", ["core", "all"])
def test_scores(output, tmp_path, scope):
    total = score(output, tmp_path, "--scope", scope)["TOTAL"]
    for metric, floor in FLOORS.items():
        precision, recall = shares(total[metric])
        assert min(precision, recall) >= floor, (metric, precision, recall)
    assert shares(total["ICMP-TE"]) == (100, 100)


def test_scores_of_the_first_categories(output, tmp_path):
    total = score(output, tmp_path, "--category", FIRST_CATEGORIES)["TOTAL"]
    for metric in FLOORS:
        assert min(shares(total[metric])) >= 99, metric


def test_malformed_and_negative_files_end_quickly_and_quietly():
    """Each file by itself: no traceback, under two seconds, under 300 MB."""
    code = (
        "import sys,time\n"
        "from kzpcap import analyze, reference\n"
        "from kzpcap.errors import CaptureError\n"
        "ref = reference.load()\n"
        "for path in sys.argv[1:]:\n"
        "    start = time.monotonic()\n"
        "    try:\n"
        "        report = analyze(path, ref)\n"
        "        judged = list(report.connections())\n"
        "        report.close()\n"
        "    except CaptureError:\n"
        "        pass\n"
        "    assert time.monotonic() - start < 2, path\n"
        "status = open('/proc/self/status').read()\n"  # ru_maxrss would begin with what this process had
        "print(status.split('VmHWM:')[1].split()[0])\n"
    )
    chosen = [
        str(path)
        for path in corpus_files()
        if path.parent.name == "malformed"
        or json.loads((CORPUS / "truth" / f"{path.name}.json").read_text())["category"] == "negative"
    ]
    assert len(chosen) > 250
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code, *chosen], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) < 300_000, "kB of memory"
    assert time.monotonic() - started < 120


@pytest.fixture(scope="module")
def reports():
    """The reports of every whole capture of the corpus."""
    names = [str(path) for path in corpus_files() if path.parent.name == "files"]
    return [json.loads(line) for line in run("analyze", "--json", "--no-digest", *names).stdout.splitlines()]


def test_nobody_is_accused_in_the_corpus(reports):
    """No capture of the corpus shows a known interception, and none may be called intercepted."""
    intercepted = sum(report["summary"]["states"].get("intercepted", 0) for report in reports)
    named = [name for report in reports for name in report["summary"]["interceptors"] if "known_generation" in name]
    assert (intercepted, named) == (0, [])
    assert len(reports) > 800


def test_no_place_is_told_but_for_the_one_real_blocker(reports):
    """Clean captures get no place; CenTrace's recording of a reset injector is the one ladder that has one."""
    placed = [
        (ladder["server_name"], ladder["interceptor_ttl"])
        for report in reports
        for ladder in report["ladders"]
        if ladder["interceptor_ttl"] is not None
    ]
    assert placed == [("archive.org", 13)]


def test_chains_are_judged_by_the_trust_of_their_day_and_of_today():
    """Recorded in 2016 on the far side of products: the server's own chain, whose root left the bundles in 2017."""
    rows = [json.loads(line) for line in (CORPUS / "manifest.jsonl").read_text().splitlines()] if corpus_files() else []
    paths = [str(CORPUS / "files" / r["file"]) for r in rows if r["category"] == "tls-interception-products"]
    for at, wanted in (
        ((), {("genuine", "publicly-trusted"), ("undetermined", "no-name-sent")}),
        (("--at", "2026-11-22"), {("undetermined", "root-public-at-another-time")}),
    ):
        done = run("analyze", "--json", "--no-digest", *at, *paths)
        reports = [json.loads(line) for line in done.stdout.splitlines()]
        found = [c for report in reports for c in report["connections"] if c["certificates"]]
        assert len(reports) == len(paths)
        assert len(found) > 150
        assert {(c["state"], c["rule_id"]) for c in found} == wanted
