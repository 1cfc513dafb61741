"""Facts about who answered: packets of one connection that did not come from one sender, and connections beside it."""

from __future__ import annotations

from kzpcap.certificates.possession import Possession
from kzpcap.flows import MAX_CONFLICTS
from kzpcap.iana import alert_name
from kzpcap.observations import FAILURES, IGNORED, Absent, Mark, Observation, Reaction
from kzpcap.paths.hops import FRESH_TTLS, differ, family
from kzpcap.paths.ladders import MAX_SWAPPED
from kzpcap.surroundings import Surroundings
from kzpcap.verdict.features import (
    ALERT,
    CLIENT_RESET,
    CLOSED,
    CONFLICT,
    NEIGHBOURS,
    OTHER_CHAIN,
    OTHER_TTL,
    PLAIN,
    RESET,
    UNANSWERED,
    answering,
    needs,
)
from kzpcap.verdict.logic import Finding, answer

NEEDED = 3
"""Failing attempts, and controls that got through, for `interfered` without another sender shown."""
MINUTE = 60_000_000_000
SWAPPED_NS = 100_000_000
"""How much earlier than its answer a question may be that is recorded behind it."""
PROMPT_NS = 3_000_000_000
"""Who answers a ClientHello does so at once, or when it is sent again; what balancers and firewalls send of themselves
comes once they gave up waiting."""
SOON_NS = 1_000_000_000
"""More than any round trip: what comes so soon behind one of many copies answers it."""
UNSEEN = (Absent.ONE_SIDED, Absent.NOT_CAPTURED, Absent.TRUNCATED)
"""An answer may have come, and is not, or not wholly, in the capture."""
TRIED = 3
"""Copies of a ClientHello, each sent because nothing had answered the one before."""
HELLOS = {"server_hello": "ServerHello", "certificate": "Certificate"}


def _another_sender(observation: Observation, surroundings: Surroundings, mark: Mark, what: str) -> Finding:
    """Does a packet's TTL show another sender than that of the SYN-ACK, and than the server itself elsewhere?"""
    syn_ack = observation.syn_ack
    if syn_ack is None:
        return Finding(None, f"no SYN-ACK to compare the {what} with", (mark.frame,))
    frames = (syn_ack.frame, mark.frame)
    if surroundings.rebuilt:
        return Finding(None, surroundings.rebuilt, frames)
    two = differ(syn_ack.ttl, mark.ttl)
    if two:
        # The very same packet, but for its TTL: whoever injects a SYN-ACK of his own numbers it otherwise.
        copy = next(
            (one for one in observation.server_marks if one.ttl == mark.ttl and _same(one, syn_ack)),
            None,
        )
        if copy is not None:
            says = f"TTL {syn_ack.ttl} in one SYN-ACK, {mark.ttl} in the {what} and in another: recorded at two points?"
            return Finding(None, says, (syn_ack.frame, copy.frame, mark.frame))
    if two and mark.what not in HELLOS:
        alike = surroundings.responders.answers_so(observation, mark.ttl)
        if alike is not None:
            says = (
                f"TTL {syn_ack.ttl} in the SYN-ACK, {mark.ttl} in the {what}, and as far apart in a handshake of this"
                " server that is trusted, or went on for a name on no list: another device answers SYNs in its place"
            )
            return Finding(None, says, (*frames, surroundings.briefs.frame(alike)))
    if two:
        says = f"TTL {syn_ack.ttl} in the SYN-ACK, {mark.ttl} in the {what}: two senders"
        if mark.what not in HELLOS and family(syn_ack.ttl) == family(mark.ttl):
            says += " (under 5 % of untampered connections differ by two hops or more)"
        hello = observation.client_hello
        if mark.what not in HELLOS and mark.ttl in FRESH_TTLS and hello is not None and hello.ttl in FRESH_TTLS:
            says += "; no router lowered it: the user's own router or computer may have sent it"
        return Finding(True, says, frames)
    if two is None:
        says = f"TTL {syn_ack.ttl} in the SYN-ACK, {mark.ttl} in the {what}: as far away, so it may be one sender"
        return Finding(None, says, frames)
    return Finding(False, f"the {what} has the SYN-ACK's TTL ({mark.ttl})", frames)


