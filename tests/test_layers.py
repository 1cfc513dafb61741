"""The import law: a row may import the rows above it, never its own row's neighbours or below."""

from __future__ import annotations

import ast
from pathlib import Path

import kzpcap
from tests.conftest import ROOT

ROWS = [
    ["errors", "iana", "kept"],
    ["wire", "sealing", "certificates.der", "certificates.signature"],
    ["capture", "certificates.lenient"],
    ["certificates.certificate"],
    ["certificates.names", "certificates.possession", "certificates.seen", "certificates.transparency"],
    ["certificates.staple"],
    ["reference"],
    ["certificates.linkage", "certificates.public_trust", "certificates.resigned", "flows"],
    ["certificates.chains"],
    ["tls"],
    ["paths"],
    ["clock", "dns"],
    ["observations"],
    ["marks"],
    ["absent"],
    ["observer", "unanswered"],
    ["surroundings.profiles", "spill"],
    ["surroundings.briefs", "surroundings.uses"],
    ["surroundings.attempts", "surroundings.responders", "surroundings.signers"],
    ["surroundings.anchors", "surroundings"],
    ["verdict"],
    ["report"],
    ["report.health"],
    ["analysis"],
    ["corroborate", "scrub", "guide"],
    ["cases"],
    ["upload"],
    ["cli_common"],
    ["cli_cases", "cli_inputs", "cli_scrub", "cli_serve"],
    ["cli_analyze", "cli_case_reports", "cli_readings"],
    ["cli"],
    ["__main__"],
]
HOMES = {
    "cryptography": ("certificates", "tls.quic_packet", "tls.secrets"),
    "orjson": ("report.json",),
    "ijson": ("report.document",),
    "typer": (
        "__main__",
        "cli",
        "cli_analyze",
        "cli_cases",
        "cli_case_reports",
        "cli_common",
        "cli_inputs",
        "cli_readings",
        "cli_scrub",
        "cli_serve",
    ),
    "rfc3161_client": ("cases.stamps",),
    "starlette": ("upload",),
    "jinja2": ("upload", "report.html", "report.case_page"),
    "matplotlib": ("report.charts",),
    "python_multipart": ("upload",),
    "h11": ("upload.deadline",),
    "uvicorn": ("cli_serve", "upload.deadline"),
    "pyrage": ("sealing",),
    "distributed": ("cases.cluster",),
    "duckdb": ("cases",),
    "dpkt": ("capture.witnesses",),
    "scapy": ("capture.witnesses",),
    "pyshark": ("capture.witnesses",),
}


OF_THE_LIBRARY = {"kzpcap", *(f"kzpcap.{name}" for name in kzpcap.__all__ if name not in ("__version__", "reference"))}
"""What the package shows to those who use it: its own modules import it from where it is."""


def row_of(module: str) -> tuple[int, str] | None:
    """The row of a module below kzpcap, and the entry it stands under; the package itself has none."""
    best = None
    for number, row in enumerate(ROWS):
        for entry in row:
            if (module == entry or module.startswith(entry + ".")) and (best is None or len(entry) > len(best[1])):
                best = (number, entry)
    return best


def imports(path: Path):
    """(module, at the top level or inside a function, only for type checking) of every import."""
    tree = ast.parse(path.read_text())
    checking = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and getattr(block.test, "id", "") == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names]
        for name in names:
            yield name, id(node) in checking


def modules():
    for path in sorted((ROOT / "kzpcap").rglob("*.py")):
        parts = list(path.relative_to(ROOT / "kzpcap").with_suffix("").parts)
        if parts[-1] == "__init__":
            parts.pop()
        yield ".".join(parts), path


def test_every_module_has_a_row():
    assert [name for name, _ in modules() if name and name != "certificates" and row_of(name) is None] == []


def test_the_import_law():
    broken = []
    for name, path in modules():
        here = row_of(name)
        if here is None:
            continue
        for imported, checking in imports(path):
            if imported.startswith(".") or imported in OF_THE_LIBRARY:
                broken.append(f"{name} imports {imported}, whose module is not named")
            if checking or not imported.startswith("kzpcap."):
                continue
            there = row_of(imported.removeprefix("kzpcap."))
            if there and there[1] != here[1] and there[0] >= here[0]:
                broken.append(f"{name} imports {imported}")
    assert broken == []


def test_imports_of_every_form_are_seen(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(
        "import kzpcap.cases.store\nfrom kzpcap import analyze, cases\nfrom kzpcap.tls import seen\nfrom . import a\n"
        "from .b import c\nfrom .. import d\n\ndef late():\n    import kzpcap.flows as flows\n"
    )
    assert {name for name, _ in imports(path)} == {
        "kzpcap.cases.store",
        "kzpcap.analyze",
        "kzpcap.cases",
        "kzpcap.tls.seen",
        "..a",
        ".b.c",
        "...d",
        "kzpcap.flows",
    }
    assert "kzpcap.analyze" in OF_THE_LIBRARY


def test_third_party_packages_stay_at_home():
    broken = []
    for name, path in modules():
        for imported, _ in imports(path):
            homes = HOMES.get(imported.split(".")[0])
            if homes and not any(name == home or name.startswith(home + ".") for home in homes):
                broken.append(f"{name} imports {imported}")
    assert broken == []
