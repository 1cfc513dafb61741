"""The laboratory's captures: what kzpcap says of each equals what the laboratory did."""

from __future__ import annotations

import ipaddress
import json
import os
from pathlib import Path

import jsonschema
import pytest

from kzpcap.report.json import schema
from tests.conftest import CAPTURES, run

FOLDER = Path(os.environ.get("KZPCAP_LAB_CAPTURES", CAPTURES))
DIRECTORIES = sorted(
    path.parent for path in FOLDER.glob("*/truth.json") if "laboratory" in json.loads(path.read_text())
)


def analyse(directory, truth, *leave_out):
    options = [
        item
        for name, files in truth["options"].items()
        if name not in leave_out
        for file in files
        for item in (f"--{name.replace('_', '-')}", str(directory / file))
    ]
    done = run("analyze", "--json", "--all", *options, str(directory / truth["capture"]))
    assert done.returncode == 0, done.stderr.decode()
    document = json.loads(done.stdout)
    jsonschema.validate(document, schema())
    return document


def key(address, port):
    return int(port), str(ipaddress.ip_address(address))


def by_key(document):
    return {
        key(connection["server"]["address"], connection["client"]["port"]): connection
        for connection in document["connections"]
    }


def identity(connection):
    return (connection["interceptor"] or {}).get("identity", "nobody")


def wrong_connections(truth, document):
    """Each difference between what is said of a connection and what was done."""
    said = by_key(document)
    for expected in truth["connections"]:
        who = f"{expected['server_name']} from port {expected['client_port']} ({expected['happened']})"
        connection = said.pop(key(expected["server"], expected["client_port"]), None)
        if connection is None:
            if expected["happened"] != "unanswered":
                yield f"{who} is not reported"
            continue
        if connection["state"] not in expected["state"]:
            yield f"{who} is {connection['state']} ({connection['rule_id']}), not {expected['state']}"
        named = connection["state"] in ("intercepted", "suspected") and "identity" in expected
        if named and identity(connection) not in expected["identity"]:
            yield f"{who} is by {identity(connection)}, not {expected['identity']}"
        if "place" in expected and connection["place"]["where"] not in expected["place"]:
            yield f"{who} is at {connection['place']['where']}, not {expected['place']}"
        if expected.get("chain_visible") and connection["certificates"] != expected["chain"]:
            yield f"{who} has the chain {connection['certificates']}, not {expected['chain']}"
    for connection in said.values():
        if connection["state"] in ("intercepted", "suspected", "interfered"):
            yield f"{connection['server_name']}, of which the laboratory knows nothing, is {connection['state']}"


def fits(got, value):
    """Equal, as far as the truth goes into details."""
    if isinstance(value, dict):
        return got is not None and all(got[each] == value[each] for each in value)
    return got == value


def wrong_ladders(truth, document):
    assert len(document["ladders"]) == len(truth["ladders"])
    for expected in truth["ladders"]:
        ladder = next(
            ladder
            for ladder in document["ladders"]
            if ladder["server"]["address"] == expected["server"] and ladder["server_name"] == expected["server_name"]
        )
        for name, value in expected.items():
            got = ladder["server"]["address"] if name == "server" else ladder[name]
            allowed = value["any_of"] if isinstance(value, dict) and "any_of" in value else [value]
            if not any(fits(got, one) for one in allowed):
                yield f"ladder to {expected['server_name']}: {name} {got}, not {value}"


def accusations(truth, document, supplied):
    """Somebody named, or interception said, without cause; and the volunteer's side blamed for the carrier's box."""
    happened = {key(known["server"], known["client_port"]): known for known in truth["connections"]}
    box = truth["laboratory"]["interceptor"] or {}
    for where, connection in by_key(document).items():
        known = happened.get(where, {"happened": "nothing"})
        name = f"{connection['server_name']} from port {where[0]}"
        if connection["state"] == "intercepted" and known["happened"] != "intercepted":
            yield f"false accusation: {name} is intercepted"
        by_the_state = supplied and "supplied_ca" in known.get("identity", [])
        if (identity(connection) == "supplied_ca" and not by_the_state) or identity(connection).startswith("known"):
            yield f"false accusation: {name} is by {identity(connection)}"
        at_the_volunteer = connection["place"]["where"] == "volunteer_side"
        if known["happened"] == "intercepted" and not box.get("own_network") and at_the_volunteer:
            yield f"false exculpation: {name} is placed on the volunteer's side"


def wrong_places(truth, document):
    known = {(ladder["server"], ladder["server_name"]): ladder for ladder in truth["ladders"]}
    for ladder in document["ladders"]:
        expected = known.get((ladder["server"]["address"], ladder["server_name"]))
        if ladder["interceptor_ttl"] is not None and not (expected and expected["interceptor_ttl"] is not None):
            yield f"false place: {ladder['server_name']} at {ladder['interceptor_ttl']}"
        elif expected and expected.get("bound") == "at_or_beyond" and ladder["bound"] == "exact":
            yield f"false place: {ladder['server_name']} is given an edge where only a bound is known"


@pytest.mark.parametrize("directory", DIRECTORIES, ids=lambda path: path.name)
def test_truth(directory, record_property):
    truth = json.loads((directory / "truth.json").read_text())
    document = analyse(directory, truth)
    wrong = [*wrong_connections(truth, document), *wrong_ladders(truth, document)]
    counted = [*accusations(truth, document, True), *wrong_places(truth, document)]
    record_property("lab", [len(truth["connections"]), len(truth["ladders"]), counted])
    assert not wrong + counted, "\n".join(wrong + counted)


@pytest.mark.parametrize(
    "without", [["interception_ca"], ["interception_ca", "trusted_root"]], ids=["no CA", "no root"]
)
@pytest.mark.parametrize("directory", DIRECTORIES, ids=lambda path: path.name)
def test_nobody_is_accused_or_cleared_without_cause(directory, without, record_property):
    truth = json.loads((directory / "truth.json").read_text())
    document = analyse(directory, truth, *without)
    counted = [*accusations(truth, document, False), *wrong_places(truth, document)]
    record_property("lab", [0, 0, counted])
    assert not counted, "\n".join(counted)


@pytest.mark.parametrize("directory", DIRECTORIES, ids=lambda path: path.name)
def test_is_small_and_explained(directory):
    assert max(path.stat().st_size for path in directory.iterdir()) < 300_000
    assert len((directory / "README.md").read_text()) > 200
    document = json.loads((directory / "truth.json").read_text())
    assert document["connections"] and all(known["state"] for known in document["connections"])


def test_there_are_enough():
    assert len(DIRECTORIES) >= 40
