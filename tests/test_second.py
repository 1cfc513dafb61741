"""The second judgement: what another capture settles, and that nothing else is raised."""

from __future__ import annotations

import datetime
import hashlib
import json

import pytest

from kzpcap.cases.pool import Limits
from kzpcap.cases.runner import batch
from kzpcap.cases.second import Others, wrong
from kzpcap.cases.store import Case
from kzpcap.cases.summary import total
from kzpcap.cases.verify import verify
from kzpcap.cases.work import Settings
from kzpcap.report.document import Document
from kzpcap.verdict.rules import RULES
from kzpcap.verdict.second import COPY, ISSUER, OPEN_RULES, is_open
from tests.conftest import CAPTURES, LAB, lab_files, run


def test_open_rules_are_rules_of_the_first_judgement():
    ids = {rule.id: rule.state.value for rule in RULES}
    assert all(is_open(ids[rule], rule) for rule in OPEN_RULES)
    assert not is_open("genuine", "publicly-trusted")
    assert not is_open("undetermined", "other-name")


def test_a_twin_in_another_capture_settles_a_copy(tmp_path):
    """A copy and its twin in captures of their own: each alone settles nothing, and the case does."""
    apart = tmp_path / "apart"
    apart.mkdir()
    split(CAPTURES / "resigned-copy" / "capture.pcapng", apart)
    settings = Settings(trusted_roots=(str(CAPTURES / "resigned-copy" / "root.pem"),))
    done = batch(Case.create(tmp_path / "case"), [str(apart)], settings, 2, Limits())
    assert done.outcomes == {"analysed": 4}
    found = total(Case.open(tmp_path / "case"))
    assert found.states["intercepted"] == 0, "no capture by itself"
    raised = [one for one in found.second if one["of_the_case"]["rule_id"] == COPY]
    assert len(raised) == 2, "the two copies, and not the stranger's certificate"
    for one in raised:
        assert one["of_the_case"]["state"] == "intercepted"
        assert one["of_the_capture"]["state"] in ("suspected", "undetermined")
        assert one["beside"]["capture"] != one["capture"]
        assert any("same subject and names" in why for why in one["why"])
    case = tmp_path / "case"
    kept = run("case", "judge", str(case))
    assert kept.returncode == 0, kept.stderr.decode()
    shown = kept.stdout.decode().splitlines()
    assert max(map(len, shown[:-1])) <= 80  # the last one is the folder, as it was given
    (path,) = (case / "judgements").iterdir()
    run("case", "judge", str(case))
    assert [path] == list((case / "judgements").iterdir()), "the same again"
    assert verify(Case.open(case)).faults == []
    assert "intercepted by the case" in run("case", "summary", str(case)).stdout.decode()
    path.write_bytes(path.read_bytes().replace(b"intercepted", b"Intercepted", 1))
    assert [fault for fault, _ in wrong(Case.open(case))] == [f"judgements/{path.name}"]
    assert verify(Case.open(case)).faults


def test_the_laboratory_s_copies_are_found_and_nobody_else_is_raised(tmp_path):
    """With the laboratory's public roots alone: what the case raises was intercepted, by the truth of each capture."""
    files = lab_files()
    settings = Settings(trusted_roots=(str(LAB / "pki" / "public_roots.pem"),))
    done = batch(Case.create(tmp_path / "case"), [str(path) for path in files], settings, 2, Limits())
    assert done.failed == 0
    truths = {}
    for path in files:
        truth = json.loads(path.with_name(path.name + ".truth.json").read_text())
        truths[truth["sha256"]] = truth
    case = Case.open(tmp_path / "case")
    found = total(case)
    wrong_ones, right = [], 0
    for one in found.second:
        (path,) = case.results.glob(f"{one['capture']}/*/report.json")
        (seen,) = [two for two in json.loads(path.read_text())["connections"] if two["frame"] == one["frame"]]
        ports = {seen["client"]["port"], seen["server"]["port"]}
        flows = [flow for flow in truths[one["capture"]]["tls_flows"] if {flow["sport"], flow["dport"]} == ports]
        # A company's proxy is told apart in the truth, and re-signs all the same.
        if flows and all(flow["actual"] == "intercepted" or flow["interceptor"] == "squid" for flow in flows):
            right += 1
        else:
            wrong_ones.append((truths[one["capture"]]["file"], one["frame"], one["why"]))
    assert wrong_ones == []
    assert right >= 39
    assert found.again == 16, "what the laboratory has in several formats, or with and without its keys, counts once"


