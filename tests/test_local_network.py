"""Suspected interception on the client's own side: which marks it takes, and what rules it out."""

from __future__ import annotations

from types import SimpleNamespace

from kzpcap import analyze, reference
from kzpcap.observations import Observation
from kzpcap.surroundings.signers import NOT_TOLD
from kzpcap.verdict.judge import NOWHERE, Interceptor
from kzpcap.verdict.place import LAN_NS, LadderIndex, on_the_volunteers_side
from kzpcap.verdict.rules import State
from tests.conftest import CAPTURES


def put(report, **changes):
    """Where the first connection of a report would be placed, were it suspected and were this otherwise."""
    connection = next(iter(report.connections()))
    observation = connection.observation._replace(**{k: v for k, v in changes.items() if k in FIELDS})
    verdict = connection.verdict._replace(state=State.SUSPECTED, interceptor=Interceptor("unknown", ""), place=NOWHERE)
    verdict = verdict._replace(**{k: v for k, v in changes.items() if k in ("state", "interceptor")})
    ladders = changes.get("ladders", ())
    return on_the_volunteers_side(verdict, observation, (), report.surroundings, LadderIndex(ladders)).place.where


FIELDS = set(Observation._fields)


def test_a_local_network_needs_every_name_and_short_round_trips():
    """Recorded: a company's gateway at hop 2 signs every name (lab-squid), with and without what the place takes."""
    report = analyze(str(CAPTURES / "lab-squid" / "capture.pcap"), reference.load())
    try:
        observation = next(iter(report.connections())).observation
        signing = report.surroundings.signers.of(observation.client[0])
        assert signing.slowest < LAN_NS, "a laboratory has no distance"
        assert put(report) == "volunteer_side"
        assert put(report, interceptor=Interceptor("known_generation:x", "")) == "unknown", "a known key"
        assert put(report, state=State.UNDETERMINED) == "unknown", "untrusted is not re-signed"
        far = observation.client_hello._replace(ttl=52)
        assert put(report, client_hello=far) == "unknown", "recorded somewhere on the way"
        here = SimpleNamespace(client=observation.client[0], server="", server_name=None, interceptor_ttl=5)
        assert put(report, ladders=(here,)) == "unknown", "a ladder puts it on the path"
        for name, value in (("slowest", LAN_NS), ("issuers", {7, 0}), ("listed", signing.names)):
            kept = getattr(signing, name)
            setattr(signing, name, value)
            assert put(report) == "unknown", name
            setattr(signing, name, kept)
        assert put(report) == "volunteer_side"
    finally:
        report.close()


def test_every_connection_of_the_client_counts_for_a_local_network():
    """TLS 1.3 without keys beside the others: who signs there is not seen, and no SYN is left out."""
    report = analyze(str(CAPTURES / "lab-tls13" / "capture.pcap"), reference.load())
    try:
        (client,) = {observation.client[0] for observation in report.spill}
        signing = report.surroundings.signers.of(client)
        assert signing.issuers == {0}
        assert 0 < signing.slowest < NOT_TOLD
    finally:
        report.close()


def test_a_ttl_alone_puts_nobody_on_the_users_side():
    """Recorded: a debugging proxy at hop 1 (lab-mitmproxy). Who sits on the path can give its answers any TTL."""
    report = analyze(str(CAPTURES / "lab-mitmproxy" / "capture.pcap"), reference.load())
    try:
        observation = next(iter(report.connections())).observation
        signing = report.surroundings.signers.of(observation.client[0])
        signing.issuers.add(0)  # not every name by one issuer: the TTL alone remains
        signing.lowered = True
        assert put(report) == "unknown", "TLS may end far behind who takes the TCP connection"
        facts = report.surroundings.facts_of(observation.chain, observation.time_ns)
        signing.near.add(4711)
        assert put(report) == "unknown", "another issuer is near"
        issuer = report.surroundings.private_issuer(facts)
        signing.near.add(issuer)
        use = report.surroundings.use_of_issuer(facts)
        named, use.others = use.others, set()
        assert put(report) == "unknown", "a carrier's first device chooses by name: no other was signed here"
        use.others = named | {"shop.example"}
        assert put(report) == "volunteer_side"
        slow = observation.syn_ack._replace(time_ns=observation.syn.time_ns + 5_000_000)
        assert put(report, syn_ack=slow) == "unknown", "round trips as to a carrier"
        other = observation.syn_ack._replace(ttl=57)
        assert put(report, syn_ack=other) == "unknown", "only the forged answer came with such a TTL"
        for name, value in (("lowered", False), ("fresh_genuine", True)):
            kept = getattr(signing, name)
            setattr(signing, name, value)
            assert put(report) == "unknown", "an app that rebuilds packets gives all of them that TTL"
            setattr(signing, name, kept)
    finally:
        report.close()
