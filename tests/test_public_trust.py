"""The history of public trust: what bundles say of a day, and what they cannot say."""

from __future__ import annotations

from kzpcap.certificates.public_trust import PublicTrust
from kzpcap.reference import DATA
from kzpcap.reference.targets import day

TRUST = PublicTrust(DATA / "public_trust")


def test_partial_distrust_depends_on_the_leafs_date_and_the_day():
    """StartCom: what was issued before 2016-10-21 stayed trusted until the root left."""
    entry = next(part for part in TRUST.partial if part.id == "wosign-startcom-2016")
    root = next(root for root in TRUST.roots if root["sha256"] in entry.roots and "StartCom" in root["subject"])
    anchor = TRUST._root(TRUST.roots.index(root))
    for issued, at, trusted, disputed in (
        ("2016-10-20", "2017-03-01", True, ""),
        ("2016-11-20", "2017-03-01", False, entry.says),
        ("2016-10-20", "2018-03-01", False, "it left the bundle with the release of 2017-11-05"),
        ("2016-10-20", "2026-01-01", False, ""),
    ):
        leaf = anchor._replace(sha256="0" * 64, not_before=day(issued))
        found = TRUST.standing((leaf, anchor), day(at))
        assert found.trusted is trusted, (issued, at)
        assert found.disputed.startswith(disputed), (issued, at)
        assert bool(found.disputed) == bool(disputed), (issued, at)


def test_every_exception_names_roots_that_are_in_the_bundles_and_a_source():
    for part in TRUST.partial:
        assert part.source, part.id
        assert part.roots <= set(TRUST.index), part.id
