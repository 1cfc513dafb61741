"""Who is named as an interceptor, and on what basis; and what facts come to together: each condition by itself."""

from __future__ import annotations

from itertools import product as every
from types import SimpleNamespace

import pytest

from kzpcap.verdict.identity import SUPPLIED, UNKNOWN, known, product
from kzpcap.verdict.judge import _interceptor
from kzpcap.verdict.logic import Finding, all_of, answer, any_of, none_of, not_shown
from kzpcap.verdict.rules import State

GENERATION = SimpleNamespace(id="g", title="the generation")
OTHER = SimpleNamespace(id="h", title="another generation")
CA = SimpleNamespace(generation=GENERATION, certificate=SimpleNamespace(common_name="the CA"))
GIVEN = SimpleNamespace(generation=None, certificate=SimpleNamespace(common_name="the given"))
PRODUCT = SimpleNamespace(id="p", title="the product")
COPY, RESUMES = "resigned-copy-of-genuine-certificate", "resumes-intercepted-session"


def facts(leaf="key", **found):
    empty = {"interception_ca": None, "sha1_generation": None, "product": None, "imitation": None}
    return SimpleNamespace(leaf=SimpleNamespace(spki_sha256=leaf), **{**empty, **found})


def named(found, rule="x", state=State.INTERCEPTED, chain=("leaf",), full=None):
    """The identity and the basis, for the facts of a connection's own chain or of the session's that it resumes."""
    around = SimpleNamespace(
        chain_facts=lambda _: found,
        facts_of=lambda chain, _: full,
        full_handshake=lambda _: SimpleNamespace(chain=("leaf",), time_ns=1) if full else None,
        interception_leaves={"known key": GENERATION},
    )
    one = _interceptor(SimpleNamespace(id=rule, state=state), SimpleNamespace(chain=chain), around)
    return one and (one.identity, one.basis)


@pytest.mark.parametrize("state", State)
def test_nobody_is_named_but_who_intercepts(state):
    named_at_all = named(facts(interception_ca=CA), state=state) is not None
    assert named_at_all is (state in (State.INTERCEPTED, State.SUSPECTED))


@pytest.mark.parametrize(
    ("found", "rule", "identity", "basis"),
    [
        (facts(interception_ca=CA, sha1_generation=OTHER), "x", known("g"), "the key of the generation"),
        (facts(interception_ca=GIVEN, sha1_generation=OTHER), "x", known("h"), "listed for another generation"),
        (facts(interception_ca=GIVEN), "x", SUPPLIED, 'the supplied CA "the given"'),
        (facts("known key"), "known-interception-leaf", known("g"), "possession of the leaf's key"),
        (facts("known key"), "x", UNKNOWN, "no verified signature"),
        (facts("a key"), "known-interception-leaf", UNKNOWN, "no verified signature"),
        (facts(product=PRODUCT), "resigned-by-product", product("p"), "names prove nothing"),
        (facts(product=PRODUCT), "product-by-issuer-names", product("p"), "names prove nothing"),
        (facts(product=PRODUCT), "x", UNKNOWN, "no verified signature"),
        (facts(), "resigned-by-product", UNKNOWN, "no verified signature"),
        (facts(imitation=True), COPY, UNKNOWN, "never by whom"),
        (facts(imitation=True), "interception-chain-in-dispute", UNKNOWN, "came in two versions"),
        (facts(imitation=True), "x", UNKNOWN, "names of a known CA"),
        (None, "x", UNKNOWN, "no verified signature"),
        (None, "resigned-by-product", UNKNOWN, "no verified signature"),
    ],
)
def test_who_is_named_by_what_was_verified(found, rule, identity, basis):
    who, why = named(found, rule)
    assert (who, basis in why) == (identity, True), why


@pytest.mark.parametrize("found", [facts(interception_ca=CA), facts(sha1_generation=OTHER), facts("known key")])
def test_no_key_is_named_of_what_is_only_suspected(found):
    """A suspicion rests on something else than that key's signature."""
    assert named(found, "known-interception-leaf", State.SUSPECTED)[0] == UNKNOWN
    assert named(facts(product=PRODUCT), "resigned-by-product", State.SUSPECTED)[0] == product("p")


def test_a_chain_that_cannot_be_read_names_nobody():
    assert named(None, chain=()) == (UNKNOWN, "the certificate cannot be read")
    assert named(None, "interception-chain-in-dispute", chain=())[1] == "the certificate cannot be read"


@pytest.mark.parametrize(
    ("full", "identity", "basis"),
    [
        (facts(interception_ca=CA), known("g"), "verified"),
        (facts("known key"), known("g"), "possession"),
        (facts(product=PRODUCT), product("p"), "names prove nothing"),
        (facts(), UNKNOWN, "never by whom"),
        (None, UNKNOWN, "cannot be read"),
    ],
)
def test_a_resumed_session_is_of_who_signed_for_it_in_full(full, identity, basis):
    """Nothing of its own names anybody; and no other rule looks at the session before."""
    own = facts(interception_ca=GIVEN, sha1_generation=OTHER, product=PRODUCT)
    who, why = named(own, RESUMES, chain=(), full=full)
    assert (who, basis in why) == (identity, True), why
    assert named(facts(), "x", full=facts(interception_ca=CA))[0] == UNKNOWN


# three values


def around():
    return SimpleNamespace(answers_for=None, answers={}, settled={})


def worth(operator, values):
    asked = []

    def fact(at, value):
        return lambda *_: asked.append(at) or Finding(value, "")

    found = operator(*[fact(at, value) for at, value in enumerate(values)])(object(), around())
    assert [child.value for child in found.children] == [values[at] for at in asked]
    assert found.operator == operator.operator
    return found.value, len(asked)


@pytest.mark.parametrize("values", list(every((True, False, None), repeat=3)))
def test_values_are_combined_by_kleenes_strong_logic(values):
    """Every fact is asked, as each may be evidence, but by `all_of` none behind the first that is false."""
    shown = True if True in values else None if None in values else False
    all_true = False if False in values else None if None in values else True
    before = values.index(False) + 1 if False in values else 3
    assert worth(all_of, values) == (all_true, before)
    assert worth(any_of, values) == (shown, 3)
    assert worth(none_of, values) == (None if shown is None else not shown, 3)
    assert worth(not_shown, values) == (shown is not True, 3)


def test_a_fact_is_asked_once_of_a_connection_and_again_of_the_next():
    asked, surroundings, first, second = [], around(), object(), object()

    def fact(observation, _):
        asked.append(observation)
        return Finding(False, "")

    for one in (first, first, second, second, first):
        assert answer(fact, one, surroundings).value is False
    assert asked == [first, second, first]
    surroundings.answers, surroundings.settled = {}, {fact: Finding(True, "")}
    assert answer(fact, first, surroundings).value is True
    assert answer(fact, second, surroundings).value is False, "what was settled is of another's features"
