"""Single conditions within facts and indexes, each with what differs when it alone is not met."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace

import pytest

from kzpcap import analyze, reference
from kzpcap.certificates.chains import ChainJudge
from kzpcap.certificates.possession import Possession
from kzpcap.certificates.public_trust import PublicTrust
from kzpcap.flows import MAX_CONFLICTS
from kzpcap.observations import Reaction
from kzpcap.reference.targets import Match
from kzpcap.surroundings.anchors import Anchors
from kzpcap.surroundings.briefs import SIGNED, THROUGH, flags_of
from kzpcap.surroundings.profiles import Profile, differences
from kzpcap.surroundings.signers import NEAR_US, Signers, Signing
from kzpcap.verdict.facts import across, hidden, interception, senders
from kzpcap.verdict.identity import product as product_identity
from kzpcap.verdict.judge import NOWHERE, Interceptor
from kzpcap.verdict.place import LadderIndex, on_the_volunteers_side
from kzpcap.verdict.rules import State
from kzpcap.verdict.shapes import shaped_issuer
from tests.conftest import CAPTURES
from tests.test_overstated import lawful


@cache
def first_of(name):
    """The first connection of a capture that showed a chain."""
    (path,) = (CAPTURES / name).glob("capture.pcap*")
    report = analyze(str(path), reference.load(), want_digest=False)
    try:
        return next(one for one in report.connections() if one.observation.chain)
    finally:
        report.close()


@pytest.mark.parametrize(
    ("ttl", "opened", "lowered", "fresh_genuine", "unlisted", "where"),
    [
        (64, 64, True, False, {"shop.example"}, "volunteer_side"),
        (63, 64, True, False, {"shop.example"}, "unknown"),
        (64, 63, True, False, {"shop.example"}, "unknown"),
        (64, 64, False, False, {"shop.example"}, "unknown"),
        (64, 64, True, True, {"shop.example"}, "unknown"),
        (64, 64, True, False, set(), "unknown"),
    ],
    ids=["fresh", "over a router", "SYN-ACK over one", "TTLs mean nothing", "as genuine ones", "listed names alone"],
)
def test_a_local_product_needs_ttls_that_no_genuine_answer_had(ttl, opened, lowered, fresh_genuine, unlisted, where):
    """Names are chosen, and so is a TTL: what puts a product on the user's side is that it looks at no list."""
    seen = first_of("kz-2019-rcku")
    observation = seen.observation._replace(
        server_hello=seen.observation.server_hello._replace(ttl=ttl),
        client_hello=seen.observation.client_hello._replace(ttl=64),
        syn_ack=seen.observation.syn_ack._replace(ttl=opened),
    )
    product = next(one for one in reference.load().products if one.local)
    verdict = seen.verdict._replace(
        state=State.SUSPECTED, interceptor=Interceptor(product_identity(product.id), ""), place=NOWHERE
    )
    signing = Signing(lowered=lowered, fresh_genuine=fresh_genuine)
    around = SimpleNamespace(
        rebuilt=False,
        signers=SimpleNamespace(of=lambda _: signing),
        facts_of=lambda *_: "facts",
        private_issuer=lambda _: 7,
        use_of_issuer=lambda _: SimpleNamespace(others=unlisted),
    )
    assert on_the_volunteers_side(verdict, observation, (product,), around, LadderIndex(())).place.where == where


@pytest.mark.parametrize(("took", "near"), [(NEAR_US, {7}), (NEAR_US + 1, set())])
def test_who_signs_nearby_answers_at_once(took, near):
    rows = SimpleNamespace(
        by_client=SimpleNamespace(of=lambda _: [0]), flags=[SIGNED], took=[1], issuers=[7], answer_took=[took],
        names=[1], servers=[1],
    )  # fmt: skip
    assert Signers(rows).of("192.0.2.1").near == near


@pytest.mark.parametrize(("controls", "value"), [(2, True), (1, None)])
def test_a_hidden_difference_takes_two_controls(controls, value):
    seen = first_of("kz-2019-rcku").observation
    mine = seen._replace(absent=next(iter(hidden.HIDDEN)))
    odd = [(SimpleNamespace(frame=frame), frozenset({"x", "y"})) for frame in (mine.first_frame, 9_999)]
    around = SimpleNamespace(odd_answers=lambda _: odd, control_answers=controls, odd_control=None)
    found = hidden.hidden_answer_differs(mine, around)
    assert found.value is value
    assert (value is None) == ("too few names" in found.says)


