"""Another sender, a proof, the first that counts: each condition asked directly, by what differs without it."""

from __future__ import annotations

import random
import sys
from types import SimpleNamespace

import pytest

from kzpcap.certificates.possession import Possession
from kzpcap.flows import MAX_CONFLICTS
from kzpcap.observations import IGNORED, Absent, Mark
from kzpcap.verdict.facts import senders
from tests.conftest import CAPTURES
from tests.test_conditions import first_of
from tests.test_overstated import judged

sys.path.insert(0, str(CAPTURES))
from recipes.packets import ACK, PSH, RST, SPRING_2026, SYN, Capture, Connection
from recipes.tls import client_hello, record

SEEN = SimpleNamespace
SECOND = 1_000_000_000


def mark(what, frame, ttl=57, **more):
    return Mark(what, frame, frame * 1_000_000, ttl, 0, True)._replace(**more)


def kept():
    return first_of("kz-2019-rcku").observation


# another sender

SYN_ACK = mark("syn_ack", 2, ip_id=7)


@pytest.mark.parametrize(
    ("ttl", "change", "value", "frames"),
    [
        (61, {}, True, (2, 5)),
        (57, {}, False, (2, 5)),
        (121, {}, None, (2, 5)),
        (61, {"syn_ack": None}, None, (5,)),
        (61, {"rebuilt": "made anew"}, None, (2, 5)),
        (61, {"copy": mark("syn_ack", 3, 61, ip_id=7)}, None, (2, 3, 5)),
        (61, {"copy": mark("syn_ack", 3, 61, ip_id=8)}, True, (2, 5)),
        (61, {"copy": mark("syn_ack", 3, 57, ip_id=7)}, True, (2, 5)),
        (57, {"copy": mark("syn_ack", 3, 57, ip_id=7)}, False, (2, 5)),
        (61, {"alike": 9}, None, (2, 5, 77)),
        (61, {"alike": 0}, None, (2, 5, 77)),
        (61, {"alike": 9, "what": "server_hello"}, True, (2, 5)),
    ],
    ids=[
        "two", "one", "as far away", "no SYN-ACK", "rebuilt", "at two points", "another SYN-ACK", "a copy of one TTL",
        "one, and a copy", "a device that answers SYNs", "the first row", "its own handshake",
    ],
)  # fmt: skip
def test_a_ttl_shows_another_sender_unless_something_else_explains_it(ttl, change, value, frames):
    copy = change.get("copy")
    observation = SEEN(
        syn_ack=change.get("syn_ack", SYN_ACK), server_marks=(SYN_ACK, *([copy] if copy else [])), client_hello=None
    )
    around = SEEN(
        rebuilt=change.get("rebuilt", ""),
        responders=SEEN(answers_so=lambda *_: change.get("alike")),
        briefs=SEEN(frame=lambda _: 77),
    )
    found = senders._another_sender(observation, around, mark(change.get("what", "reset"), 5, ttl), "reset")
    assert (found.value, found.frames) == (value, frames)


@pytest.mark.parametrize(
    ("what", "ttl", "hello", "near", "rare"),
    [
        ("reset", 64, 64, True, False),
        ("reset", 128, 64, True, False),
        ("reset", 63, 64, False, False),
        ("reset", 64, 63, False, False),
        ("reset", 64, None, False, False),
        ("server_hello", 64, 64, False, False),
        ("reset", 45, 64, False, True),
        ("server_hello", 45, 64, False, False),
    ],
)
def test_what_no_router_lowered_may_be_the_users_own(what, ttl, hello, near, rare):
    """And two TTLs of one family may be one sender, seldom; a handshake that was read is what it is."""
    asked = SEEN(ttl=hello) if hello else None
    observation = SEEN(
        syn_ack=SYN_ACK._replace(ttl=48 if rare or ttl == 45 else 200), server_marks=(), client_hello=asked
    )
    around = SEEN(rebuilt="", responders=SEEN(answers_so=lambda *_: None))
    found = senders._another_sender(observation, around, mark(what, 5, ttl), "reset")
    assert found.value is True
    assert ("the user's own router or computer" in found.says) is near
    assert ("under 5 %" in found.says) is rare


@pytest.mark.parametrize(
    ("closed", "what", "right", "opened", "says"),
    [
        (None, "reset", True, True, None),
        (None, "reset", False, False, None),
        (None, "reset", False, True, "wrong checksum"),
        (None, "reset", False, None, "wrong checksum"),
        (None, IGNORED, True, True, "outside of the client's window"),
        (4, "reset", True, True, "the client itself had closed"),
        (5, "reset", True, True, None),
        (6, "reset", True, True, None),
    ],
    ids=["taken", "all wrong", "wrong", "wrong, no SYN-ACK", "outside", "closed before", "this very frame", "behind"],
)
def test_what_a_client_ignores_says_nothing_of_the_path(closed, what, right, opened, says):
    opening = None if opened is None else SYN_ACK._replace(checksum_ok=opened)
    observation = SEEN(client_closed=closed, syn_ack=opening)
    found = senders._ignored(observation, mark(what, 5, checksum_ok=right), "reset")
    assert (found is None) is (says is None)
    assert found is None or (found.value is False and says in found.says)


