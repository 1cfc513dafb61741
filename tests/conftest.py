"""Where the tests find the captures of others, and how they run kzpcap in both of its forms."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CAPTURES = ROOT / "captures"
CORPUS = Path(os.environ.get("KZPCAP_CORPUS", ROOT.parent / "shared" / "corpus"))
LAB = Path(os.environ.get("KZPCAP_LAB", ROOT.parent / "shared" / "lab"))


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