@pytest.mark.parametrize(
    ("complete", "verified", "value"), [(True, True, True), (False, True, None), (True, False, None)]
)
def test_an_issuer_for_targets_only_was_seen_whole_and_verified(complete, verified, value):
    seen = first_of("kz-2019-rcku").observation._replace(chain_complete=complete)
    seen = seen._replace(target=Match("rcku.kz", "a-list", exact=True, in_force=True))
    use = SimpleNamespace(
        verified=verified, others=set(), target_names={"a", "b", "c"}, frames=[1, 2, 3], title="of nobody"
    )
    others = SimpleNamespace(trusted_others=lambda _: [4, 5, 6])
    around = SimpleNamespace(issuer_of=lambda _: use, attempts=others)
    assert across.issuer_for_targets_only(seen, around).value is value


@pytest.mark.parametrize("possession", list(Possession))
def test_a_session_behind_a_refuted_chain_is_no_intercepted_one(possession):
    """Whoever shows a published chain without its key, and is found out, issued that session under another's name."""
    seen = first_of("kz-2019-rcku").observation
    chain = tuple(range(2))
    facts = SimpleNamespace(sha1_generation="some", interception=None, public=None, supplied=None)
    around = SimpleNamespace(
        full_handshake=lambda _: SimpleNamespace(
            number=1, chain=chain, time_ns=0, conflicts=(), frame=5, possession=possession, finished_ok=None
        ),
        facts_of=lambda *_: facts,
        intercepted_sessions={},
    )
    found = interception.resumes_intercepted_session(seen._replace(resumed=True), around)
    assert found.value is (possession is not Possession.REFUTED)


def test_an_authoritys_serial_is_its_keys_digest():
    leaf, authority = lawful("www.facebook.com")
    judge = ChainJudge(reference.load(), PublicTrust(reference.DATA / "public_trust"))
    facts = judge.judge((leaf, authority), 0)
    assert shaped_issuer(facts) is facts.links[1]
    other = facts.links[1]._replace(serial="1234")
    assert shaped_issuer(facts._replace(shown=(facts.links[0], other))) is None


def test_more_of_the_client_than_is_recorded_leaves_a_reset_open():
    seen = first_of("kz-2019-rcku").observation
    reset = seen.syn_ack._replace(frame=seen.server_hello.frame + 1, ttl=seen.server_hello.ttl + 20, what="reset")
    mine = seen._replace(resets=(reset,), reaction=Reaction.SILENT)
    for field, value in (("odd_acks", True), ("acknowledged_more", True)):
        found = senders.handshake_reset_by_another_sender(mine._replace(**{field: value}), SimpleNamespace())
        assert (found.value, "acknowledges more" in found.says) == (None, True)


@pytest.mark.parametrize(("count", "value"), [(1, False), (MAX_CONFLICTS - 1, False), (MAX_CONFLICTS, True)])
def test_conflicts_that_were_not_all_kept_may_lie_before_the_certificate(count, value):
    conflicts = tuple((100 + number, 101 + number) for number in range(count))
    assert senders.dispute(conflicts, 50, None, None).value is value


def test_the_size_of_a_flight_is_of_tls13_alone():
    usual = [Profile(10 + number, "203.0.113.1", "a", "s", True, 3_000, False, False, True) for number in range(3)]
    fell = Profile(1, "203.0.113.1", "a", "s", False, 900, False, True, True)
    assert differences(fell, usual) == frozenset()
    assert len(differences(fell._replace(tls13=True, refused=True, fell=False), usual)) == 2


def test_a_disputed_chain_got_through_and_one_that_nobody_signed_did_not():
    seen = first_of("kz-2019-rcku").observation._replace(
        hello_sent=True, proxied=None, reaction=Reaction.WENT_ON, transport="tcp"
    )
    for disputed in (True, False):
        facts = SimpleNamespace(trusted=False, disputed=disputed)
        assert bool(flags_of(seen, facts) & THROUGH) is disputed


@pytest.mark.parametrize("possession", list(Possession))
def test_only_a_server_that_proved_its_key_is_heard_of_the_time(possession):
    seen = first_of("kz-2019-rcku").observation._replace(server_time=1_563_000_000, possession=possession)
    anchors = Anchors()
    anchors.add(seen)
    assert bool(anchors.told) is (possession is Possession.PROVED)
    assert anchors.first
