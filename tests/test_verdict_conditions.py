"""Single conditions of the verdict that no other test holds, each with what differs when it alone is not met."""

from __future__ import annotations

import datetime
import sys
from types import SimpleNamespace

import pytest

from kzpcap import analyze, reference
from kzpcap.certificates.certificate import parse
from kzpcap.certificates.chains import ChainJudge
from kzpcap.certificates.possession import Possession
from kzpcap.certificates.public_trust import PublicTrust
from kzpcap.reference.targets import Match
from kzpcap.surroundings import take_given
from kzpcap.verdict.facts import hidden, interception, trust
from kzpcap.verdict.shapes import shaped_issuer
from tests.conftest import CAPTURES
from tests.test_conditions import first_of
from tests.test_overstated import lawful
from tests.test_rules import built, rules_of

sys.path.insert(0, str(CAPTURES))
from recipes.packets import SERVER, SPRING_2026
from recipes.tls import Authority, der, pem


@pytest.mark.parametrize(("server", "rule"), [(SERVER, "may-be-resigned-copy"), ("192.168.1.20", "issuer-missing")])
def test_a_second_certificate_on_a_private_network_is_no_likely_copy(server, rule, tmp_path):
    """A site's node inside the house may have a certificate of the house's own CA: nobody is suspected for it."""
    root, house = Authority.make("LAB root", SPRING_2026), Authority.make("LAB house CA", SPRING_2026)
    _, genuine = root.issue(["vk.com"], SPRING_2026, strong=True)
    _, other = house.issue(["vk.com"], SPRING_2026 - datetime.timedelta(hours=6), strong=True)
    path = built(tmp_path, (SERVER, "vk.com", [genuine]), (server, "vk.com", [other]))
    assert rules_of(path, root, tmp_path) == ["trusted-by-supplied-anchor", rule]


@pytest.mark.parametrize(("complete", "value"), [(True, True), (False, False)])
def test_a_chain_that_is_cut_is_no_likely_copy(complete, value):
    """Whose signature is missing may lie in what was cut: nobody is suspected for the end of a capture."""
    seen = first_of("kz-2019-rcku").observation._replace(chain_complete=complete)
    likeness = (None, 7, SimpleNamespace(sentences=list))
    around = SimpleNamespace(
        chain_facts=lambda _: SimpleNamespace(public=None, supplied=None),
        twin=lambda _: None,
        likeness=lambda _: likeness,
    )
    assert interception.may_be_resigned_copy(seen, around).value is value


def test_the_marks_of_an_interception_ca_are_those_of_a_ca():
    """What may sign nothing is no issuer, whatever its serial and its key id look like."""
    leaf, authority = lawful("www.facebook.com")
    facts = ChainJudge(reference.load(), PublicTrust(reference.DATA / "public_trust")).judge((leaf, authority), 0)
    assert shaped_issuer(facts) is not None
    changed = facts.shown[1]._replace(is_ca=False)
    assert shaped_issuer(facts._replace(shown=(facts.shown[0], changed, *facts.shown[2:]))) is None


def test_an_authority_given_as_genuine_is_neither_a_twin_nor_refused():
    """Who gives a whole chain is not told that its CA is not publicly trusted, and it is laid beside no leaf."""
    authority = Authority.make("LAB private CA", SPRING_2026)
    _, leaf = authority.issue(["vk.com"], SPRING_2026, strong=True)
    given = [parse(der(one)) for one in (leaf, authority.certificate)]
    added = []
    around = SimpleNamespace(
        chains=ChainJudge(reference.load(), PublicTrust(reference.DATA / "public_trust")),
        moment=lambda time_ns: time_ns,
        add_given=added.append,
    )
    assert take_given(given, around, int(SPRING_2026.timestamp()) * 10**9) == given[:1]
    assert added == []


@pytest.mark.parametrize(("links", "value"), [(2, True), (1, False)])
@pytest.mark.parametrize("generation", ["known", "supplied"])
def test_a_known_ca_shown_as_a_leaf_signed_nothing(links, value, generation):
    """Somebody's own page with the published CA as its certificate: no name was forged, whoever knows the CA."""
    seen = first_of("kz-2019-rcku").observation
    named = SimpleNamespace(common_name="CA")
    known = SimpleNamespace(title="t", seen="")
    facts = SimpleNamespace(
        interception=SimpleNamespace(certificates=(named,) * links),
        interception_ca=SimpleNamespace(certificate=named, generation=known if generation == "known" else None),
    )
    around = SimpleNamespace(chain_facts=lambda _: facts, chains=SimpleNamespace(known_issuer=lambda _: None))
    asked = {
        "known": interception.chain_verified_to_interception_key,
        "supplied": interception.chain_verified_to_supplied_ca,
    }
    assert asked[generation](seen, around).value is value
    (other,) = (fact for name, fact in asked.items() if name != generation)
    assert other(seen, around).value is False


def test_a_supplied_ca_that_a_server_shows_is_no_interception(tmp_path):
    """The laboratory's own page, with its CA as the certificate: nothing was signed for another name."""
    box = Authority.make("LAB interception CA", SPRING_2026)
    path = built(tmp_path, (SERVER, "vk.com", [box.certificate]))
    (tmp_path / "box.pem").write_bytes(pem(box.certificate))
    report = analyze(path, reference.load(interception_cas=[tmp_path / "box.pem"]))
    (found,) = report.connections()
    report.close()
    assert found.verdict.state.value != "intercepted"


