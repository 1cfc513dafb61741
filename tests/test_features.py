"""What features.py declares of facts, held against the facts: nothing may be settled that asking would show."""

from __future__ import annotations

import random

import pytest

from kzpcap.analysis import analyze
from kzpcap.observations import Observation
from kzpcap.reference import load
from kzpcap.verdict import plans
from kzpcap.verdict.features import NEEDS, features_of
from kzpcap.verdict.judge import judge
from kzpcap.verdict.logic import Combined
from kzpcap.verdict.rules import REMARKS, RULES
from tests.conftest import CAPTURES, LAB

PATHS = sorted(CAPTURES.glob("*/capture.pcap*")) + sorted(
    path for path in (LAB / "captures").glob("*") if path.suffix in (".pcap", ".pcapng")
)


def single(asked):
    return {fact for part in asked.facts for fact in single(part)} if isinstance(asked, Combined) else {asked}


FACTS = {fact for rule in RULES for fact in single(rule.when)} | set(REMARKS)


def test_facts_declare_what_they_need():
    declared = [fact for fact in FACTS if NEEDS.get(fact)]
    assert len(declared) > len(FACTS) * 2 // 3


@pytest.mark.parametrize("path", PATHS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_plans_settle_nothing_that_asking_would_show(path, monkeypatch):
    report = analyze(str(path), load(), want_digest=False)
    surroundings = report.surroundings
    first = {}
    asked = 0
    for observation in report.spill:
        features = features_of(observation, surroundings)
        for fact in FACTS:
            if NEEDS.get(fact, 0) & ~features:
                found = fact(observation, surroundings)
                assert found == first.setdefault((features, fact), found)
                asked += 1
    assert asked or not len(report.spill)
    with_plans = [judge(observation, surroundings) for observation in report.spill]
    monkeypatch.setattr(plans, "NEEDS", {})
    plans.forget(surroundings)
    assert [judge(observation, surroundings) for observation in report.spill] == with_plans
    report.close()


FIELDS = [name for name in Observation._fields if name != "number"]
NOTHING = Observation._field_defaults | {
    "syn": None,
    "syn_ack": None,
    "server_marks": (),
    "resets": (),
    "client_resets": (),
    "absent": None,
    "client_stamps": None,
    "odd_acks": (),
    "time_ns": 0,
}


@pytest.mark.parametrize("path", PATHS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_declarations_hold_for_connections_that_nobody_has_seen(path):
    """Each with some of another's fields, or without some: a capture to come may hold what none of these does."""
    report = analyze(str(path), load(), want_digest=False)
    surroundings, known = report.surroundings, list(report.spill)
    chance = random.Random(path.parent.name)
    first = {}
    for _ in range(60 if known else 0):
        observation = chance.choice(known)
        for name in chance.sample(FIELDS, chance.randint(0, 4)):
            other = getattr(chance.choice(known), name)
            observation = observation._replace(**{name: chance.choice([other, NOTHING.get(name, other)])})
        features = features_of(observation, surroundings)
        for fact in FACTS:
            if NEEDS.get(fact, 0) & ~features:
                found = fact(observation, surroundings)
                assert found == first.setdefault((features, fact), found), fact
    report.close()
