"""Which ladder places a connection: the nearest in time, of the same client, server and name, that drew the same."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from kzpcap.paths.ladders import HOUR_NS
from kzpcap.verdict.place import LadderIndex, place_of
from kzpcap.verdict.rules import State

CONNECTION = SimpleNamespace(
    client=("c", 1), server=("s", 443), server_name="n", name_known=True, time_ns=100 * HOUR_NS, failed=None
)


def placed_by(ladders, identity="unknown", signer="key 1"):
    verdict = SimpleNamespace(state=State.INTERCEPTED, interceptor=SimpleNamespace(identity=identity))
    around = SimpleNamespace(signer_of=lambda _: signer)
    index = LadderIndex(
        SimpleNamespace(
            client="c", server="s", server_name="n", effect="certificate", placement="in_path", bound="exact",
            last_clean_hop=None, first_intercepted_hop=None, inferred_hop=None, **one,
        )
        for one in ladders
    )  # fmt: skip
    found = place_of(verdict, CONNECTION, around, index)
    return int(found.basis.rpartition(" ")[2]) if found else None


def drawn(ttl, hours, *signers):
    time_ns = round((100 + hours) * HOUR_NS)
    return {"interceptor_ttl": ttl, "first_ns": time_ns, "last_ns": time_ns, "signers": signers}


def test_a_connection_is_placed_by_the_nearest_ladder_in_time():
    one = ("unknown", "key 1")
    assert placed_by([drawn(5, -0.9, one), drawn(7, 0.1, one)]) == 7
    assert placed_by([drawn(5, -0.1, one), drawn(7, 0.1, ("unknown", "key 2"))]) == 5
    assert placed_by([drawn(5, 1.1, one)]) is None


@pytest.mark.parametrize(
    ("identity", "signer", "drew", "placed"),
    [
        ("unknown", "key 1", ("unknown", "key 1"), True),
        ("unknown", "key 2", ("unknown", "key 1"), False),
        ("supplied_ca", "key 2", ("supplied_ca", "key 1"), False),
        ("unknown", "", ("unknown", "key 1"), True),
        ("known_generation:x", "key 2", ("known_generation:x", "key 1"), True),
        ("unknown", "key 1", ("known_generation:x", "key 1"), False),
    ],
)
def test_a_ladder_of_one_signer_places_no_other(identity, signer, drew, placed):
    assert placed_by([drawn(5, 0, drew)], identity, signer) == (5 if placed else None)
