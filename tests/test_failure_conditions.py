"""A name that failed while controls got through: each condition by what differs where it alone is not met."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from kzpcap.observations import Mark
from kzpcap.surroundings.attempts import Tries
from kzpcap.verdict.facts import senders

SEEN = SimpleNamespace
SECOND = 1_000_000_000
SYN_ACK = Mark("syn_ack", 2, 2, 57, 7, True)


def mark(what, frame, ttl):
    return Mark(what, frame, frame, ttl, 0, True)


HERE = "203.0.113.80"


def tried(time, server=HERE, long=False):
    return SEEN(time_ns=time * SECOND, frame=time, server=hash(server), long=long)


def beside(change):
    """Three failures at 100, 200 and 300 s, and a control behind each."""
    failed = [tried(time) for time in (100, 200, 300)][: change.get("count", 3)]
    controls = change.get("controls", [tried(time) for time in (90, 150, 250)])
    asked = {}

    def around(_, low, high):
        asked["controls"] = low, high
        return controls

    def apart(_, low, high, enough):
        asked["apart"] = low, high, enough
        return change.get("apart", 3)

    def successes(_, low, high):
        asked["successes"] = low, high
        return Tries(change.get("passed", 0), [tried(120)], 0)

    told = SEEN(
        attempts=SEEN(
            failures=lambda _: Tries(len(failed), failed, 300 * SECOND), controls=around, apart=apart,
            successes=successes, speaks_quic=lambda _: change.get("speaks", True),
        ),
        genuine_here=lambda *_: change.get("genuine", True),
        names_of_servers={HERE: {"vk.com"} if change.get("named") else set()},
    )  # fmt: skip
    observation = SEEN(
        failed=change.get("failed", "silent"), server_name=change.get("name", "vk.com"),
        probe_ttl=change.get("probe"), transport=change.get("transport", "tcp"), long_hello=change.get("long", False),
        server=(HERE, 443), syn_ack=change.get("syn_ack", SYN_ACK), resets=change.get("resets", ()),
        server_closed=change.get("closed"),
    )  # fmt: skip
    return senders.failed_repeatedly_beside_controls(observation, told), asked


LONG = [tried(time, long=True) for time in (90, 150, 250)]


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ({}, True),
        ({"failed": "alert"}, False),
        ({"failed": None}, False),
        ({"name": None}, False),
        ({"probe": 5}, False),
        ({"count": 0}, False),
        ({"count": 1}, None),
        ({"count": 2}, None),
        ({"controls": [tried(90), tried(150)]}, None),
        ({"apart": 2}, None),
        ({"passed": 1}, None),
        ({"long": True}, None),
        ({"long": True, "controls": LONG}, True),
        ({"long": True, "controls": [*LONG[:2], tried(260)]}, None),
        ({"long": True, "transport": "quic"}, True),
        ({"transport": "quic", "speaks": False}, None),
        ({"speaks": False}, True),
        ({"genuine": False}, None),
        ({"genuine": False, "named": True}, True),
    ],
    ids=[
        "three", "an alert", "none", "no name", "a probe", "not one", "one", "two", "two controls", "at one time",
        "got through", "long", "all long", "not all long", "long, over QUIC", "no QUIC there", "over TCP", "not hosted",
        "named by DNS",
    ],
)  # fmt: skip
def test_failures_of_one_name_beside_controls(change, value):
    """Each thing that would make it anything else than this name's."""
    found, asked = beside(change)
    assert found.value is value
    if change.get("count", 3) < 3:
        assert found.says.startswith(f"{change['count']} failing attempt(s)")
    if not change:
        assert asked == {
            "controls": (40 * SECOND, 360 * SECOND),
            "apart": (40 * SECOND, 360 * SECOND, 3),
            "successes": (100 * SECOND, 300 * SECOND),
        }
        assert found.frames == (100, 200, 300, 90, 150, 250)
        assert "3 attempts failed; 3 controls to the same server got through, 2 of them in between" in found.says


@pytest.mark.parametrize("edge", [100, 300])
def test_a_control_at_the_time_of_a_failure_is_not_in_between(edge):
    found, _ = beside({"controls": [tried(edge), tried(150), tried(250)]})
    assert "2 of them in between" in found.says


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"failed": "reset", "resets": (mark("reset", 5, 57),)}, "the reset has the SYN-ACK's TTL (57)"),
        ({"failed": "closed", "closed": mark("fin", 5, 57)}, "the FIN has the SYN-ACK's TTL (57)"),
        ({"failed": "reset", "resets": (mark("reset", 5, 58),)}, ""),
        ({"failed": "reset", "resets": (mark("reset", 5, 57),), "syn_ack": None}, ""),
        ({"failed": "silent", "closed": mark("fin", 5, 57)}, ""),
        ({"failed": "silent", "syn_ack": None}, ""),
    ],
    ids=["reset", "FIN", "another's", "no SYN-ACK", "silence", "nothing"],
)
def test_a_refusal_of_the_servers_own_is_not_excluded(change, says):
    found, _ = beside(change)
    assert found.value is True
    assert ("that the server refuses this name itself is not excluded" in found.says) is bool(says)
    assert says in found.says