def _after_hello(observation: Observation, marks: tuple[Mark, ...], opening: Mark | None) -> Mark | None:
    """The first of these marks after the ClientHello and before any ServerHello; one that counts, if there is.

    A capture of several queues may have an answer before the question, and the right times.
    """
    if observation.client_hello is None:
        return None
    end = observation.server_hello.frame if observation.server_hello else None
    ignored = None
    for mark in marks:
        swapped = (
            observation.hello_first_frame - mark.frame <= MAX_SWAPPED
            and 0 < mark.time_ns - observation.client_hello.time_ns < SWAPPED_NS
        )
        after = mark.frame > observation.hello_first_frame or swapped
        if after and (end is None or mark.frame < end):
            if _counts(mark, opening) and mark.what != IGNORED:
                return mark
            ignored = ignored or mark
    return ignored


@needs(RESET)
def reset_by_another_sender(observation: Observation, surroundings: Surroundings) -> Finding:
    """The ClientHello was answered with a reset that did not come from the sender of the SYN-ACK."""
    mark = _after_hello(observation, observation.resets, observation.syn_ack)
    if mark is None:
        if observation.absent is Absent.ONE_SIDED:
            return Finding(None, "the server's side was not captured")
        return Finding(False, "no reset between the ClientHello and an answer")
    if observation.reaction is Reaction.WENT_ON:
        return Finding(False, "a reset that the client ignored: the handshake went on", (mark.frame,))
    if observation.absent is Absent.NOT_CAPTURED or observation.absent is Absent.TRUNCATED:
        return Finding(None, "an answer came before the reset, and is not wholly in the capture", (mark.frame,))
    return _no_answer(observation, mark, "reset") or _another_sender(observation, surroundings, mark, "reset")


def _same(one: Mark, syn_ack: Mark) -> bool:
    """Is this the same SYN-ACK, its TTL aside?"""
    fields = ("what", "ip_id", "window", "options", "dont_fragment")
    return all(getattr(one, name) == getattr(syn_ack, name) for name in fields)


def _no_answer(observation: Observation, mark: Mark, what: str) -> Finding | None:
    """Why what came after a ClientHello may be no answer to it, whoever sent it; None where it may."""
    return _ignored(observation, mark, what) or _too_late(observation, mark, what)


def _too_late(observation: Observation, mark: Mark, what: str) -> Finding | None:
    """Why a packet may not be for a ClientHello, by when it came; None where it may."""
    before = [probe for probe in observation.probes if probe.frame < mark.frame]
    asked = [probe.time_ns for probe in before] or [mark.time_ns]
    lost = len(before) >= TRIED and len({probe.ttl for probe in before}) == 1
    if lost and mark.time_ns - min(asked) > PROMPT_NS and mark.time_ns - max(asked) > SOON_NS:
        asked = asked[:1]  # none of the copies arrived: who waited for them waited from the first on
    return _late(max(asked), mark, what)


def _late(asked_ns: int, mark: Mark, what: str) -> Finding | None:
    """Why a packet may not be for what was last sent before it; None where it may."""
    took = mark.time_ns - asked_ns
    if not asked_ns or not mark.time_ns or took < -SWAPPED_NS:
        return Finding(None, f"the packets have no times that tell whether the {what} came soon", (mark.frame,))
    if took > PROMPT_NS:
        says = (
            f"the {what} came {took // 1_000_000_000} s later: so does that of a balancer or firewall which gave up"
            " waiting, or has forgotten the connection"
        )
        return Finding(None, says, (mark.frame,))
    return None


def _counts(mark: Mark, opening: Mark | None) -> bool:
    """Is a checksum right, or wrong as that of the same sender's first packet is, in a capture that rewrote them?"""
    return mark.checksum_ok or (opening is not None and not opening.checksum_ok)


def _ignored(observation: Observation, mark: Mark, what: str) -> Finding | None:
    """Why a packet says nothing of the path, whoever sent it; None where it may."""
    if not _counts(mark, observation.syn_ack):
        return Finding(False, f"the {what} has a wrong checksum: a client ignores it", (mark.frame,))
    if mark.what == IGNORED:
        return Finding(False, "a reset outside of the client's window, which it ignores", (mark.frame,))
    closed = observation.client_closed
    if closed is not None and closed < mark.frame:
        return Finding(
            False, "the client itself had closed, and what came after that may answer it", (closed, mark.frame)
        )
    return None