def reset_by_client(ttl):
    """Right after the ClientHello, in the name of a client whose SYN had this TTL."""
    seen = kept()
    reset = mark("reset", seen.client_hello.frame + 1, 40, time_ns=seen.client_hello.time_ns + 1)
    syn = seen.syn._replace(ttl=ttl)
    return seen._replace(client_resets=(reset,), server_hello=None, syn=syn, reaction="not_seen", probes=())


@pytest.mark.parametrize(("ttl", "told"), [(64, None), (63, None), (62, True), (128, None), (127, None), (255, None)])
def test_beside_the_client_its_own_tools_may_reset(ttl, told):
    """A TTL that no router, or one, has lowered."""
    seen = reset_by_client(ttl)
    assert senders.client_reset_by_another_sender(seen, SEEN(rebuilt="")).value is told
    assert senders.client_reset_by_another_sender(seen._replace(syn=None), SEEN(rebuilt="")).value is None


def test_where_only_the_clients_side_was_captured_a_reset_is_open(tmp_path):
    capture = Capture(SPRING_2026)
    connection = Connection(capture, 50_001)
    connection.packet(0, SYN)
    connection.packet(0, PSH | ACK, client_hello("shop.example", random.Random(4)), wait=0.03)
    (found,) = judged(tmp_path, capture)
    assert found.verdict.rule.id == "one-sided"
    assert "reset-by-another-sender" in found.verdict.unsettled


@pytest.mark.parametrize(
    ("absent", "value"), [(Absent.NOT_CAPTURED, None), (Absent.TRUNCATED, None), (Absent.NOT_REACHED, True)]
)
def test_a_reset_behind_an_answer_that_is_not_whole_is_open(absent, value):
    seen = kept()
    reset = mark("reset", seen.client_hello.frame + 1, 250, time_ns=seen.client_hello.time_ns + 1)
    seen = seen._replace(resets=(reset,), server_hello=None, reaction="not_seen", absent=absent, client_closed=None)
    around = SEEN(rebuilt="", responders=SEEN(answers_so=lambda *_: None))
    assert senders.reset_by_another_sender(seen, around).value is value


@pytest.mark.parametrize("answer", [b"HTTP/1.1 403 Forbidden\r\n\r\n", record(21, b"\x02\x28")], ids=["page", "alert"])
@pytest.mark.parametrize(
    ("wait", "ttl", "twice", "state"),
    [
        (0.03, 250, False, "interfered"),
        (0.03, 57, False, "undetermined"),
        (60, 250, False, "undetermined"),
        (0.03, 57, True, "interfered"),
        (60, 57, True, "interfered"),
    ],
    ids=["another's", "the server's", "much later", "in two versions", "in two versions, later"],
)
def test_an_answer_in_the_stream_is_anothers_by_its_ttl_or_its_versions(answer, wait, ttl, twice, state, tmp_path):
    capture = Capture(SPRING_2026)
    connection = Connection(capture, 50_001)
    connection.open()
    connection.packet(0, PSH | ACK, client_hello("shop.example", random.Random(4)))
    begin = connection.seq[1]
    connection.packet(1, PSH | ACK, answer, wait=wait, ttl=ttl)
    if twice:
        connection.seq[1] = begin
        connection.packet(1, PSH | ACK, answer[:-1] + b"x", wait=0.01)
    connection.packet(1, RST | ACK, wait=0.01)
    (found,) = judged(tmp_path, capture)
    assert found.verdict.state == state


# bytes in two versions


@pytest.mark.parametrize(
    ("conflicts", "possession", "finished", "unproved"),
    [
        (((3, 4),), None, None, True),
        (((3, 4),), Possession.PROVED, None, False),
        (((3, 4),), Possession.REFUTED, True, False),
        (((3, 4),), Possession.REFUTED, False, True),
        ((), Possession.PROVED, True, False),
    ],
)
def test_a_conflict_is_without_proof_unless_something_was_signed(conflicts, possession, finished, unproved):
    seen = kept()._replace(conflicts=conflicts, possession=possession, finished_ok=finished)
    around = SEEN(answers_for=None, answers={}, settled={})
    found = senders.conflict_without_proof(seen, around)
    assert (found.value, found.frames) == (unproved, conflicts[0] if conflicts else ())
    assert ("signed" in found.says) is (bool(conflicts) and not unproved)


