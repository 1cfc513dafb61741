"""Which connections of a capture are heard of its clock, and which are not: each condition by itself."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from kzpcap import reference
from kzpcap.certificates.certificate import parse
from kzpcap.certificates.chains import ChainJudge
from kzpcap.certificates.possession import Possession
from kzpcap.certificates.public_trust import PublicTrust
from kzpcap.certificates.staple import Staple
from kzpcap.clock import Points
from kzpcap.reference.targets import DAY_NS
from kzpcap.surroundings import anchors
from kzpcap.surroundings.anchors import Anchors
from tests.conftest import CAPTURES
from tests.test_conditions import first_of

sys.path.insert(0, str(CAPTURES))
from recipes.packets import SPRING_2026
from recipes.tls import Authority, der, pem

NOW = int(SPRING_2026.timestamp()) * 1_000_000_000


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A root that is trusted, a stranger, and a leaf of each; by SHA-256."""
    root, stranger = Authority.make("LAB public root", SPRING_2026), Authority.make("LAB stranger", SPRING_2026)
    path = tmp_path_factory.mktemp("roots") / "root.pem"
    path.write_bytes(pem(root.certificate))
    known = reference.load(trusted_roots=[path])
    leaves = [parse(der(one.issue(["vk.com"], SPRING_2026)[1])) for one in (root, stranger)]
    return SimpleNamespace(
        chains=ChainJudge(known, PublicTrust(reference.DATA / "public_trust")),
        certificates={one.sha256: one for one in (*leaves, parse(der(root.certificate)))},
        trusted=leaves[0].sha256,
        strange=leaves[1].sha256,
        root=parse(der(root.certificate)).sha256,
    )


def shown(leaf, server="203.0.113.1", time_ns=NOW, **changes):
    seen = first_of("kz-2019-rcku").observation
    return seen._replace(chain=(leaf,), server=(server, 443), time_ns=time_ns, possession=Possession.PROVED, **changes)


def judged(world, *seen):
    """The clock by these connections, and what was heard of servers."""
    found, points = Anchors(), Points()
    for one in seen:
        found.add(one)
    told = []
    points.add = told.append
    return found.judge(world.chains, world.certificates, points), told


def later(leaf, server="203.0.113.1"):
    """A server whose hello says a year later."""
    return shown(leaf, server, server_time=NOW // 1_000_000_000 + 365 * 86_400)


def test_an_interceptors_word_on_the_time_is_not_heard(world):
    """Whoever intercepts proves the key of a certificate of its own: the trusted ones alone are asked the time."""
    _, told = judged(world, later(world.trusted), later(world.strange, "203.0.113.2"))
    assert [point.source for point in told] == ["203.0.113.1"]


@pytest.mark.parametrize(
    ("value", "heard"),
    [
        (anchors.PLAUSIBLE[0] - 10**9, 0),
        (anchors.PLAUSIBLE[0], 1),
        (anchors.PLAUSIBLE[1] - 10**9, 1),
        (anchors.PLAUSIBLE[1], 0),
    ],
)
def test_random_bytes_are_no_time(world, value, heard):
    _, told = judged(world, shown(world.trusted, server_time=value // 10**9))
    assert len(told) == heard


def test_an_interceptors_certificate_bounds_no_clock(world):
    """A forged certificate may begin whenever its maker likes: it makes no capture's clock a wrong one."""
    begins = world.certificates[world.strange].not_before
    before = begins - 30 * DAY_NS
    clock, _ = judged(world, shown(world.strange, time_ns=before))
    assert clock.not_before is None or clock.not_before < before
    clock, _ = judged(world, shown(world.trusted, time_ns=NOW))
    assert clock.not_before == world.certificates[world.trusted].not_before


def test_a_root_that_a_server_shows_bounds_no_clock(world):
    """A root given or known is its own anchor: that it was shown says nothing of the day."""
    clock, _ = judged(world, shown(world.root))
    assert clock.not_before is None


@pytest.mark.parametrize(("verified", "status"), [(True, "anchored"), (False, "unanchored"), (None, "unanchored")])
def test_only_a_staple_that_its_issuer_signed_anchors_a_clock(world, verified, status):
    """Anybody can write a fresh OCSP response: without its signature it makes no claim publishable."""
    staple = Staple("good", NOW - DAY_NS, NOW + DAY_NS, verified)
    clock, _ = judged(world, shown(world.trusted, staple=staple))
    assert clock.status == status


def test_a_certificate_bounds_the_clock_by_its_first_use(world):
    """Shown too early once, it was shown too early: a later use does not hide it."""
    staple = Staple("good", NOW + 5 * DAY_NS, NOW + 9 * DAY_NS, True)
    early, late = shown(world.trusted, time_ns=NOW, staple=staple), shown(world.trusted, time_ns=NOW + 8 * DAY_NS)
    for order in ((early, late), (late, early)):
        assert judged(world, *order)[0].contradicted


def test_a_server_is_asked_the_time_once(world):
    first, again = (shown(world.trusted, server_time=NOW // 10**9 + offset) for offset in (0, 5))
    _, told = judged(world, first, again)
    assert [point.value for point in told] == [NOW]


def test_packets_without_a_time_say_nothing_of_the_clock(world):
    assert judged_of(shown(world.trusted, time_ns=0)).first == {}
    assert judged_of(shown(world.trusted)._replace(chain=())).first == {}


def judged_of(*seen):
    found = Anchors()
    for one in seen:
        found.add(one)
    return found


def test_as_many_leaves_and_servers_are_kept_as_the_bound_says(world, monkeypatch):
    """A known leaf is still followed where no new one is kept."""
    monkeypatch.setattr(anchors, "MAX_BOUNDS", 1)
    found = judged_of(
        shown(world.trusted, time_ns=NOW + 5, server_time=NOW // 10**9),
        shown(world.strange, "203.0.113.2", server_time=NOW // 10**9),
        shown(world.trusted, time_ns=NOW),
    )
    assert {leaf: one.time_ns for leaf, one in found.first.items()} == {world.trusted: NOW}
    assert list(found.told) == ["203.0.113.1"]


@pytest.mark.parametrize(("verified", "contradicted"), [(True, True), (False, False), (None, False)])
def test_only_a_timestamp_that_its_log_signed_contradicts_a_clock(world, verified, contradicted, monkeypatch):
    """Of a log that is not on the list, or whose signature does not fit, a time shows nothing."""
    stamp = SimpleNamespace(log="a log", verified=verified, timestamp=SimpleNamespace(time_ns=NOW + 5 * DAY_NS))
    monkeypatch.setattr(anchors, "check", lambda *_: (stamp,))
    assert judged(world, shown(world.trusted))[0].contradicted is contradicted
    monkeypatch.setattr(anchors, "MAX_DETAILED", 0)
    assert not judged(world, shown(world.trusted))[0].contradicted
