"""Facts about what is not there, and why."""

from __future__ import annotations

from kzpcap.iana import version_name
from kzpcap.observations import Absent, Observation
from kzpcap.surroundings import Surroundings
from kzpcap.verdict.facts.common import CONTRADICTED, NO_CLOCK, chain_frames
from kzpcap.verdict.features import (
    ABSENT,
    CHAIN,
    CLOCK_CONTRADICTED,
    HIDDEN,
    NAMELESS,
    NO_TLS,
    OLDER_CHOSEN,
    TIMELESS,
    UNANSWERED,
    needs,
)
from kzpcap.verdict.logic import Fact, Finding


def absent(*reasons: Absent) -> Fact:
    """The certificate is missing for one of these reasons."""

    @needs(HIDDEN if Absent.ENCRYPTED in reasons else ABSENT)
    def ask(observation: Observation, surroundings: Surroundings) -> Finding:
        del surroundings
        if observation.absent in reasons:
            says = observation.chain_problem or ABSENT_SAYS[observation.absent]
            return Finding(True, says, (_shows(observation),))
        return Finding(False, "not missing for this reason")

    return ask


def _shows(observation: Observation) -> int:
    """The frame that shows why there is no whole certificate: of the part that came, of the hello that came last."""
    seen = observation.chain_seen or observation.server_hello
    if seen is None and observation.absent is not Absent.ONE_SIDED:
        answer = next((mark.frame for mark in observation.server_marks if mark.what != "syn_ack"), None)
        if answer is not None:
            return answer
    seen = seen or observation.client_hello
    return seen.frame if seen is not None else observation.first_frame


ABSENT_SAYS = {
    Absent.ENCRYPTED: "TLS 1.3: the certificate is encrypted, and there is no key log",
    Absent.UNDECRYPTABLE: "TLS 1.3: the certificate is encrypted, and the key log does not open it",
    Absent.RESUMED: "the session was resumed: no certificate is sent",
    Absent.NOT_SENT: "the server sent no certificate (anonymous or pre-shared key, or an empty list)",
    Absent.NOT_REACHED: "the handshake did not get as far as a certificate",
    Absent.NOT_CAPTURED: "the part of the handshake with the certificate was not captured",
    Absent.ONE_SIDED: "only the client's direction was captured",
    Absent.TRUNCATED: "the certificate was cut short",
    Absent.MALFORMED: "the handshake is malformed",
    Absent.LIMIT: "a bound on kept bytes gave up before the certificate",
    Absent.SCRUBBED: "the certificate was taken out of the capture",
}


@needs(UNANSWERED)
def probe_unanswered(observation: Observation, surroundings: Surroundings) -> Finding:
    """A ClientHello with a lowered TTL drew no answer: nothing at all."""
    del surroundings
    said = observation.server_hello or observation.version  # a HelloRetryRequest has a version too
    other = observation.reset_taken or observation.plain_frame or observation.server_closed
    other = other or any(not alert.from_client for alert in observation.alerts)
    other = (
        other or observation.server_bytes or observation.absent is Absent.NOT_CAPTURED
    )  # an answer, or a part of one
    if observation.probe_ttl is None or said or other:
        return Finding(False, "not an unanswered TTL-limited probe")
    return Finding(
        True, f"a probe with TTL {observation.probe_ttl} that no server answered", (observation.probes[0].frame,)
    )


def _ended_in(observation: Observation, kind: str) -> int | None:
    """The frame of what a connection ended with in place of an answer; None for silence."""
    if kind == "reset":
        return observation.resets[0].frame
    if kind == "closed":
        return observation.server_closed.frame if observation.server_closed else None
    if kind == "alert":
        return next((alert.seen.frame for alert in observation.alerts if not alert.from_client), None)
    return observation.plain_frame if kind == "plain" else None


def failed_with(kind: str) -> Fact:
    """The connection ended in this way after its ClientHello."""

    @needs(UNANSWERED)
    def ask(observation: Observation, surroundings: Surroundings) -> Finding:
        del surroundings
        if observation.failed != kind:
            return Finding(False, "ended otherwise")
        says = {
            "reset": "reset after the ClientHello, by the sender of the SYN-ACK as far as can be told",
            "silent": "no answer to the ClientHello",
            "plain": "a plain answer to the ClientHello",
            "alert": "an alert in answer to the ClientHello",
            "closed": "a FIN in answer to the ClientHello, by the sender of the SYN-ACK as far as can be told",
        }[kind]
        return Finding(True, says, (_ended_in(observation, kind) or observation.first_frame,))

    return ask