def split(path, folder):
    """Each connection of a capture as a capture of its own."""
    import dpkt

    files = {}
    with path.open("rb") as file:
        for stamp, frame in dpkt.pcapng.Reader(file):
            tcp = dpkt.ethernet.Ethernet(frame).data.data
            port = max(tcp.sport, tcp.dport)
            files.setdefault(port, []).append((stamp, frame))
    for port, frames in files.items():
        with (folder / f"{port}.pcapng").open("wb") as file:
            writer = dpkt.pcapng.Writer(file)
            for stamp, frame in frames:
                writer.writepkt(frame, ts=stamp)


def report_of(capture, network, name, digest, rule="private-root", state="undetermined"):
    """A stored report with one connection whose chain is (leaf, issuer)."""
    one = {
        "frame": 1,
        "certificates": digest,
        "rule_id": rule,
        "state": state,
        "possession": None,
        "target": {"match": "exact", "name": name},
        "server_name": name,
        "client": {"address": network},
    }
    leaf = {"sha256": digest[0], "subject": f"CN={name}", "dns_names": [name]}
    return Document({"connections": [one], "certificates": {digest[0]: leaf}})


@pytest.mark.parametrize(
    ("networks", "first", "expected"), [(2, 95, 0), (3, 95, 3), (3, 10, 0)], ids=["two", "three", "three private ones"]
)
def test_one_private_issuer_in_three_networks_is_suspected(tmp_path, networks, first, expected):
    case = Case.create(tmp_path / "case")
    root, leaves = authority(["vk.com", "mail.ru", "ok.ru"])
    for der in (root, *leaves.values()):
        case.put_certificate(digest(der), der, case.runs)
    others = Others()
    for number, (name, leaf) in enumerate(list(leaves.items())[:networks]):
        others.add(
            f"c{number}", report_of(f"c{number}", f"{first}.{number}.0.0/16", name, [digest(leaf), digest(root)])
        )
    found = others.judge(case)
    assert len(found) == expected
    assert all(one["of_the_case"]["rule_id"] == ISSUER for one in found)
    assert all(one["of_the_case"]["state"] == "suspected" for one in found)


def test_a_shared_name_is_not_a_shared_key(tmp_path):
    case = Case.create(tmp_path / "case")
    others = Others()
    for number, name in enumerate(["vk.com", "mail.ru", "ok.ru", "mail.kz"]):
        root, leaves = authority([name])  # each with a key of its own under one name
        for der in (root, *leaves.values()):
            case.put_certificate(digest(der), der, case.runs)
        leaf = digest(leaves[name])
        others.add(f"c{number}", report_of(f"c{number}", f"95.{number}.0.0/16", name, [leaf, digest(root)]))
    assert others.judge(case) == []


def digest(der):
    return hashlib.sha256(der).hexdigest()


def authority(names):
    """A private root and its leaves, as DER."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name.from_rfc4514_string("CN=Some Root")
    day = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)

    def sign(subject, public, ca):
        builder = x509.CertificateBuilder().subject_name(x509.Name.from_rfc4514_string(subject)).issuer_name(issuer)
        builder = builder.public_key(public).serial_number(x509.random_serial_number()).not_valid_before(day)
        builder = builder.not_valid_after(day + datetime.timedelta(days=90))
        builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
        return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)

    leaf = ec.generate_private_key(ec.SECP256R1()).public_key()
    return sign("CN=Some Root", key.public_key(), True), {name: sign(f"CN={name}", leaf, False) for name in names}