@pytest.mark.parametrize(
    ("conflicts", "chain", "possession", "finished", "value"),
    [
        (((8, 9),), 7, None, None, False),
        (((7, 9),), 7, None, None, True),
        (((9, 6),), 7, None, None, True),
        (((8, 9), (5, 6)), 7, None, None, True),
        (((8, 9),), None, None, None, True),
        (((8, 9),) * MAX_CONFLICTS, 7, None, None, True),
        (((5, 6),), 7, Possession.PROVED, None, False),
        (((5, 6),), 7, Possession.NOT_CAPTURED, True, False),
        ((), 7, None, None, False),
    ],
)
def test_a_dispute_is_about_what_lies_before_the_certificate(conflicts, chain, possession, finished, value):
    assert senders.dispute(conflicts, chain, possession, finished).value is value
    seen = kept()
    seen = seen._replace(
        conflicts=conflicts, possession=possession, finished_ok=finished,
        chain_seen=seen.chain_seen._replace(frame=chain) if chain else None,
    )  # fmt: skip
    assert senders.answer_in_dispute(seen, SEEN()).value is value


# which of several

ASKED = 50 * SECOND
SWAPPED = senders.SWAPPED_NS


def at(frame, after=SECOND, what="reset", right=True):
    return Mark(what, frame, ASKED + after, 57, 0, True, right)


@pytest.mark.parametrize(
    ("marks", "end", "frame"),
    [
        ([at(21)], None, 21),
        ([at(20)], None, None),
        ([at(4, 1)], None, 4),
        ([at(3, 1)], None, None),
        ([at(4, 0)], None, None),
        ([at(4, SWAPPED - 1)], None, 4),
        ([at(4, SWAPPED)], None, None),
        ([at(29)], 30, 29),
        ([at(30)], 30, None),
        ([at(21, right=False), at(22)], None, 22),
        ([at(21, what=IGNORED), at(22)], None, 22),
        ([at(21, right=False), at(22, what=IGNORED)], None, 21),
        ([at(22, what=IGNORED)], None, 22),
        ([], None, None),
    ],
    ids=[
        "behind", "the hello's frame", "in another order", "too far before", "at its time", "just in time", "too late",
        "before the answer", "the answer's frame", "damaged first", "outside first", "none that counts", "outside",
        "none",
    ],
)  # fmt: skip
def test_the_first_that_counts_between_question_and_answer(marks, end, frame):
    answer = SEEN(frame=end) if end else None
    observation = SEEN(client_hello=SEEN(time_ns=ASKED), hello_first_frame=20, server_hello=answer)
    found = senders._after_hello(observation, tuple(marks), None)
    assert (found.frame if found else None) == frame
    observation.client_hello = None
    assert senders._after_hello(observation, tuple(marks), None) is None


@pytest.mark.parametrize(
    ("marks", "change", "value", "frame"),
    [
        ([at(31)], {}, True, 31),
        ([at(30)], {}, False, None),
        ([at(29)], {}, False, None),
        ([at(31, right=False), at(32)], {}, True, 32),
        ([at(31, what=IGNORED), at(32)], {}, True, 32),
        ([at(31, what=IGNORED)], {}, False, 31),
        ([at(31)], {"odd_acks": (29,)}, None, 31),
        ([at(31)], {"acknowledged_more": True}, None, 31),
        ([at(31)], {"reaction": "went_on"}, False, 31),
    ],
    ids=["behind", "its frame", "before", "damaged first", "outside first", "outside", "unsent", "more", "went on"],
)
def test_the_first_that_counts_behind_a_server_hello(marks, change, value, frame):
    seen = kept()
    seen = seen._replace(
        server_hello=seen.server_hello._replace(frame=30, time_ns=ASKED), syn_ack=seen.syn_ack._replace(ttl=61),
        resets=tuple(marks), client_closed=None, server_marks=(), reaction=senders.Reaction.SILENT,
    )  # fmt: skip
    seen = seen._replace(server_hello=seen.server_hello._replace(ttl=61))._replace(**change)
    around = SEEN(rebuilt="", responders=SEEN(answers_so=lambda *_: None))
    found = senders.handshake_reset_by_another_sender(seen, around)
    assert found.value is value
    assert frame in found.frames if frame else not found.frames


@pytest.mark.parametrize(
    ("failed", "ttl", "took", "value"),
    [
        ("closed", 250, 1, True),
        ("closed", 57, 1, False),
        ("closed", 250, 60, None),
        ("reset", 250, 1, False),
    ],
)
def test_an_end_by_another_sender_came_soon(failed, ttl, took, value):
    probe = SEEN(frame=4, time_ns=ASKED, ttl=64)
    observation = SEEN(
        failed=failed, server_closed=at(5, took * SECOND)._replace(ttl=ttl), probes=(probe,), syn_ack=SYN_ACK,
        client_closed=None, server_marks=(SYN_ACK,), client_hello=None,
    )  # fmt: skip
    around = SEEN(rebuilt="", responders=SEEN(answers_so=lambda *_: None))
    assert senders.closed_by_another_sender(observation, around).value is value


