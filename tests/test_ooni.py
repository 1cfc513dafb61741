"""OONI measurements: their exact keys (0.2.0, df-005, df-006, ts-037), and what the public profile tells."""

from __future__ import annotations

import base64
import json
import sys

import jsonschema
import pytest

from kzpcap.certificates.certificate import parse
from kzpcap.iana import CIPHER_SUITES, suite_name
from tests.build import client_hello_body, extension, message, record, server_hello_body, vector
from tests.conftest import CAPTURES, judged, run

sys.path.insert(0, str(CAPTURES))
from recipes.packets import SPRING_2026, Capture, Connection

TOP = [
    "annotations", "data_format_version", "extensions", "input", "measurement_start_time", "options", "probe_asn",
    "probe_cc", "probe_ip", "probe_network_name", "report_id", "resolver_asn", "resolver_ip", "resolver_network_name",
    "software_name", "software_version", "test_helpers", "test_name", "test_runtime", "test_start_time",
    "test_version", "test_keys",
]  # fmt: skip
HANDSHAKE = [
    "network", "address", "cipher_suite", "failure", "so_error", "negotiated_protocol", "no_tls_verify",
    "peer_certificates", "server_name", "t0", "t", "tags", "tls_version", "transaction_id",
]  # fmt: skip
FAILURES = "connection_re(set|fused)|eof_error|generic_timeout_error|host_unreachable|ssl_[a-z_]+|unknown_failure: .+"
DF_006 = {
    "type": "object",
    "additionalProperties": False,
    "required": [key for key in HANDSHAKE if key != "so_error"],
    "properties": {
        "network": {"enum": ["tcp", "udp"]},
        "address": {"type": "string", "pattern": r"^(\d+\.\d+\.\d+\.\d+|\[[0-9a-f:.]+\]|\[scrubbed\]):\d+$"},
        "cipher_suite": {"type": "string", "pattern": "^(TLS_[A-Z0-9_]+|0x[0-9a-f]{4}|)$"},
        "failure": {"type": ["string", "null"], "pattern": f"^({FAILURES})$"},
        "so_error": {"const": "host_unreachable"},
        "negotiated_protocol": {"type": "string"},
        "no_tls_verify": {"const": True},
        "peer_certificates": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["data", "format"],
                "properties": {"data": {"type": "string"}, "format": {"const": "base64"}},
            },
        },
        "server_name": {"type": "string"},
        "t0": {"type": "number", "minimum": 0},
        "t": {"type": "number", "minimum": 0},
        "tags": {"type": "array", "items": {"type": "string"}},
        "tls_version": {"enum": ["", "SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"]},
        "transaction_id": {"type": "integer", "minimum": 1},
    },
}
DF_005 = {
    "type": "object",
    "additionalProperties": False,
    "required": ["ip", "port", "status", "t0", "t", "tags", "transaction_id"],
    "properties": {
        "ip": {"type": "string"},
        "port": {"type": "integer"},
        "status": {
            "type": "object",
            "additionalProperties": False,
            "required": ["failure", "success"],
            "properties": {"failure": {"type": ["string", "null"]}, "success": {"type": "boolean"}},
        },
        "t0": {"type": "number"},
        "t": {"type": "number"},
        "tags": {"type": "array"},
        "transaction_id": {"type": "integer"},
    },
}
TRACE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["server_name", "iterations"],
    "properties": {
        "server_name": {"type": "string"},
        "iterations": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["ttl", "handshake"],
                "properties": {"ttl": {"type": "integer", "minimum": 1, "maximum": 255}, "handshake": DF_006},
            },
        },
    },
}
TIME = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$"}
MEASUREMENT = {
    "type": "object",
    "additionalProperties": False,
    "required": TOP,
    "properties": {
        "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
        "data_format_version": {"const": "0.2.0"},
        "extensions": {"const": {"netevents": 0, "tcpconnect": 0, "tlshandshake": 0}},
        "input": {"type": ["string", "null"]},
        "measurement_start_time": TIME,
        "options": {"const": []},
        "probe_asn": {"type": "string", "pattern": r"^AS\d+$"},
        "probe_cc": {"type": "string", "pattern": "^[A-Z]{2}$"},
        "probe_ip": {"const": "127.0.0.1"},
        "test_name": {"enum": ["kzpcap", "tlsmiddlebox"]},
        "test_runtime": {"type": "number", "minimum": 0},
        "test_start_time": TIME,
        "test_helpers": {"const": {}},
        "test_keys": {
            "oneOf": [
                {
                    "additionalProperties": False,
                    "required": ["network_events", "queries", "tcp_connect", "tls_handshakes"],
                    "properties": {
                        "network_events": {"const": []},
                        "queries": {"const": []},
                        "tcp_connect": {"type": "array", "items": DF_005},
                        "tls_handshakes": {"type": "array", "items": DF_006, "minItems": 1},
                    },
                },
                {
                    "additionalProperties": False,
                    "required": ["queries", "tcp_connect", "iterative_trace"],
                    "properties": {
                        "queries": {"const": []},
                        "tcp_connect": {"type": "array", "items": DF_005},
                        "iterative_trace": {
                            "type": "array",
                            "minItems": 1,
                            "items": {
                                "additionalProperties": False,
                                "required": ["address", "control_trace", "target_trace"],
                                "properties": {
                                    "address": {"type": "string"}, "control_trace": TRACE, "target_trace": TRACE
                                },
                            },
                        },
                    },
                },
            ]
        },
        **{
            key: {"type": "string"}
            for key in TOP
            if key.startswith(("resolver_", "software_")) or key in ("report_id", "probe_network_name", "test_version")
        },
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Every capture of captures/ as measurements, by both profiles."""
    folder = tmp_path_factory.mktemp("ooni")
    judged(folder / "case", CAPTURES)
    made = {}
    for name, options in (("public", []), ("evidence", ["--evidence"])):
        path = folder / f"{name}.jsonl"
        done = run("case", "ooni", str(folder / "case"), "-o", str(path), *options)
        assert done.returncode == 0, done.stderr.decode()
        made[name] = [json.loads(line) for line in path.read_text().splitlines()]
    return folder / "case", made


def handshakes(measurement):
    keys = measurement["test_keys"]
    yield from keys.get("tls_handshakes", [])
    for trace in keys.get("iterative_trace", []):
        for side in ("control_trace", "target_trace"):
            yield from (one["handshake"] for one in trace[side]["iterations"])


@pytest.mark.parametrize("profile", ["public", "evidence"])
def test_every_measurement_has_exactly_the_keys_of_ooni(written, profile):
    validator = jsonschema.Draft202012Validator(MEASUREMENT)
    measurements = written[1][profile]
    assert {one["test_name"] for one in measurements} == {"kzpcap", "tlsmiddlebox"}
    for one in measurements:
        validator.validate(one)
        assert list(one) == TOP
        for handshake in handshakes(one):
            assert [key for key in HANDSHAKE if key in handshake] == list(handshake)
            for certificate in handshake["peer_certificates"]:
                base64.b64decode(certificate["data"], validate=True)


def test_the_evidence_profile_tells_every_connection(written):
    case, made = written
    reports = [json.loads(path.read_text()) for path in case.glob("results/*/*/report.json")]
    connections = [one for report in reports for one in report["connections"] if one["probe_ttl"] is None]
    told = [one for measurement in made["evidence"] for one in measurement["test_keys"].get("tls_handshakes", [])]
    assert len(told) == len(connections)
    assert sorted(one["server_name"] for one in told) == sorted(one["server_name"] or "" for one in connections)
    ladders = [ladder for report in reports for ladder in report["ladders"]]
    assert sum(one["test_name"] == "tlsmiddlebox" for one in made["evidence"]) == len(ladders)


def test_the_ladder_of_2019_says_where_the_answers_changed(written):
    """A reader of OONI's format finds the same hop: the smallest TTL at which the target got certificates."""
    found = set()
    for measurement in written[1]["evidence"]:
        for trace in measurement["test_keys"].get("iterative_trace", []):
            first = {}
            for side in ("target_trace", "control_trace"):
                answered = [one["ttl"] for one in trace[side]["iterations"] if one["handshake"]["peer_certificates"]]
                first[side] = min(answered, default=None)
            if measurement["measurement_start_time"].startswith("2019-07-20"):
                found.add((trace["target_trace"]["server_name"], first["target_trace"], first["control_trace"]))
    assert ("www.facebook.com", 5, 8) in found
    assert ("vk.com", 8, 8) in found


def test_a_silent_probe_with_icmp_is_host_unreachable(written):
    for measurement in written[1]["evidence"]:
        for handshake in handshakes(measurement):
            if "kzpcap_rule=probe-unanswered" in handshake["tags"]:
                assert handshake["failure"] == "generic_timeout_error"
                assert handshake["peer_certificates"] == []
    routed = [one for measurement in written[1]["evidence"] for one in handshakes(measurement) if "so_error" in one]
    assert len(routed) > 20


def test_the_public_profile_lets_nobody_be_found(written):
    case, made = written
    text = json.dumps(made["public"])
    forged = set()
    for path in case.glob("results/*/*/report.json"):
        report = json.loads(path.read_text())
        for one in report["connections"]:
            if one["state"] in ("intercepted", "suspected") and one["certificates"]:
                forged.add(one["certificates"][0])
            assert f'"{one["server"]["address"]}:' not in text
            assert one["server"]["address"] in ("127.0.0.1", "127.0.0.0/16") or one["server"]["address"] not in text
            if one["server_name"] and not one["target"]:
                assert f'"{one["server_name"]}"' not in text
    shown = {
        parse(base64.b64decode(certificate["data"])).sha256
        for measurement in made["public"]
        for handshake in handshakes(measurement)
        for certificate in handshake["peer_certificates"]
    }
    assert forged
    assert not forged & shown
    issuers = {tag for one in made["public"] for each in handshakes(one) for tag in each["tags"] if "issuer" in tag}
    assert issuers, "the published CA is named in a tag: what stands first in a chain is read as the leaf"
    assert not any(digest in tag for tag in issuers for digest in forged)
    assert all(one["measurement_start_time"].endswith(":00:00") for one in made["public"])
    assert all(handshake["t0"] == 0 for one in made["public"] for handshake in handshakes(one))


def test_one_capture(tmp_path):
    path = tmp_path / "out.jsonl"
    done = run("analyze", "--ooni", str(path), str(CAPTURES / "kz-2019-rcku" / "capture.pcapng"))
    assert done.returncode == 0, done.stderr.decode()
    (measurement,) = map(json.loads, path.read_text().splitlines())
    (handshake,) = measurement["test_keys"]["tls_handshakes"]
    assert handshake["server_name"] == "www.facebook.com"
    assert "kzpcap_state=intercepted" in handshake["tags"]
    assert run("analyze", "--ooni", str(path), str(CAPTURES / "kz-2019-rcku")).returncode == 2, "it exists already"


def test_names_of_suites_are_the_registry_s():
    known = pytest.importorskip("scapy.layers.tls.crypto.suites")._tls_cipher_suites
    assert {suite: known.get(suite) for suite in CIPHER_SUITES} == CIPHER_SUITES
    assert suite_name(0xFAFA) == "0xfafa"


def test_no_name_beside_the_listed_one_and_no_words_of_the_answerers_are_told(tmp_path):
    """The client sent another name first, and who answers chose a protocol that tells of the subscriber."""
    chosen = extension(16, vector(vector(b"IVANOV-77015550000", 1), 2))
    answer = record(22, message(2, server_hello_body(extensions=chosen)) + message(14, b""))
    capture = Capture(SPRING_2026)
    connection = Connection(capture, 50_001)
    connection.open()
    hellos = message(1, client_hello_body(b"private-name.example")) + message(1, client_hello_body(b"vk.com"))
    connection.send(0, record(22, hellos))
    connection.send(1, answer)
    connection.close()
    capture.write(tmp_path / "capture.pcapng")
    assert run("batch", str(tmp_path / "capture.pcapng"), "--case", str(tmp_path / "case")).returncode == 0
    assert run("case", "release", str(tmp_path / "case"), "-o", str(tmp_path / "out")).returncode == 0
    assert run("analyze", str(tmp_path / "capture.pcapng"), "--ooni", str(tmp_path / "out" / "x")).returncode == 0
    texts = b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())
    assert b"vk.com" in texts
    assert b"private-name" not in texts
    assert b"IVANOV" not in texts


def test_when_a_failure_came_is_told(tmp_path):
    """From the ClientHello to the reset, the FIN, the alert or the page: what a probe would have measured (df-006)."""
    path = tmp_path / "out.jsonl"
    capture = CAPTURES / "reset-after-client-hello" / "capture.pcapng"
    assert run("analyze", "--ooni", str(path), "--evidence", str(capture)).returncode == 0
    (measurement,) = map(json.loads, path.read_text().splitlines())
    failed = [one for one in measurement["test_keys"]["tls_handshakes"] if one["failure"]]
    assert {one["failure"] for one in failed} == {"connection_reset", "eof_error"}
    assert all(0.01 < one["t"] - one["t0"] < 0.05 for one in failed)