@needs(RESET)
def handshake_reset_by_another_sender(observation: Observation, surroundings: Surroundings) -> Finding:
    """A reset ended the handshake behind the ServerHello, and came from the sender of neither SYN-ACK nor ServerHello.

    A box before the server may answer SYNs in its place; what the server itself sends then has another TTL throughout.
    """
    hello = observation.server_hello
    after = [mark for mark in observation.resets if hello is not None and mark.frame > hello.frame]
    counting = (one for one in after if _counts(one, observation.syn_ack) and one.what != IGNORED)
    mark = next(counting, after[0] if after else None)
    if hello is None or mark is None:
        return Finding(False, "no reset behind a ServerHello")
    if observation.reaction is not Reaction.SILENT:
        return Finding(False, "a reset, but the client had said more after the ServerHello", (mark.frame,))
    if observation.odd_acks or observation.acknowledged_more:
        says = "a reset, but the server acknowledges more of the client than is in the capture"
        return Finding(None, says, (mark.frame,))
    why_not = _ignored(observation, mark, "reset") or _late(hello.time_ns, mark, "reset")
    if why_not is not None:
        return why_not
    found = _another_sender(observation, surroundings, mark, "reset")
    if not found.value:
        return found
    apart = differ(hello.ttl, mark.ttl)
    if apart is None:
        says = f"a reset with TTL {mark.ttl}, near the ServerHello's or a multiple of it ({hello.ttl}): open whose"
        return Finding(None, says, (hello.frame, mark.frame))
    if not apart:
        return Finding(False, f"the reset has the ServerHello's TTL ({mark.ttl})", (hello.frame, mark.frame))
    return found


@needs(CLIENT_RESET)
def client_reset_by_another_sender(observation: Observation, surroundings: Surroundings) -> Finding:
    """A reset in the client's name, after the ClientHello, that did not come from the sender of the SYN."""
    mark = _after_hello(observation, observation.client_resets, observation.syn)
    if mark is None:
        return Finding(False, "no reset in the client's name")
    if observation.syn is None:
        return Finding(None, "no SYN to compare the client's reset with", (mark.frame,))
    if observation.reaction is Reaction.WENT_ON or not _counts(mark, observation.syn) or mark.what == IGNORED:
        return Finding(False, "a reset that was ignored", (mark.frame,))
    if observation.client_closed is not None and observation.client_closed < mark.frame:
        return Finding(False, "the client itself had closed before", (observation.client_closed, mark.frame))
    frames = (observation.syn.frame, mark.frame)
    if observation.absent in UNSEEN:
        return Finding(None, "what the server's side answered before the reset is not in the capture", frames)
    if (late := _too_late(observation, mark, "reset in the client's name")) is not None:
        return late
    if surroundings.rebuilt:
        return Finding(None, surroundings.rebuilt, frames)
    if observation.syn.ttl in FRESH_TTLS or observation.syn.ttl + 1 in FRESH_TTLS:
        where = "beside the client" if observation.syn.ttl in FRESH_TTLS else "one router from the client"
        says = f"recorded {where} (TTL {observation.syn.ttl} in its SYN), whose own tools may send this"
        return Finding(None, says, frames)
    if observation.probe_ttl is not None or mark.ttl in {probe.ttl for probe in observation.probes}:
        return Finding(False, "the client's reset has the TTL of its own packets", frames)
    two = differ(observation.syn.ttl, mark.ttl)
    says = f"TTL {observation.syn.ttl} in the SYN, {mark.ttl} in the client's reset"
    return Finding(two, says + (": two senders, and a NAT on the client's side may be one" if two else ""), frames)


@needs(CLOSED)
def closed_by_another_sender(observation: Observation, surroundings: Surroundings) -> Finding:
    """The ClientHello was answered with a FIN that did not come from the sender of the SYN-ACK."""
    mark = observation.server_closed
    if mark is None or observation.failed != "closed":
        return Finding(False, "no FIN in answer to the ClientHello")
    return _no_answer(observation, mark, "FIN") or _another_sender(observation, surroundings, mark, "FIN")


@needs(PLAIN)
def plain_answer(observation: Observation, surroundings: Surroundings) -> Finding:
    """The ClientHello was answered with something that is no TLS."""
    del surroundings
    if observation.plain_frame is None:
        return Finding(False, "no plain answer")
    first = observation.plain_answer.split(b"\r\n", 1)[0][:60].decode("ascii", "backslashreplace")
    return Finding(True, f"the ClientHello was answered in plain text: {first}", (observation.plain_frame,))


@needs(PLAIN)
def plain_answer_by_another_sender(observation: Observation, surroundings: Surroundings) -> Finding:
    """The plain answer did not come from the sender of the SYN-ACK."""
    mark = next((m for m in observation.server_marks if m.frame == observation.plain_frame), None)
    if observation.plain_frame is None or mark is None:
        return Finding(False, "no plain answer")
    return _from_another(observation, surroundings, mark, "plain answer")


