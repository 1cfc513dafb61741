"""`analyze --html`: the report in one file: no script, nothing loaded, and nothing of a capture unescaped."""

from __future__ import annotations

import hashlib
import json
import re

import pytest

from tests.conftest import CAPTURES, run

pytest.importorskip("jinja2")


def made(tmp_path, directory):
    capture = next((CAPTURES / directory).glob("capture.pcap*"))
    path = tmp_path / "report.html"
    done = run("analyze", str(capture), "--html", str(path))
    assert done.returncode in (0, 2, 3), done.stderr
    return capture, path.read_text()


@pytest.mark.parametrize("directory", ["kz-2019-ladder", "lab-kz-take-over", "lab-clean", "lab-masked-box", "tricks"])
def test_one_file_that_loads_nothing(tmp_path, directory):
    _, page = made(tmp_path, directory)
    assert page.lstrip().startswith("<!doctype html>")
    assert "<script" not in page.lower()
    assert not re.search(r"""\b(?:src|href|action|poster)\s*=\s*(?:"(?!#)|'(?!#)|[^"'#\s])""", page, re.IGNORECASE)
    assert not re.search(r"@import|url\(", page)
    assert not re.search(r"\son[a-z]+\s*=", page, re.IGNORECASE)


def test_it_says_what_the_json_says(tmp_path):
    capture, page = made(tmp_path, "kz-2019-ladder")
    document = json.loads(run("analyze", str(capture), "--json").stdout.splitlines()[0])
    assert document["capture"]["sha256"] in page
    for connection in document["connections"]:
        if connection["state"] == "intercepted":
            assert connection["server_name"] in page
    assert "<svg" in page, "the ladder's path is drawn"


def test_an_existing_file_stays(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("mine")
    capture = next((CAPTURES / "lab-clean").glob("capture.pcap*"))
    done = run("analyze", str(capture), "--html", str(path))
    assert done.returncode == 2
    assert b"exists already" in done.stderr
    assert path.read_text() == "mine"


def test_what_a_file_is_called_is_escaped(tmp_path):
    capture = next((CAPTURES / "lab-clean").glob("capture.pcap*"))
    strange = tmp_path / f"<img src=x onerror=alert(1)>{capture.suffix}"
    strange.write_bytes(capture.read_bytes())
    path = tmp_path / "report.html"
    run("analyze", str(strange), "--html", str(path))
    page = path.read_text()
    assert "<img" not in page
    assert "&lt;img" in page


def test_it_signs_evidence_as_the_terminal_does(tmp_path):
    """What has one part alone is that part: 'not shown' with a minus below it would say the opposite."""
    capture, page = made(tmp_path, "kz-2019-ladder")
    shown = run("analyze", str(capture), "--explain").stdout.decode()
    assert "+ no conflicting bytes from the server's side" in shown
    sign = re.search(r'aria-label="(\w+)">[^<]*</span>\s*no conflicting bytes from the server', page)
    assert sign.group(1) == "true"
    assert not re.search(r"</span>\s*not shown", page)


def test_it_has_what_the_terminals_findings_have(tmp_path):
    _, page = made(tmp_path, "kz-2019-ladder")
    assert "The certificate of 6 of the intercepted or suspected connections is a published one" in page
    assert "Of the list kz-2019, in force then:" in page
    assert page.count("got the forged certificate</text>") == 6, "at every hop from the box on"
    assert "here: on the way to hop 5" in page


def test_what_was_not_judged_is_told_with_its_reasons(tmp_path):
    page = tmp_path / "page.html"
    (capture,) = (CAPTURES / "lab-squid").glob("capture.pcap*")
    assert run("analyze", "--html", str(page), str(capture)).returncode == 0
    text = " ".join(page.read_text().split())
    assert "6 signed by a private root: <code>CN=LAB Company Gateway CA" in text
    assert "those to names on no list that are genuine, or could not be judged, are counted above" in text


def test_files_that_were_laid_together_are_told_with_their_digests(tmp_path):
    page, digests = tmp_path / "page.html", []
    for name in ("kz-2019-rcku", "clean-ladder"):
        digests.append(hashlib.sha256((CAPTURES / name / "capture.pcapng").read_bytes()).hexdigest())
    files = [str(CAPTURES / name / "capture.pcapng") for name in ("kz-2019-rcku", "clean-ladder")]
    assert run("analyze", "--together", "--html", str(page), *files).returncode == 0
    assert all(digest in page.read_text() for digest in digests)


def test_of_an_archive_of_several_captures_no_page_of_one_stays(tmp_path):
    """A page is of one capture: the first of two is not the answer to what was asked."""
    import tarfile

    with tarfile.open(tmp_path / "two.tar", "w") as archive:
        for name in ("kz-2019-rcku", "clean-ladder"):
            archive.add(CAPTURES / name / "capture.pcapng", f"{name}.pcapng")
    done = run("analyze", str(tmp_path / "two.tar"), "--html", str(tmp_path / "page.html"))
    assert done.returncode == 2
    assert b"one capture only" in done.stderr
    assert not (tmp_path / "page.html").exists()