@needs(CHAIN, TIMELESS)
def no_clock(observation: Observation, surroundings: Surroundings) -> Finding:
    """A certificate is there, and the packets have no time to judge it by."""
    if surroundings.at is not None:
        return Finding(False, "judged by the time that was given")
    if not observation.chain or observation.time_ns:
        return Finding(False, "no certificate, or packets with a time")
    return Finding(True, NO_CLOCK.says, chain_frames(observation))


@needs(CLOCK_CONTRADICTED)
def clock_contradicted(observation: Observation, surroundings: Surroundings) -> Finding:
    """A certificate is there, and what is signed or independent in the capture contradicts its clock."""
    if not surroundings.clock.contradicted or surroundings.at is not None:
        return Finding(False, "nothing in the capture contradicts its clock")
    children = tuple(Finding(True, reason.says, reason.frames) for reason in surroundings.clock.reasons)
    return Finding(bool(observation.chain), CONTRADICTED.says, chain_frames(observation), children)


@needs(NO_TLS)
def payload_cut(observation: Observation, surroundings: Surroundings) -> Finding:
    """A TCP connection to a TLS port whose first segment was cut before TLS could be told by its bytes."""
    del surroundings
    if observation.tls or observation.absent is not Absent.TRUNCATED:
        return Finding(False, "its first bytes are there")
    return Finding(True, "the first segment was cut by the snapshot length", (observation.first_frame,))


@needs(NO_TLS)
def no_tls(observation: Observation, surroundings: Surroundings) -> Finding:
    """A TCP connection to a TLS port without any TLS byte."""
    del surroundings
    if observation.tls:
        return Finding(False, "TLS is in it")
    return Finding(True, "a TCP connection without TLS in it", (observation.first_frame,))


@needs(NAMELESS)
def no_name_sent(observation: Observation, surroundings: Surroundings) -> Finding:
    """The client sent a whole hello without a name."""
    del surroundings
    hello = observation.client_hello
    frames = (hello.frame,) if observation.name_status == "absent" and hello is not None else ()
    return Finding(observation.name_status == "absent", "the client asked for no name", frames)


@needs(NAMELESS)
def name_not_captured(observation: Observation, surroundings: Surroundings) -> Finding:
    """The name asked for is not in the capture."""
    del surroundings
    if observation.ech_inner_unknown:
        return inner_name_encrypted(observation)
    return Finding(observation.name_status in ("cut", "no_hello"), "the name that was asked for was not captured")


@needs(CHAIN, NAMELESS)
def certificate_for_listed_name(observation: Observation, surroundings: Surroundings) -> Finding:
    """The name asked for is not in the capture, and the certificate is for one on a list: of a server's side alone."""
    facts = surroundings.chain_facts(observation)
    if facts is None or observation.name_status not in ("cut", "no_hello"):
        return Finding(False, "no certificate, or the name that was asked for is there")
    moment = surroundings.moment(observation.time_ns)
    for name in facts.leaf.dns_names:
        found = surroundings.targets.match(name.lower(), moment)
        if found is not None and found.exact:
            says = (
                f"the certificate is for {found.name}, which is on the list {found.list_id}; what was asked for is open"
            )
            return Finding(True, says, chain_frames(observation))
    return Finding(False, "the certificate is for no name on a list")


@needs(NAMELESS)
def inner_name_encrypted(observation: Observation, surroundings: Surroundings | None = None) -> Finding:
    """The name on the wire is one that servers publish for ECH: the name asked is in the encrypted part."""
    del surroundings
    if not observation.ech_inner_unknown or observation.client_hello is None:
        return Finding(False, "the name on the wire is not known as the public name of encrypted ones")
    return Finding(
        True,
        f"{observation.server_name} is the public name of ECH: the name asked is encrypted",
        (observation.client_hello.frame,),
    )


@needs(OLDER_CHOSEN)
def tls13_not_kept(observation: Observation, surroundings: Surroundings) -> Finding:
    """The client offered TLS 1.3 and an older version came."""
    del surroundings
    if observation.version is None or not observation.offers_tls13 or observation.version >= 0x0304:
        return Finding(False, "TLS 1.3 was not offered, or was kept, or nothing was chosen")
    frames = tuple(seen.frame for seen in (observation.client_hello, observation.server_hello) if seen is not None)
    return Finding(True, f"TLS 1.3 was offered, {version_name(observation.version)} was chosen", frames)
