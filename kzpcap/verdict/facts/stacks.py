"""Facts about the machine that answered, or that asked: counters, clocks, signatures and distances beside each other.

Each is weak alone, for load balancers, offloading and busy hosts do these things too: they are told with their numbers,
and decide nothing. FACTS of the field: PASSIVE (SIGCOMM 2023), RFC 7323, RFC 9293.
"""

from __future__ import annotations

from itertools import islice, pairwise

from kzpcap.observations import Mark, Observation
from kzpcap.paths.hops import FRESH_TTLS, differ, family
from kzpcap.paths.stack import one_clock, stamps, steps_like_a_counter
from kzpcap.surroundings import Surroundings
from kzpcap.surroundings.responders import CONTROLS
from kzpcap.verdict.features import (
    ALIKE,
    COMPARED,
    ODD_ACKS,
    ODD_ID,
    ONE_CLOCK,
    SYN_STAMPS,
    ids_break,
    needs,
    without_a_counter,
)
from kzpcap.verdict.logic import Finding

NEEDED = 3
HIGHEST_PROBE = 40
"""The highest TTL with which ladders are gone up."""
NEAR_NS = 1_000_000_000
"""A counter that many connections share moves on; further apart in time, steps say nothing."""
NAMES = {"syn_ack": "SYN-ACK", "server_hello": "ServerHello", "certificate": "Certificate", "fin": "FIN"}


NO_ODD_ID = Finding(False, "no IP ID that stands out of a counter, or too few to tell")


def _named(mark: Mark) -> str:
    return NAMES.get(mark.what, mark.what)


@needs(ODD_ID)
def ip_id_breaks(observation: Observation, surroundings: Surroundings) -> Finding:
    """All IP IDs of the server's side but one form a counter.

    Zero in a SYN-ACK or a reset beside a counter is Linux's own doing (both are sent without a socket's counter), and
    counts as nothing.
    """
    del surroundings
    sent = observation.server_marks
    if len(sent) <= NEEDED or not ids_break(observation):
        return NO_ODD_ID
    marks = [mark for mark in sent if mark.ip_id or not without_a_counter(mark)]
    if len(marks) < len(sent) and any(mark.ip_id == 0 for mark in marks):
        marks = list(sent)
    if len(marks) <= NEEDED:
        return NO_ODD_ID
    ids = [mark.ip_id for mark in marks]
    breaks = sum([not steps_like_a_counter(one, two) for one, two in pairwise(ids)])
    if not 0 < breaks <= 2:  # one that stands out breaks a counter before itself, behind itself or both
        return NO_ODD_ID
    for at, odd in enumerate(marks):
        others = [mark for mark in marks if mark is not odd]
        if without_a_counter(odd) or any(one.ip_id == odd.ip_id for one in others):
            continue  # of two that are equal nothing tells which is the stranger
        if len(others) < NEEDED or not all(steps_like_a_counter(one.ip_id, two.ip_id) for one, two in pairwise(others)):
            continue
        before = others[max(0, min(at, len(others)) - 1)]
        after = others[min(at, len(others) - 1)]
        if min(abs(odd.time_ns - before.time_ns), abs(odd.time_ns - after.time_ns)) > NEAR_NS or any(
            steps_like_a_counter(*pair, observation.server_packets)
            for pair in ((before.ip_id, odd.ip_id), (odd.ip_id, after.ip_id), (odd.ip_id, before.ip_id))
        ):
            continue
        counter = "zero" if others[0].ip_id == others[-1].ip_id == 0 else f"{others[0].ip_id} to {others[-1].ip_id}"
        says = (
            f"IP ID {odd.ip_id} in the {_named(odd)}, where the server's other {len(others)} packets kept have"
            f" {counter}: another stack, or a counter that many connections share"
        )
        return Finding(True, says, (odd.frame, before.frame, after.frame) if before is not after else _two(odd, before))
    return NO_ODD_ID


def _two(one: Mark, other: Mark) -> tuple[int, ...]:
    return (one.frame, other.frame)


