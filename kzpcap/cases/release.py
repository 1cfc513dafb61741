"""What may be published of a case, as a folder: report, summary, claims, connections, OONI measurements, and what not.

    report.html        the report, public profile
    summary.json       the document that it is made of
    claims.json        the claims, with references to captures left out
    connections.csv    connections to listed names, counted by day, client's network, name, state and rule
    ooni.jsonl         OONI measurements, public profile
    left-out.csv       what was left out, and how much of it
    README.txt         what this is, what it was made of, and the custody digests

A row of `connections.csv` that few networks stand behind is told without the network. Nothing here can be turned back:
the exact evidence stays in the case (`kzpcap scrub --to` encrypts a capture to a named recipient).
"""

from __future__ import annotations

import csv
import json
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from kzpcap import __version__, reference
from kzpcap.cases import claims as claiming
from kzpcap.cases.crossings import NOT_KNOWN, network_of, settled, vantages
from kzpcap.cases.custody import latest, logs, reference_of
from kzpcap.cases.public import AS_NETWORKS, ENOUGH, TOLD, node, public, published_keys, widely_known
from kzpcap.cases.repeats import sound
from kzpcap.cases.store import Case
from kzpcap.cases.summary import reports, total
from kzpcap.cases.tomography import explain
from kzpcap.report.document import Document
from kzpcap.report.names import day_of
from kzpcap.report.ooni import measurements
from kzpcap.report.probing import standing_alone
from kzpcap.report.text import wrap
from kzpcap.report.words import LABORATORY
from kzpcap.verdict.identity import PRODUCT, is_product
from kzpcap.verdict.rules import RULES

COLUMNS = ("day", "client_as", "client_network", "target", "state", "rule_id", "identity", "tls_version", "connections")
ABOUT = """\
What may be published of a case of kzpcap {version}.

Analysis {analysis}
Custody  {heads}

report.html is for reading; summary.json is what it was made of; claims.json has what may be said, under which
conditions, and every alternative with what excludes it; connections.csv counts connections to listed names that are
no probes of a ladder (those are in report.html);
ooni.jsonl is in OONI's data format. left-out.csv counts what was left out so that no operator can find a subscriber:
exact times, ports, server addresses, leaf keys and serials, names on no list, names of captures.
Volunteers are not a sample: no share here is one of a population.
"""


def release(case: Case, place: Path) -> dict[str, int]:
    """Write the folder, which must not exist, and is there when it is whole; what was left out, counted by kind."""
    found = total(case)
    exact = found.document()
    document, left = public(exact, published_keys())
    known = widely_known(exact["across"])
    heads = {log.run: log.head for log in logs(case) if log.head}
    made = {"profile": TOLD, "heads": heads, "reference": reference_of(case, found.analysis), "suppressed": left}
    folder = Path(tempfile.mkdtemp(prefix=".kzpcap-", dir=place.absolute().parent))
    try:
        _write(case, folder, document, made, left, known)
        folder.chmod(0o755)
        folder.rename(place)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return dict(sorted(left.items()))


def _write(
    case: Case,
    folder: Path,
    document: dict[str, Any],
    made: dict[str, Any],
    left: dict[str, int],
    routers: set[str],
) -> None:
    from kzpcap.report.case_page import render

    titles = reference.load().titles
    (folder / "report.html").write_text(render(document, titles, {rule.id: rule.says for rule in RULES}, made), "utf-8")
    _json(folder / "summary.json", document)
    gathered, known = claiming.Gathered(otherwise=document["captures_judged_otherwise"]), published_keys()
    rows = Counter[tuple[str, ...]]()
    behind: dict[str, set[tuple[str, str]]] = {}
    with (folder / "ooni.jsonl").open("x", encoding="utf-8") as file:
        for capture, report in reports(case, latest(case) or ""):
            with sound(capture):
                gathered.add(capture, report)
                _count(report, rows, behind)
                for measurement in measurements(report, case.certificate, False, known):
                    file.write(json.dumps(measurement, ensure_ascii=True, separators=(",", ":")) + "\n")
    dossier = claiming.document(gathered, claiming.claims(gathered, titles, explain(settled(gathered.crossings))))
    _json(folder / "claims.json", _public_claims(dossier, routers, left))
    _connections(folder / "connections.csv", rows, behind, left)
    with (folder / "left-out.csv").open("x", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("what", "how many"))
        writer.writerows(sorted(left.items()))
    told = ", ".join(f"{run} {head}" for run, head in made["heads"].items())
    about = ABOUT.format(version=__version__, analysis=document["analysis"], heads=told)
    if document["laboratory"]:
        about = f"{wrap(LABORATORY, 0)}\n\n{about}"
    (folder / "README.txt").write_text(about, "utf-8")


def _json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=True, indent=1) + "\n", "utf-8")


def _count(report: Document, rows: Counter[tuple[str, ...]], behind: dict[str, set[tuple[str, str]]]) -> None:
    alone = standing_alone(report["ladders"])
    for one in report.connections():
        target = one["target"]
        if not target or target["match"] != "exact" or not alone(one):
            continue
        network = network_of(one["client"]["address"])
        system = f"AS{one['client']['asn']}" if one["client"].get("asn") else ""
        identity = one["interceptor"]["identity"] if one["interceptor"] else ""
        row = (day_of(one), system, network, target["name"], one["state"], one["rule_id"])
        rows[*row, PRODUCT if is_product(identity) else identity, one["tls_version"] or ""] += 1
        behind.setdefault(system, set()).add((network, day_of(one)))


def _connections(
    path: Path, rows: Counter[tuple[str, ...]], behind: dict[str, set[tuple[str, str]]], left: dict[str, int]
) -> None:
    """The rows; a client's network is told only where its AS has as many others."""
    networks = {system: {network for network, _ in seen} for system, seen in behind.items()}
    wide = {system for system, seen in networks.items() if system and vantages(seen) >= ENOUGH}
    merged = Counter[tuple[str, ...]]()
    for row, count in rows.items():
        day, system, network, *rest = row
        if system not in wide:
            what = "clients' networks, told as AS alone: fewer than three of that AS are in the case"
            left[what] = left.get(what, 0) + 1
            network = ""
        elif network == NOT_KNOWN:
            network = ""
        merged[day, system, network, *rest] += count
    with path.open("x", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows([*row, count] for row, count in sorted(merged.items()))


def _public_claims(dossier: dict[str, Any], known: set[str], left: dict[str, int]) -> dict[str, Any]:
    """The dossier without captures and frames, its routers told as the report beside it tells them."""
    kept = []
    for claim in dossier["claims"]:
        support = {key: value for key, value in claim["support"].items() if key != "examples"}
        told = {**claim, "support": support}
        if claim["edge"] is not None:
            edge = [node(end, known) for end in claim["edge"]]
            hidden = sum(shown != end for shown, end in zip(edge, claim["edge"], strict=True))
            if hidden:
                left[AS_NETWORKS] = left.get(AS_NETWORKS, 0) + hidden
                told |= {"edge": edge, "says": claiming.through(*edge)}
        kept.append(told)
    return {**dossier, "claims": kept}