@pytest.mark.parametrize(
    ("client", "code", "answered", "value"),
    [(False, 112, False, True), (True, 112, False, False), (False, None, False, False), (False, 112, True, False)],
    ids=["the server's", "the client's", "encrypted", "behind an answer"],
)
def test_an_alert_in_answer_to_the_hello(client, code, answered, value):
    alert = SEEN(from_client=client, code=code, seen=SEEN(frame=5))
    observation = SEEN(alerts=(alert,), server_hello=SEEN(frame=4) if answered else None)
    found = senders.server_alert(observation, SEEN())
    assert (found.value, found.frames) == (value, (5,) if value else ())


@pytest.mark.parametrize(
    ("ttl", "opened", "value"), [(61, 57, True), (57, 57, False), (61, None, None), (58, 57, False)]
)
def test_an_answer_is_compared_with_the_syn_ack(ttl, opened, value):
    answer = mark("server_hello", 5, ttl)
    observation = SEEN(
        server_marks=(SYN_ACK, answer), client_hello=None, syn_ack=SYN_ACK._replace(ttl=opened) if opened else None
    )
    around = SEEN(rebuilt="", responders=SEEN(answers_so=lambda *_: None))
    found = senders.hello_by_another_sender(observation, around)
    assert found.value is value
    assert ("no ServerHello, or it has" in found.says) is (ttl == opened)


@pytest.mark.parametrize(
    ("probes", "frame", "took", "closed", "value"),
    [
        ([4], 9, 1, None, None),
        ([4], 9, 60, None, "late"),
        ([4, 8], 9, 60, None, None),
        ([4, 10], 9, 60, None, "late"),
        ([10], 9, 60, None, None),
        ([4], 9, 1, 5, "ignored"),
    ],
    ids=["soon", "late", "soon behind a copy", "a copy behind it", "recorded before its question", "closed"],
)
def test_what_was_asked_last_before_it_is_what_it_answers(probes, frame, took, closed, value):
    """Copies of a hello: those that come behind a reset are not what it answers."""
    asked = [SEEN(frame=one, ttl=64, time_ns=ASKED + (one > 4) * 59 * SECOND) for one in probes]
    observation = SEEN(probes=asked, client_closed=closed, syn_ack=SYN_ACK)
    found = senders._no_answer(observation, at(frame, took * SECOND), "reset")
    assert (found is None) is (value is None)
    assert found is None or found.value is (None if value == "late" else False)


@pytest.mark.parametrize(("ttl", "where"), [(64, "beside the client"), (63, "one router from the client")])
def test_where_a_reset_in_the_clients_name_was_recorded_is_said(ttl, where):
    seen = reset_by_client(ttl)
    assert where in senders.client_reset_by_another_sender(seen, SEEN(rebuilt="")).says


@pytest.mark.parametrize(
    ("chain", "facts", "value", "frames"),
    [
        (("a",), 2, True, (7,)),
        (("a",), 1, False, (7,)),
        (("a",), 0, False, (7,)),
        (("a",), None, False, (7,)),
        ((), 2, False, ()),
    ],
    ids=["signed", "shown", "another's", "unreadable", "no second chain"],
)
def test_a_second_chain_is_signed_by_an_interception_key(chain, facts, value, frames):
    links = SEEN(certificates=(1,) * (facts or 0), anchor=SEEN(common_name="Qaznet")) if facts else None
    told = None if facts is None else SEEN(interception=links)
    seen = kept()._replace(other_chain=chain, other_chain_frame=7)
    found = senders.other_chain_by_interception_key(seen, SEEN(facts_of=lambda *_: told))
    assert (found.value, found.frames) == (value, frames)
    if value:
        without = seen._replace(other_chain_frame=None)
        assert senders.other_chain_by_interception_key(without, SEEN(facts_of=lambda *_: told)).frames == ()


def test_an_answer_of_which_no_packet_is_kept_is_nobodys():
    """Of a page or an alert whose marks were not kept no TTL is compared."""
    alert = SEEN(from_client=False, code=112, seen=SEEN(frame=5))
    observation = SEEN(alerts=(alert,), server_hello=None, plain_frame=5, server_marks=(SYN_ACK,))
    around = SEEN(answers_for=None, answers={}, settled={})
    assert senders.alert_by_another_sender(observation, around).value is False
    assert senders.plain_answer_by_another_sender(observation, around).value is False