@needs(SYN_STAMPS)
def timestamps_break(observation: Observation, surroundings: Surroundings) -> Finding:
    """The server's TCP timestamps vanish after the SYN-ACK, or are of another clock than the SYN-ACK's.

    RFC 7323 section 3.2: once negotiated, every segment but a reset carries them.
    """
    del surroundings
    syn, first = observation.syn, observation.syn_ack
    mine = stamps(first.options) if first else None
    if first is None or mine is None or syn is None or stamps(syn.options) is None:
        return Finding(None, "no TCP timestamps were agreed on")
    for mark in observation.server_marks:
        if mark.frame <= first.frame or mark.what in ("syn_ack", "reset"):
            continue
        theirs = stamps(mark.options)
        if theirs is None:
            says = f"TCP timestamps were agreed on, and the {_named(mark)} has none (RFC 7323 section 3.2)"
            return Finding(True, says, (first.frame, mark.frame))
        if not one_clock(mine[0], first.time_ns, theirs[0], mark.time_ns):
            took = (mark.time_ns - first.time_ns) / 1e6
            says = f"TCP timestamp {mine[0]} in the SYN-ACK, {theirs[0]} in the {_named(mark)} {took:.1f} ms later"
            return Finding(True, f"{says}: two clocks", (first.frame, mark.frame))
    return Finding(False, "the server's TCP timestamps are of one clock")


@needs(SYN_STAMPS)
def echoes_no_timestamp(observation: Observation, surroundings: Surroundings) -> Finding:
    """The server's side echoes a TCP timestamp outside of what the client sent (RFC 7323 section 4.3)."""
    del surroundings
    sent = observation.client_stamps
    if observation.syn is None or sent is None or stamps(observation.syn.options) is None:
        return Finding(None, "the client's first TCP timestamp was not seen")
    for mark in observation.server_marks:
        echoed = stamps(mark.options)
        if mark.what == "reset" or echoed is None:
            continue
        # What lies between is not in the capture in full: acknowledgements are not kept.
        if not one_clock(sent[0], observation.time_ns, echoed[1], mark.time_ns):
            says = f"the {_named(mark)} echoes the TCP timestamp {echoed[1]}; the client sent {sent[0]} to {sent[1]}"
            return Finding(True, says, (observation.syn.frame, mark.frame))
    return Finding(False, "the server's side echoes the client's own TCP timestamps")


@needs(ODD_ACKS)
def acknowledged_unsent(observation: Observation, surroundings: Surroundings) -> Finding:
    """The server's side acknowledges bytes that the client had not sent: two halves of a connection out of step."""
    del surroundings
    if not observation.odd_acks:
        return Finding(False, "nothing unsent is acknowledged")
    says = "the server's side acknowledges bytes that the client had not sent (RFC 9293 section 3.10.7.4)"
    return Finding(True, says, observation.odd_acks)


@needs(COMPARED)
def syn_answered_unlike_controls(observation: Observation, surroundings: Surroundings) -> Finding:
    """The SYN was answered by another stack than the SYNs of controls to the same address, which were equal."""
    mine = surroundings.responders.of(observation)
    others = [one for one in surroundings.responders.controls(observation) if mine and one.stack.asked == mine.asked]
    if mine is None or len(others) < CONTROLS:
        return Finding(None, "no SYN-ACK, or too few controls to the same address to compare it with theirs")
    theirs = {one.stack.signature for one in others}
    if len(theirs) > 1:
        return Finding(None, "the controls to the same address got SYN-ACKs of several stacks themselves")
    if mine.signature in theirs:
        return Finding(False, "the SYN-ACK has the signature of the controls' to the same address")
    says = (
        f"SYN-ACK with {mine.signature}; the {len(others)} controls to the same address got {next(iter(theirs))}:"
        " another stack, or another machine behind a load balancer"
    )
    return Finding(True, says, (_syn_ack_frame(observation), *surroundings.responders.frames(others[:3])))