@needs(ALERT)
def server_alert(observation: Observation, surroundings: Surroundings) -> Finding:
    """The server's side answered the ClientHello with an alert."""
    del surroundings
    for alert in observation.alerts:
        if not alert.from_client and alert.code is not None and observation.server_hello is None:
            return Finding(
                True, f"the ClientHello was answered with the alert {alert_name(alert.code)}", (alert.seen.frame,)
            )
    return Finding(False, "no alert in answer to the ClientHello")


@needs(ALERT)
def alert_by_another_sender(observation: Observation, surroundings: Surroundings) -> Finding:
    """The alert did not come from the sender of the SYN-ACK."""
    found = answer(server_alert, observation, surroundings)
    mark = next((m for m in observation.server_marks if m.frame in found.frames), None)
    if not found.value or mark is None:
        return Finding(False, "no alert in answer to the ClientHello")
    return _from_another(observation, surroundings, mark, "alert")


def _from_another(observation: Observation, surroundings: Surroundings, mark: Mark, what: str) -> Finding:
    """Did an answer that lies in the server's stream not come from the sender of the SYN-ACK?"""
    return (
        _in_two_versions(observation, mark, what)
        or _no_answer(observation, mark, what)
        or _another_sender(observation, surroundings, mark, what)
    )


def _in_two_versions(observation: Observation, mark: Mark, what: str) -> Finding | None:
    """Did other bytes come for the same place of the server's stream? One sender sends one version."""
    for pair in observation.conflicts:
        if mark.frame in pair:
            return Finding(True, f"the {what}, and other bytes for the same place of the stream: two senders", pair)
    return None


@needs(CONFLICT)
def server_bytes_conflict(observation: Observation, surroundings: Surroundings) -> Finding:
    """The same bytes of the server's stream came twice with different content."""
    del surroundings
    if not observation.conflicts:
        return Finding(False, "no conflicting bytes from the server's side")
    return Finding(True, "different bytes for the same place of the server's stream", observation.conflicts[0])


@needs(CONFLICT)
def conflict_without_proof(observation: Observation, surroundings: Surroundings) -> Finding:
    """The server's bytes came in two versions, and nothing that is signed over this handshake shows whose it was."""
    found = answer(server_bytes_conflict, observation, surroundings)
    if found.value and (observation.possession is Possession.PROVED or observation.finished_ok):
        return Finding(False, "bytes conflict, and the handshake that is read was signed", found.frames)
    return found


@needs(CONFLICT)
def answer_in_dispute(observation: Observation, surroundings: Surroundings) -> Finding:
    """The server's bytes came in two versions, and no signature over this handshake shows that the one read was used.

    Whoever can put packets on the path can lay a published chain over a genuine answer, in segments that the client
    drops. What differs behind the Certificate alone disputes nothing.
    """
    del surroundings
    frame = observation.chain_seen.frame if observation.chain_seen is not None else None
    return dispute(observation.conflicts, frame, observation.possession, observation.finished_ok)


def dispute(
    conflicts: tuple[tuple[int, int], ...], chain: int | None, possession: Possession | None, finished_ok: bool | None
) -> Finding:
    """The same of a handshake with its Certificate in frame `chain`."""
    if not conflicts:
        return Finding(False, "no conflicting bytes from the server's side")
    if chain is not None and len(conflicts) < MAX_CONFLICTS and min(map(min, conflicts)) > chain:
        return Finding(False, "bytes conflict behind the server's Certificate alone", conflicts[0])
    if possession is Possession.PROVED or finished_ok:
        return Finding(False, "bytes conflict, and the version that is read was signed in this handshake")
    says = "bytes of the server's answer came in two versions: which one the client took is not shown"
    return Finding(True, says, conflicts[0])


@needs(OTHER_TTL)
def hello_by_another_sender(observation: Observation, surroundings: Surroundings) -> Finding:
    """The ServerHello did not come from the sender of the SYN-ACK."""
    mark = answering(observation)
    if mark is None or (observation.syn_ack is not None and observation.syn_ack.ttl == mark.ttl):
        return Finding(False, "no ServerHello, or it has the SYN-ACK's TTL")
    return _another_sender(observation, surroundings, mark, HELLOS[mark.what])