def test_two_certificates_that_are_both_publicly_trusted_are_no_copy_of_each_other(tmp_path):
    """A site that has one of each of two public CAs, of one timetable: nobody re-signed anything."""
    first, second = (Authority.make(f"LAB public root {number}", SPRING_2026) for number in (1, 2))
    at = SPRING_2026 + datetime.timedelta(seconds=7)
    _, one = first.issue(["vk.com"], at, strong=True)
    _, two = second.issue(["vk.com"], at - datetime.timedelta(hours=6), strong=True)
    path = built(tmp_path, (SERVER, "vk.com", [one]), (SERVER, "vk.com", [two]))
    for number, root in enumerate((first, second)):
        (tmp_path / f"{number}.pem").write_bytes(pem(root.certificate))
    report = analyze(path, reference.load(trusted_roots=[tmp_path / "0.pem", tmp_path / "1.pem"]))
    found = [(one.verdict.rule.id, one.verdict.also) for one in report.connections()]
    report.close()
    assert [rule for rule, _ in found] == ["trusted-by-supplied-anchor"] * 2
    assert not any("copy" in rule for _, also in found for rule in also)
    assert rules_of(path, first, tmp_path)[1] in ("resigned-copy-of-genuine-certificate", "may-be-resigned-copy")


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("possession", list(Possession))
def test_a_session_behind_a_leaf_seen_intercepting_needs_its_key_proved(listed, possession):
    """Anybody can show a published leaf: the session is intercepted only where its key was proved to be there."""
    seen = first_of("kz-2019-rcku").observation
    leaf = SimpleNamespace(spki_sha256="k")
    facts = SimpleNamespace(
        sha1_generation=None, interception=None, public=None, supplied=None, leaf=leaf, product=None
    )
    full = SimpleNamespace(
        number=1, chain=(1,), time_ns=0, conflicts=(), frame=5, possession=possession, finished_ok=None,
        chain_complete=True, on_private_network=False,
    )  # fmt: skip
    around = SimpleNamespace(
        full_handshake=lambda _: full, facts_of=lambda *_: facts, intercepted_sessions={},
        interception_leaves={"k": "some"} if listed else {}, twin=lambda _: None, likeness=lambda _: "some",
    )  # fmt: skip
    found = interception.resumes_intercepted_session(seen._replace(resumed=True), around)
    assert found.value is (listed and possession is Possession.PROVED)


@pytest.mark.parametrize(
    ("product", "complete", "private", "alike", "value"),
    [
        (True, True, False, True, True),
        (False, True, False, True, False),
        (True, False, False, True, False),
        (True, True, True, True, False),
        (True, True, False, False, False),
    ],
    ids=["all", "no product's names", "cut", "its own page", "nothing alike"],
)
def test_a_session_behind_a_product_is_intercepted_as_the_handshake_would_be(product, complete, private, alike, value):
    """Names of a product on its own page, or over a part of a chain, say nothing of the sessions behind it."""
    seen = first_of("kz-2019-rcku").observation
    facts = SimpleNamespace(
        sha1_generation=None, interception=None, public=None, supplied=None, leaf=SimpleNamespace(spki_sha256="k"),
        product="some" if product else None,
    )  # fmt: skip
    full = SimpleNamespace(
        number=1, chain=(1,), time_ns=0, conflicts=(), frame=5, possession=None, finished_ok=None,
        chain_complete=complete, on_private_network=private,
    )  # fmt: skip
    around = SimpleNamespace(
        full_handshake=lambda _: full, facts_of=lambda *_: facts, intercepted_sessions={}, interception_leaves={},
        twin=lambda _: None, likeness=lambda _: "some" if alike else None,
    )  # fmt: skip
    assert interception.resumes_intercepted_session(seen._replace(resumed=True), around).value is value


@pytest.mark.parametrize(
    ("others", "control", "value"),
    [
        ([{"x", "y"}], None, True),
        ([], None, None),
        ([{"x", "z"}], None, None),
        ([{"x", "y"}], ("shop.example", 9), None),
    ],
    ids=["twice", "once", "twice in two ways", "a control too"],
)
def test_a_hidden_difference_comes_twice_alike_and_to_no_control(others, control, value):
    """One odd answer is a server's node, and odd answers for any name are the network's: nobody is suspected then."""
    mine = first_of("kz-2019-rcku").observation._replace(absent=hidden.HIDDEN[0])
    kinds = [{"x", "y"}, *others]
    frames = [mine.first_frame, 9_998, 9_999]
    odd = [(SimpleNamespace(frame=frame), frozenset(one)) for frame, one in zip(frames, kinds, strict=False)]
    around = SimpleNamespace(odd_answers=lambda _: odd, control_answers=9, odd_control=control)
    assert hidden.hidden_answer_differs(mine, around).value is value


@pytest.mark.parametrize(("exact", "value"), [(True, True), (False, False)])
def test_a_national_ca_abroad_speaks_for_listed_names_alone(exact, value):
    """A name below a listed one is on no list: a lawful CA's customer there is not suspected."""
    seen = first_of("kz-2019-rcku").observation._replace(
        server_name="mail.vk.com", target=Match("vk.com", "a-list", exact=exact, in_force=True)
    )
    national = SimpleNamespace(title="a CA", home=(".kz",))
    around = SimpleNamespace(chain_facts=lambda _: SimpleNamespace(national=national))
    assert trust.signed_abroad_by_national_ca(seen, around).value is value