@needs(COMPARED)
def answered_from_another_distance(observation: Observation, surroundings: Surroundings) -> Finding:
    """The ServerHello came over another number of hops than the ServerHellos of controls to the same address."""
    hello = observation.server_hello
    others = [one for one in surroundings.responders.controls(observation) if one.hello_ttl is not None]
    through = surroundings.rebuilt or observation.transport != "tcp" or observation.tunnels or observation.proxied
    if hello is None or through or len(others) < CONTROLS:
        return Finding(None, "no ServerHello, or too few controls to the same address to compare its TTL with theirs")
    ttls = sorted({one.hello_ttl for one in others if one.hello_ttl is not None})
    outcomes = {differ(ttl, hello.ttl) for ttl in ttls}
    seen = ", ".join(map(str, ttls[:4]))
    if False in outcomes:
        return Finding(False, f"the ServerHello came as far as those of controls to the same address (TTL {seen})")
    frames = (hello.frame, *surroundings.responders.frames(others[:3]))
    if outcomes == {True}:
        says = f"TTL {hello.ttl} in the ServerHello, {seen} in those of {len(others)} controls to the same address"
        return Finding(True, f"{says}: another sender, or another way", frames)
    return Finding(None, f"TTL {hello.ttl} in the ServerHello, {seen} in those of controls: may be one sender", frames)


def _syn_ack_frame(observation: Observation) -> int:
    return observation.syn_ack.frame if observation.syn_ack else 0


@needs(ALIKE)
def one_stack_for_many_servers(observation: Observation, surroundings: Surroundings) -> Finding:
    """Unrelated addresses answered SYNs with one TTL and one signature: a TCP proxy would; of TLS it shows nothing."""
    alike = surroundings.responders.same_stack(observation)
    if alike is None:
        return Finding(False, "the servers of this capture do not answer SYNs alike")
    systems = surroundings.systems_of(alike)
    if systems < NEEDED:
        return Finding(None, f"{alike.servers} addresses answered SYNs alike, and are of {systems} AS only")
    ttl = observation.syn_ack.ttl if observation.syn_ack else 0
    says = (
        f"{alike.servers} addresses in {systems} AS answered SYNs with TTL {ttl} and one signature: one stack"
        " that terminates TCP, or chance; it says nothing of TLS"
    )
    return Finding(True, says, tuple(sorted(islice(alike.some.values(), 6))))


@needs(ONE_CLOCK)
def one_clock_for_several_servers(observation: Observation, surroundings: Surroundings) -> Finding:
    """SYN-ACKs of several addresses bear timestamps of one clock: one machine answered for them."""
    servers = surroundings.responders.same_clock(observation)
    if not servers:
        return Finding(False, "no clock that several servers share")
    says = (
        f"the SYN-ACKs of {len(servers)} addresses bear TCP timestamps of one clock: one machine answered for all,"
        " a proxy or a host with several addresses; it says nothing of TLS"
    )
    return Finding(True, says, tuple(sorted(servers.values())[:6]))


def client_hello_by_another_sender(observation: Observation, surroundings: Surroundings) -> Finding:
    """The ClientHello did not come from the sender of the SYN: a box between the client and here took over.

    Beside the client, and of probes with lowered TTLs, such a difference is the client's own making.
    """
    syn, hello = observation.syn, observation.client_hello
    if syn is None or hello is None or syn.ttl == hello.ttl:
        return Finding(False, "the ClientHello has the SYN's TTL, or one of them was not seen")
    frames = (syn.frame, hello.frame)
    if surroundings.rebuilt:
        return Finding(None, surroundings.rebuilt, frames)
    if observation.tunnels or syn.ttl in FRESH_TTLS or syn.ttl + 1 in FRESH_TTLS:
        return Finding(
            None, "another TTL in the ClientHello than in the SYN: beside the client, its own making", frames
        )
    if observation.probe_ttl is not None or len({probe.ttl for probe in observation.probes}) > 1:
        return Finding(None, "ClientHellos with several TTLs: probes", frames)
    ttls = f"TTL {syn.ttl} in the SYN, {hello.ttl} in the ClientHello"
    nearer = hello.ttl > syn.ttl if family(hello.ttl) == family(syn.ttl) else hello.ttl > HIGHEST_PROBE
    if not nearer or not differ(syn.ttl, hello.ttl):
        return Finding(None, f"{ttls}: as far away, or a probe", frames)
    return Finding(True, f"{ttls}: two senders in the client's name", frames)
