"""Where the tests find the captures of others, and how they run kzpcap in both of its forms."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).parent.parent
CAPTURES = ROOT / "captures"
CORPUS = Path(os.environ.get("KZPCAP_CORPUS", ROOT.parent / "shared" / "corpus"))
LAB = Path(os.environ.get("KZPCAP_LAB", ROOT.parent / "shared" / "lab"))

settings.register_profile("loaded", deadline=None)  # a machine that is busy is no fault of the code's
settings.load_profile("loaded")


def corpus_files() -> list[Path]:
    """Every capture of the corpus; skips with a count where it is absent."""
    found = sorted([*(CORPUS / "files").glob("*"), *(CORPUS / "malformed").glob("*")])
    if not found:
        pytest.skip(f"0 captures of the corpus at {CORPUS}: set KZPCAP_CORPUS")
    return found


def lab_files() -> list[Path]:
    found = sorted(path for path in (LAB / "captures").glob("*") if path.suffix in (".pcap", ".pcapng"))
    if not found:
        pytest.skip(f"0 captures of the laboratory at {LAB}: set KZPCAP_LAB")
    return found


def run(*arguments: str, interpreted: bool = False, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run the command line in a process of its own; `interpreted` without the compiled modules."""
    start = (
        [sys.executable, str(ROOT / "tests" / "interpreted.py")] if interpreted else [sys.executable, "-m", "kzpcap"]
    )
    return subprocess.run([*start, *arguments], capture_output=True, check=False, input=stdin, cwd=ROOT, timeout=600)


def is_compiled() -> bool:
    import kzpcap.capture.scan

    return not str(kzpcap.capture.scan.__file__).endswith(".py")


SOME = ["kz-2019-rcku", "kz-2019-ladder", "lab-clean", "lab-kz-take-over", "tricks", "block-page"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A service for volunteers in a process of its own."""
    from tests.service import Server

    found = Server(tmp_path_factory.mktemp("service"), max_file=8 << 20)
    yield found
    found.stop()


@pytest.fixture
def disk(tmp_path):
    """A disk of unknown origin: captures under wrong names, in an archive, compressed, and other things."""
    folder = tmp_path / "disk"
    (folder / "deep" / "er").mkdir(parents=True)
    for number, name in enumerate(SOME[:4]):
        source = next(CAPTURES.glob(f"{name}/capture.pcap*"))
        shutil.copy(source, folder / ("holiday.jpg" if number == 0 else f"{number}.bin"))
    with tarfile.open(folder / "deep" / "backup.tgz", "w:gz") as archive:
        archive.add(CAPTURES / "tricks" / "capture.pcapng", "inside/one.dat")
        archive.add(CAPTURES / "tricks" / "README.md", "inside/README.md")
    shutil.copy(CAPTURES / "block-page" / "capture.pcapng", folder / "deep" / "er" / "x")
    (folder / "notes.txt").write_text("nothing")
    (folder / "empty").touch()
    return folder


def told(case):
    """What custody says of each capture: the same set, however often the run was cut off."""
    from kzpcap.cases import custody
    from kzpcap.cases.store import Case

    return {
        (line["sha256"], log.lines[0]["analysis"], json.dumps(line["results"]))
        for log in custody.logs(Case(case))
        for line in log.lines
        if line["what"] == "capture" and line.get("results")
    }


def judged(case, *paths, **more):
    """Judge paths into a case, with two workers."""
    from kzpcap.cases.pool import Limits
    from kzpcap.cases.runner import batch
    from kzpcap.cases.store import Case
    from kzpcap.cases.work import Settings

    return batch(Case.create(Path(case)), [str(path) for path in paths], Settings(), 2, Limits(), **more)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What the laboratory's captures counted up to, over all processes."""
    seen = [
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", "") == "call"
        for name, value in report.user_properties
        if name == "lab"
    ]
    if not seen:
        return
    counted = [text for _, _, texts in seen for text in texts]
    kinds = ("false accusation", "false exculpation", "false place")
    counts = ", ".join(f"{kind}s {sum(text.startswith(kind) for text in counted)}" for kind in kinds)
    connections, ladders = sum(value[0] for value in seen), sum(value[1] for value in seen)
    terminalreporter.write_line(f"laboratory: {connections} connections, {ladders} ladders; {counts}")


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
NO_BROWSER = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (Debian: chromium)")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield found
        found.close()
