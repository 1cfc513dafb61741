"""The laboratory's captures: what kzpcap says of each equals what the laboratory did."""

from __future__ import annotations

import ipaddress
import json
import os
import platform
from pathlib import Path

import dpkt
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
    found = {}
    for connection in document["connections"]:
        where = key(connection["server"]["address"], connection["client"]["port"])
        assert where not in found, f"{where} is reported twice"
        found[where] = connection
    return found


def identity(connection):
    return (connection["interceptor"] or {}).get("identity", "nobody")


def wrong_connections(truth, document):
    """Each difference between what is said of a connection and what was done."""
    said = by_key(document)
    for expected in truth["connections"]:
        who = f"{expected['server_name']} from port {expected['client_port']} ({expected['happened']})"
        connection = said.pop(key(expected["server"], expected["client_port"]), None)
        if connection is None:
            # A lone SYN is no connection.
            if expected.get("connected", True):
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


def accusations(truth, document, supplied, trusted):
    """Somebody named, or something said of somebody, without cause; and what was done to the volunteer explained away.

    Without the trusted root nothing is known to be genuine, so that what fits interception may be called so.
    """
    happened = {key(known["server"], known["client_port"]): known for known in truth["connections"]}
    beyond = truth["laboratory"].get("beyond_the_box")
    for where, connection in by_key(document).items():
        known = happened.get(where, {"happened": "nothing", "state": ["undetermined"]})
        name = f"{connection['server_name']} from port {where[0]}"
        state, who, done = connection["state"], identity(connection), known["happened"]
        if state == "intercepted" and (done != "intercepted" or beyond):
            yield f"false accusation: {name} is intercepted"
        if state in ("suspected", "interfered") and trusted and done not in ("intercepted", "blocked"):
            yield f"false accusation: {name} is {state}"
        allowed = {"nobody", "unknown", *known.get("identity", ())} - (set() if supplied else {"supplied_ca"})
        if who not in allowed:
            yield f"false accusation: {name} is by {who}"
        if state == "genuine" and done in ("intercepted", "blocked", "other server") and not beyond:
            yield f"false exculpation: {name} is genuine"
        at_the_volunteer = connection["place"]["where"] == "volunteer_side"
        if at_the_volunteer and not (known.get("interceptor") or {}).get("own_network"):
            yield f"false exculpation: {name} is placed on the volunteer's side"


def wrong_places(truth, document):
    """A place that is not so: a ladder's hop or bound, an edge of a connection of which no ladder shows one."""
    known = {(ladder["server"], ladder["server_name"]): ladder for ladder in truth["ladders"]}
    bounds = {}
    for ladder in document["ladders"]:
        where = (ladder["server"]["address"], ladder["server_name"])
        expected = known.get(where, {})
        bounds[where] = ladder["bound"]
        if ladder["interceptor_ttl"] is None:
            continue
        for name in ("interceptor_ttl", "bound", "last_clean_hop", "first_intercepted_hop"):
            value = expected.get(name)
            allowed = value["any_of"] if isinstance(value, dict) and "any_of" in value else [value]
            if not any(fits(ladder[name], one) for one in allowed):
                yield f"false place: {where[1]}: {name} {ladder[name]}, not {value}"
    happened = {key(one["server"], one["client_port"]): one for one in truth["connections"]}
    for where, connection in by_key(document).items():
        place = connection["place"]
        if place["where"] in ("unknown", "volunteer_side"):
            continue
        server = (connection["server"]["address"], connection["server_name"])
        expected = happened.get(where, {"happened": "nothing"})
        if expected["happened"] not in ("intercepted", "blocked") or server not in known:
            yield f"false place: {server[1]} from port {where[0]} is at {place['where']}"
        elif place["bound"] != bounds.get(server):
            yield f"false place: {server[1]} from port {where[0]} is {place['bound']}"


@pytest.mark.parametrize("directory", DIRECTORIES, ids=lambda path: path.name)
def test_truth(directory, record_property):
    truth = json.loads((directory / "truth.json").read_text())
    document = analyse(directory, truth)
    wrong = [*wrong_connections(truth, document), *wrong_ladders(truth, document)]
    counted = [*accusations(truth, document, True, True), *wrong_places(truth, document)]
    record_property("lab", [len(truth["connections"]), len(truth["ladders"]), counted])
    assert not wrong + counted, "\n".join(wrong + counted)


@pytest.mark.parametrize(
    "without", [["interception_ca"], ["interception_ca", "trusted_root"]], ids=["no CA", "no root"]
)
@pytest.mark.parametrize("directory", DIRECTORIES, ids=lambda path: path.name)
def test_nobody_is_accused_or_cleared_without_cause(directory, without, record_property):
    truth = json.loads((directory / "truth.json").read_text())
    document = analyse(directory, truth, *without)
    counted = [*accusations(truth, document, False, "trusted_root" not in without), *wrong_places(truth, document)]
    record_property("lab", [0, 0, counted])
    assert not counted, "\n".join(counted)


@pytest.mark.parametrize("directory", DIRECTORIES, ids=lambda path: path.name)
def test_is_small_and_explained(directory):
    assert max(path.stat().st_size for path in directory.iterdir()) < 300_000
    title, text, *_ = (directory / "README.md").read_text().split("\n\n")
    assert len(text) > 60
    assert not text.startswith("Recorded by")
    document = json.loads((directory / "truth.json").read_text())
    assert title == f"# {document['title']}"
    assert document["connections"]
    assert all(known["state"] for known in document["connections"])


def test_there_are_enough_and_not_too_large():
    assert len(DIRECTORIES) >= 40
    assert sum(path.stat().st_size for path in CAPTURES.rglob("*") if path.is_file()) < 8_000_000


def test_nothing_tells_of_the_machine_that_recorded():
    for path in CAPTURES.glob("lab-*/*"):
        data = path.read_bytes()
        assert b"Linux " not in data or path.suffix == ".json", path
        assert platform.release().encode() not in data
        assert platform.node().encode() + b"." not in data


def hello_and_answer(path, port):
    """The first bytes that each side of a connection sent."""
    first = {}
    with path.open("rb") as file:
        for _, raw in dpkt.pcap.Reader(file):
            packet = dpkt.ethernet.Ethernet(raw).data
            tcp = packet.data if isinstance(packet, dpkt.ip.IP) else None
            if isinstance(tcp, dpkt.tcp.TCP) and port in (tcp.sport, tcp.dport) and tcp.data:
                first.setdefault(tcp.sport == port, bytes(tcp.data))
    return first[True], first[False]


def test_equal_randoms_on_both_sides_of_a_box():
    """What lab-forwarded-hello is for: read here without kzpcap."""
    folder = CAPTURES / "lab-forwarded-hello"
    truth = json.loads((folder / "truth.json").read_text())
    ports = [known["client_port"] for known in truth["connections"] if known["happened"] == "intercepted"]
    assert len(ports) == 2
    for port in ports:
        client, server = (hello_and_answer(folder / name, port) for name in ("capture.pcap", "server.pcap"))
        assert client[0][11:43] == server[0][11:43]
        assert client[1][11:43] != server[1][11:43]