@needs(UNANSWERED)
def failed_repeatedly_beside_controls(observation: Observation, surroundings: Surroundings) -> Finding:
    """At least three failing attempts interleaved with three controls that got through, to a server of that name."""
    if observation.failed not in FAILURES or observation.server_name is None or observation.probe_ttl is not None:
        return Finding(False, "no failed attempt")
    failures = surroundings.attempts.failures(observation)
    count = failures.attempts
    if count < NEEDED:
        return Finding(None if count else False, f"{count} failing attempt(s): one silence may be loss")
    first, last = failures.some[0].time_ns, failures.last_ns
    around = surroundings.attempts.controls(observation, first - MINUTE, last + MINUTE)
    between = [control for control in around if first < control.time_ns < last]
    frames = tuple(attempt.frame for attempt in (*failures.some[:NEEDED], *around[:NEEDED]))
    if len(around) < NEEDED or surroundings.attempts.apart(observation, first - MINUTE, last + MINUTE, NEEDED) < NEEDED:
        return Finding(None, f"{count} failing attempts, but not interleaved with {NEEDED} controls", frames)
    passed = surroundings.attempts.successes(observation, first, last)
    if passed.attempts:
        says = f"this very name got through {passed.attempts} times between its {count} failures"
        return Finding(None, says, tuple(attempt.frame for attempt in passed.some[:6]))
    short = sum([control.long for control in around]) < NEEDED
    if observation.transport == "tcp" and observation.long_hello and short and _drew_nothing(observation):
        says = f"{count} attempts failed whose ClientHello takes more than one packet, unlike those of the controls:"
        return Finding(None, says + " a path that loses long packets does this to any name", frames)
    server, name = observation.server[0], observation.server_name
    if observation.transport == "quic" and not surroundings.attempts.speaks_quic(server):
        return Finding(None, "nothing shows that this server speaks QUIC at all", frames)
    if not surroundings.genuine_here(server, name) and name not in surroundings.names_of_servers.get(server, ()):
        return Finding(None, "the server may refuse this name: nothing shows that it hosts it", frames)
    here = sum([control.server == hash(server) for control in around])
    kind = "to the same server" if here else "of the same client within ten minutes, to other servers,"
    if here and here < len(around):
        kind = f"({here} to the same server, the others of the same client within ten minutes)"
    says = f"{count} attempts failed; {len(around)} controls {kind} got through, {len(between)} of them in between"
    own = _own_refusals(observation)
    if own:
        says += f"; {own}: that the server refuses this name itself is not excluded"
    elif not here:
        says += ": that the server itself failed is not excluded"
    return Finding(True, says, frames)


def _drew_nothing(observation: Observation) -> bool:
    """Did a failed attempt end in silence, or with a reset so late that whoever sent it had given up waiting?"""
    if observation.failed == "reset":
        return _too_late(observation, observation.resets[0], "reset") is not None
    return observation.failed == "silent"


def _own_refusals(observation: Observation) -> str:
    """The reset or FIN of this attempt that has nothing of another sender's, in words; empty where there is none."""
    first = observation.syn_ack
    mark = observation.resets[0] if observation.failed == "reset" else observation.server_closed
    if observation.failed == "silent" or mark is None or first is None or first.ttl != mark.ttl:
        return ""
    return f"the {'reset' if observation.failed == 'reset' else 'FIN'} has the SYN-ACK's TTL ({mark.ttl})"


@needs(NEIGHBOURS)
def server_genuine_for_other_names(observation: Observation, surroundings: Surroundings) -> Finding:
    """The same server answered other names with a publicly trusted chain: the name made the difference."""
    examples = surroundings.genuine_names(observation.server[0])
    others = {name: frame for name, frame in examples.items() if name != observation.server_name}
    if not others:
        return Finding(False, "no other name at this server got a publicly trusted chain")
    names = ", ".join(sorted(others)[:3])
    return Finding(
        True,
        f"the same server answered other names ({names}) with a trusted chain",
        tuple(sorted(others.values()))[:6],
    )


@needs(OTHER_CHAIN)
def other_chain_by_interception_key(observation: Observation, surroundings: Surroundings) -> Finding:
    """A later copy of conflicting server bytes holds a chain that a known or supplied interception key signed."""
    if not observation.other_chain:
        return Finding(False, "no second chain in conflicting bytes")
    facts = surroundings.facts_of(observation.other_chain, observation.time_ns)
    frames = (observation.other_chain_frame,) if observation.other_chain_frame else ()
    if facts is None or facts.interception is None or len(facts.interception.certificates) < 2:
        return Finding(False, "the second chain in conflicting bytes is by no interception key", frames)
    known = facts.interception.anchor.common_name
    return Finding(True, f'another chain for the same bytes is signed by the interception key of "{known}"', frames)
