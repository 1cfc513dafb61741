"""The vocabulary: one function is one fact, asked of one connection; one sentence, and the frames that show it.

True, false, or unknown where the capture cannot tell. Facts about certificates first, then who answered, then what
is missing.
"""

from __future__ import annotations

from kzpcap.certificates.chains import ChainFacts
from kzpcap.certificates.names import carries
from kzpcap.certificates.possession import Possession
from kzpcap.certificates.resigned import compare
from kzpcap.iana import alert_name, is_tls13, version_name
from kzpcap.observations import Absent, Mark, Observation, Reaction
from kzpcap.paths.hops import differ
from kzpcap.surroundings import Surroundings
from kzpcap.verdict.logic import Fact, Finding

NO_CERTIFICATE = Finding(None, "no certificate of the server can be read here")
NO_CLOCK = Finding(None, "the packets have no time, so nothing can be judged by its day")
NEEDED = 3
"""Failing attempts, and controls that got through, for `interfered` without another sender shown."""
MINUTE = 60_000_000_000


def _chain(observation: Observation, surroundings: Surroundings) -> ChainFacts | None:
    return surroundings.chain_facts(observation)


def _frames(observation: Observation) -> tuple[int, ...]:
    return (observation.chain_seen.frame,) if observation.chain_seen else ()


# certificates


def certificate_visible(observation: Observation, surroundings: Surroundings) -> Finding:
    """A certificate of the server can be read."""
    del surroundings
    if observation.chain:
        return Finding(True, f"the server's chain of {len(observation.chain)} can be read", _frames(observation))
    return Finding(False, "no certificate of the server can be read")


def chain_verified_to_interception_key(observation: Observation, surroundings: Surroundings) -> Finding:
    """A verified path leads from the leaf to a shipped key that is known to intercept."""
    facts = _chain(observation, surroundings)
    if facts is None:
        return NO_CERTIFICATE
    if facts.interception is None or facts.interception_ca is None or facts.interception_ca.generation is None:
        return Finding(False, "no known interception key signed this chain")
    links = facts.interception.certificates
    if len(links) == 1:
        return Finding(False, "the leaf is the published certificate of a known CA itself: it signed nothing here")
    generation = facts.interception_ca.generation
    names = " <- ".join(f'"{certificate.common_name}"' for certificate in links)
    root = surroundings.chains.known_issuer(links[-1])
    beyond = f', itself signed by "{root.common_name}"' if root else ""
    return Finding(
        True,
        f"signatures verified from the leaf up: {names}{beyond}",
        _frames(observation),
        (
            Finding(
                True,
                f'the key of "{facts.interception_ca.certificate.common_name}" is known: {generation.title}'
                + (
                    f", seen intercepting {generation.seen_first} to {generation.seen_last}"
                    if generation.seen_first
                    else ""
                ),
            ),
        ),
    )


def key_seen_intercepting(observation: Observation, surroundings: Surroundings) -> Finding:
    """The known key was itself seen to intercept (else it is known from block lists alone)."""
    facts = _chain(observation, surroundings)
    if facts is None:
        return NO_CERTIFICATE
    generation = facts.interception_ca.generation if facts.interception_ca else None
    if generation is None:
        return Finding(False, "no known interception key signed this chain")
    says = "was seen intercepting" if generation.seen_intercepting else "is known from browsers' block lists alone"
    return Finding(generation.seen_intercepting, f"this generation {says}")


def leaf_signed_by_known_intermediate(observation: Observation, surroundings: Surroundings) -> Finding:
    """The leaf is signed by a certificate on the wire whose SHA-1 is that of a known interception intermediate."""
    facts = _chain(observation, surroundings)
    if facts is None:
        return NO_CERTIFICATE
    if facts.sha1_generation is None:
        return Finding(False, "no intermediate known by its fingerprint signed this leaf")
    return Finding(
        True,
        f"signed by an intermediate on the wire whose SHA-1 is listed: {facts.sha1_generation.title}",
        _frames(observation),
    )


def chain_verified_to_supplied_ca(observation: Observation, surroundings: Surroundings) -> Finding:
    """A verified path leads to an interception CA given on the command line."""
    facts = _chain(observation, surroundings)
    if facts is None:
        return NO_CERTIFICATE
    if facts.interception is None or facts.interception_ca is None or facts.interception_ca.generation is not None:
        return Finding(False, "no supplied interception CA signed this chain")
    if len(facts.interception.certificates) == 1:
        return Finding(False, "the leaf is the supplied CA itself: it signed nothing here")
    names = " <- ".join(f'"{certificate.common_name}"' for certificate in facts.interception.certificates)
    return Finding(True, f"signatures verified up to a CA given on the command line: {names}", _frames(observation))


def chain_is_specimen(observation: Observation, surroundings: Surroundings) -> Finding:
    """The leaf is a published certificate, or has its key: anyone can replay it."""
    leaf = surroundings.certificates[observation.chain[0]] if observation.chain else None
    title = surroundings.specimens.get(leaf.spki_sha256) if leaf else None
    if title is None:
        return Finding(False, "the leaf is no published specimen")
    return Finding(True, f"the leaf is {title}: a replay cannot be excluded", _frames(observation))


def bears_names_of_known_ca(observation: Observation, surroundings: Surroundings) -> Finding:
    """The chain bears the name or key id of a known interception CA, without a verified signature."""
    facts = _chain(observation, surroundings)
    if facts is None:
        return NO_CERTIFICATE
    if facts.imitation is None or facts.imitation.fails:
        return Finding(False, "no name or key id of a known interception CA without a signature to check")
    what = "issuer name" if facts.imitation.mark == "issuer_name" else "authority key id"
    known = facts.imitation.ca.certificate.common_name
    return Finding(True, f'the {what} is that of "{known}", but its signature cannot be checked', _frames(observation))


def imitates_known_ca(observation: Observation, surroundings: Surroundings) -> Finding:
    """The chain bears a known CA's name or key id, and the signature is not that key's."""
    facts = _chain(observation, surroundings)
    if facts is None:
        return NO_CERTIFICATE
    if facts.imitation is None or not facts.imitation.fails:
        return Finding(False, "no failing signature under a known interception CA's name")
    what = "name" if facts.imitation.mark == "issuer_name" else "key id"
    known = facts.imitation.ca.certificate.common_name
    return Finding(True, f'the {what} of "{known}", not its key: the signature does not verify', _frames(observation))


def publicly_trusted(observation: Observation, surroundings: Surroundings) -> Finding:
    """A verified path leads to a root that was in the public bundle on the capture's day."""
    facts = _chain(observation, surroundings)
    if facts is None:
        return NO_CERTIFICATE
    if not observation.time_ns:
        return NO_CLOCK
    if facts.standing is None or facts.public is None:
        return Finding(False, "linked to no root of any public bundle that kzpcap ships")
    anchor = facts.public.anchor.common_name or facts.public.anchor.subject
    if not facts.standing.trusted:
        return Finding(False, f'linked to "{anchor}", which was not in the bundle of {facts.standing.release}')
    return Finding(
        True,
        f'linked by signatures to "{anchor}", in the certifi bundle of {facts.standing.release}',
        _frames(observation),
    )


def trusted_by_supplied_anchor(observation: Observation, surroundings: Surroundings) -> Finding:
    """A verified path leads to a trust anchor given on the command line."""
    facts = _chain(observation, surroundings)
    if facts is None:
        return NO_CERTIFICATE
    if facts.supplied is None:
        return Finding(False, "linked to no trust anchor given on the command line")
    anchor = facts.supplied.anchor.common_name or facts.supplied.anchor.subject
    return Finding(True, f'linked by signatures to the supplied trust anchor "{anchor}"', _frames(observation))


def root_public_at_another_time(observation: Observation, surroundings: Surroundings) -> Finding:
    """The chain ends at a root that was public at some time, but not on the capture's day."""
    facts = _chain(observation, surroundings)
    if facts is None:
        return NO_CERTIFICATE
    if not observation.time_ns:
        return NO_CLOCK
    if facts.public is None or facts.standing is None or facts.standing.trusted:
        return Finding(False, "not a root that was public at another time")
    until = f"to {facts.standing.last}" if facts.standing.last else "to this day"
    anchor = facts.public.anchor.common_name or facts.public.anchor.subject
    return Finding(
        True, f'linked to "{anchor}", in the bundles from {facts.standing.first} {until}', _frames(observation)
    )


def name_matches(observation: Observation, surroundings: Surroundings) -> Finding:
    """The leaf carries the name that the client asked for."""
    facts = _chain(observation, surroundings)
    if facts is None:
        return NO_CERTIFICATE
    if observation.server_name is None:
        return Finding(None, "the name that was asked for is not in the capture")
    if carries(facts.leaf, observation.server_name):
        return Finding(True, f"the certificate is for the name asked, {observation.server_name}", _frames(observation))
    listed = ", ".join(facts.leaf.dns_names[:3]) or facts.leaf.common_name or "no name"
    return Finding(
        False, f"the certificate is not for {observation.server_name}: it has {listed}", _frames(observation)
    )


def certificate_for_another_name(observation: Observation, surroundings: Surroundings) -> Finding:
    """The leaf does not carry the name asked (a forger may copy the names of the server's own certificate)."""
    found = name_matches(observation, surroundings)
    return Finding(None if found.value is None else not found.value, found.says, found.frames)


def within_dates(observation: Observation, surroundings: Surroundings) -> Finding:
    """The leaf was within its dates by the capture's clock."""
    facts = _chain(observation, surroundings)
    if facts is None:
        return NO_CERTIFICATE
    if not observation.time_ns:
        return NO_CLOCK
    when = facts.within_dates(observation.time_ns)
    if when == "valid":
        return Finding(True, "within its dates by the capture's clock", _frames(observation))
    return Finding(
        False, "expired" if when == "expired" else "not yet valid by the capture's clock", _frames(observation)
    )


def signed_by_national_ca(observation: Observation, surroundings: Surroundings) -> Finding:
    """The chain ends at a national CA that is in lawful use."""
    facts = _chain(observation, surroundings)
    if facts is None:
        return NO_CERTIFICATE
    if facts.national is None:
        return Finding(False, "not signed by a listed national CA")
    return Finding(True, f"signed by {facts.national.title}, a national CA", _frames(observation))


def self_signed(observation: Observation, surroundings: Surroundings) -> Finding:
    """The leaf signed itself."""
    facts = _chain(observation, surroundings)
    if facts is None:
        return NO_CERTIFICATE
    if not facts.self_signed:
        return Finding(False, "the leaf did not sign itself")
    return Finding(True, f'self-signed by "{facts.leaf.common_name}"', _frames(observation))


def issuer_missing(observation: Observation, surroundings: Surroundings) -> Finding:
    """Nobody known signed the last link of the chain."""
    facts = _chain(observation, surroundings)
    if facts is None:
        return NO_CERTIFICATE
    if not observation.chain_complete:
        return Finding(None, "whether the issuer was sent cannot be told: the chain is cut", _frames(observation))
    if not facts.issuer_missing or facts.end is None:
        return Finding(False, "the chain ends at a certificate that signed itself")
    return Finding(
        True, f'the issuer "{facts.end.issuer_common_name}" is not in the capture and not known', _frames(observation)
    )


def private_root(observation: Observation, surroundings: Surroundings) -> Finding:
    """The chain ends at a root that was never public."""
    facts = _chain(observation, surroundings)
    if facts is None:
        return NO_CERTIFICATE
    if not observation.chain_complete:
        return Finding(None, "the chain is cut", _frames(observation))
    if (
        facts.public is not None
        or facts.supplied is not None
        or facts.issuer_missing
        or facts.self_signed
        or not facts.end
    ):
        return Finding(False, "not a chain to a private root")
    return Finding(True, f'signed by the private root "{facts.end.common_name}"', _frames(observation))


def unreadable(observation: Observation, surroundings: Surroundings) -> Finding:
    """The leaf cannot be parsed."""
    facts = _chain(observation, surroundings)
    if facts is None:
        return NO_CERTIFICATE
    if not facts.leaf.problem:
        return Finding(False, "the leaf can be parsed")
    return Finding(True, f"the leaf cannot be parsed: {facts.leaf.problem}", _frames(observation))


def _proof(observation: Observation) -> str:
    return (
        "CertificateVerify"
        if observation.version is not None and is_tls13(observation.version)
        else "ServerKeyExchange"
    )


def possession_proved(observation: Observation, surroundings: Surroundings) -> Finding:
    """Whoever answered holds the leaf's key."""
    del surroundings
    frames = (observation.possession_frame,) if observation.possession_frame else ()
    if observation.possession is Possession.PROVED:
        return Finding(True, f"whoever answered holds the leaf's key ({_proof(observation)})", frames)
    if observation.possession is Possession.REFUTED:
        return Finding(False, f"the {_proof(observation)} was not signed with the leaf's key", frames)
    if observation.possession is Possession.NOT_POSSIBLE:
        return Finding(None, "RSA key exchange: the answer is not signed, so possession cannot be shown")
    if observation.possession_frame:
        return Finding(
            None, "possession cannot be checked: a random was not captured, or the algorithm is not known", frames
        )
    return Finding(None, "no ServerKeyExchange to check possession with")


def resigned_copy(observation: Observation, surroundings: Surroundings) -> Finding:
    """The leaf is a re-signed copy of a genuine certificate that is in the same capture."""
    facts = _chain(observation, surroundings)
    if facts is None:
        return NO_CERTIFICATE
    if facts.public is not None or facts.supplied is not None:
        return Finding(False, "linked to a public root: sites have several certificates, and both may be genuine")
    twins = surroundings.twins_of(facts.leaf)
    for digest, frame in twins.items():
        comparison = compare(facts.leaf, surroundings.certificates[digest])
        if comparison.is_copy:
            children = tuple(Finding(True, sentence) for sentence in comparison.sentences())
            says = f"a re-signed copy of the certificate in frame {frame}"
            return Finding(True, says, (*_frames(observation), frame), children)
    if twins:
        return Finding(False, "the genuine certificate in the capture is no twin of this one")
    return Finding(None, "no genuine certificate with this subject and these names is in the capture")


def possession_refuted(observation: Observation, surroundings: Surroundings) -> Finding:
    """Whoever answered does not hold the leaf's key."""
    found = possession_proved(observation, surroundings)
    return Finding(None if found.value is None else not found.value, found.says, found.frames)


def resumes_intercepted_session(observation: Observation, surroundings: Surroundings) -> Finding:
    """The session that is resumed was issued, to this client by this server, behind an interception certificate."""
    if not observation.resumed:
        return Finding(False, "not a resumed session")
    full = surroundings.full_handshake(observation)
    if full is None:
        return Finding(None, "the full handshake of this resumed session is not in the capture")
    facts = surroundings.facts_of(full.chain, full.time_ns)
    signed = facts is not None and facts.interception is not None and len(facts.interception.certificates) > 1
    if (signed or (facts is not None and facts.sha1_generation)) and full.possession is not Possession.REFUTED:
        return Finding(True, "it resumes a session that was issued behind an interception certificate", (full.frame,))
    return Finding(False, "it resumes a session that was not issued behind an interception certificate", (full.frame,))


# who answered


def _another_sender(observation: Observation, mark: Mark, what: str) -> Finding:
    """Does a packet's TTL show another sender than that of the SYN-ACK?"""
    syn_ack = observation.syn_ack
    if syn_ack is None:
        return Finding(None, f"no SYN-ACK to compare the {what} with", (mark.frame,))
    frames = (syn_ack.frame, mark.frame)
    two = differ(syn_ack.ttl, mark.ttl)
    if two:
        return Finding(True, f"TTL {syn_ack.ttl} in the SYN-ACK, {mark.ttl} in the {what}: two senders", frames)
    if two is None:
        says = f"TTL {syn_ack.ttl} in the SYN-ACK, {mark.ttl} in the {what}: as far away, so it may be one sender"
        return Finding(None, says, frames)
    return Finding(False, f"the {what} has the SYN-ACK's TTL ({mark.ttl})", frames)


def _after_hello(observation: Observation, marks: tuple[Mark, ...]) -> Mark | None:
    """The first of these marks after the ClientHello and before any ServerHello."""
    if observation.client_hello is None:
        return None
    end = observation.server_hello.frame if observation.server_hello else None
    for mark in marks:
        if mark.frame > observation.hello_first_frame and (end is None or mark.frame < end):
            return mark
    return None


def reset_by_another_sender(observation: Observation, surroundings: Surroundings) -> Finding:
    """The ClientHello was answered with a reset that did not come from the sender of the SYN-ACK."""
    del surroundings
    mark = _after_hello(observation, observation.resets)
    if mark is None:
        if observation.absent is Absent.ONE_SIDED:
            return Finding(None, "the server's side was not captured")
        return Finding(False, "no reset between the ClientHello and an answer")
    if observation.reaction is Reaction.WENT_ON:
        return Finding(False, "a reset that the client ignored: the handshake went on", (mark.frame,))
    if not mark.checksum_ok:
        return Finding(False, "a reset with a wrong checksum, which a client ignores", (mark.frame,))
    return _another_sender(observation, mark, "reset")


def client_reset_by_another_sender(observation: Observation, surroundings: Surroundings) -> Finding:
    """A reset in the client's name, after the ClientHello, that did not come from the sender of the SYN."""
    del surroundings
    mark = _after_hello(observation, observation.client_resets)
    if mark is None:
        return Finding(False, "no reset in the client's name")
    if observation.syn is None:
        return Finding(None, "no SYN to compare the client's reset with", (mark.frame,))
    if observation.reaction is Reaction.WENT_ON or not mark.checksum_ok:
        return Finding(False, "a reset that was ignored", (mark.frame,))
    frames = (observation.syn.frame, mark.frame)
    if observation.probe_ttl is not None or mark.ttl in {probe.ttl for probe in observation.probes}:
        return Finding(False, "the client's reset has the TTL of its own packets", frames)
    two = differ(observation.syn.ttl, mark.ttl)
    says = f"TTL {observation.syn.ttl} in the SYN, {mark.ttl} in the client's reset"
    return Finding(two, says + (": two senders" if two else ""), frames)


def plain_answer(observation: Observation, surroundings: Surroundings) -> Finding:
    """The ClientHello was answered with something that is no TLS."""
    del surroundings
    if observation.plain_frame is None:
        return Finding(False, "no plain answer")
    first = observation.plain_answer.split(b"\r\n", 1)[0][:60].decode("ascii", "backslashreplace")
    return Finding(True, f"the ClientHello was answered in plain text: {first}", (observation.plain_frame,))


def plain_answer_by_another_sender(observation: Observation, surroundings: Surroundings) -> Finding:
    """The plain answer did not come from the sender of the SYN-ACK."""
    del surroundings
    mark = next((m for m in observation.server_marks if m.frame == observation.plain_frame), None)
    if observation.plain_frame is None or mark is None:
        return Finding(False, "no plain answer")
    return _another_sender(observation, mark, "plain answer")


def server_alert(observation: Observation, surroundings: Surroundings) -> Finding:
    """The server's side answered the ClientHello with an alert."""
    del surroundings
    for alert in observation.alerts:
        if not alert.from_client and alert.code is not None and observation.server_hello is None:
            return Finding(
                True, f"the ClientHello was answered with the alert {alert_name(alert.code)}", (alert.seen.frame,)
            )
    return Finding(False, "no alert in answer to the ClientHello")


def alert_by_another_sender(observation: Observation, surroundings: Surroundings) -> Finding:
    """The alert did not come from the sender of the SYN-ACK."""
    found = server_alert(observation, surroundings)
    mark = next((m for m in observation.server_marks if m.frame in found.frames), None)
    if not found.value or mark is None:
        return Finding(False, "no alert in answer to the ClientHello")
    return _another_sender(observation, mark, "alert")


def server_bytes_conflict(observation: Observation, surroundings: Surroundings) -> Finding:
    """The same bytes of the server's stream came twice with different content."""
    del surroundings
    if not observation.conflicts:
        return Finding(False, "no conflicting bytes from the server's side")
    return Finding(True, "different bytes for the same place of the server's stream", observation.conflicts[0])


def hello_by_another_sender(observation: Observation, surroundings: Surroundings) -> Finding:
    """The ServerHello did not come from the sender of the SYN-ACK."""
    del surroundings
    mark = next((m for m in observation.server_marks if m.what in ("server_hello", "certificate")), None)
    if mark is None:
        return Finding(False, "no ServerHello")
    return _another_sender(observation, mark, "ServerHello" if mark.what == "server_hello" else "Certificate")


def failed_repeatedly_beside_controls(observation: Observation, surroundings: Surroundings) -> Finding:
    """At least three failing attempts interleaved with three controls that got through, to a server of that name."""
    if (
        observation.failed not in ("silent", "reset")
        or observation.server_name is None
        or observation.probe_ttl is not None
    ):
        return Finding(False, "no failed attempt")
    failures = surroundings.failed_attempts(observation)
    if len(failures) < NEEDED:
        return Finding(None if failures else False, f"{len(failures)} failing attempt(s): one silence may be loss")
    first, last = failures[0].time_ns, failures[-1].time_ns
    around = surroundings.controls(observation, first - MINUTE, last + MINUTE)
    between = [control for control in around if first < control.time_ns < last]
    frames = tuple(attempt.frame for attempt in (*failures[:NEEDED], *around[:NEEDED]))
    if len(around) < NEEDED or not between:
        return Finding(None, f"{len(failures)} failing attempts, but not interleaved with {NEEDED} controls", frames)
    passed = [attempt for attempt in surroundings.passed_attempts(observation) if first < attempt.time_ns < last]
    if passed:
        says = f"this very name got through {len(passed)} times between its {len(failures)} failures"
        return Finding(None, says, tuple(attempt.frame for attempt in passed[:6]))
    server, name = observation.server[0], observation.server_name
    if (server, name) not in surroundings.genuine_names and name not in surroundings.names_of_servers.get(server, ()):
        return Finding(None, "the server may refuse this name: nothing shows that it hosts it", frames)
    kind = "to the same server" if around[0].server == server else "of the same client within ten minutes"
    return Finding(
        True, f"{len(failures)} attempts failed between {len(around)} controls {kind} that got through", frames
    )


def server_genuine_for_other_names(observation: Observation, surroundings: Surroundings) -> Finding:
    """The same server answered other names with a publicly trusted chain: the name made the difference."""
    examples = surroundings.trusted_examples.get(observation.server[0], {})
    others = {name: frame for name, frame in examples.items() if name != observation.server_name}
    if not others:
        return Finding(False, "no other name at this server got a publicly trusted chain")
    names = ", ".join(sorted(others)[:3])
    return Finding(
        True,
        f"the same server answered other names ({names}) with a trusted chain",
        tuple(sorted(others.values()))[:6],
    )


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


# what is missing


def absent(*reasons: Absent) -> Fact:
    """The certificate is missing for one of these reasons."""

    def ask(observation: Observation, surroundings: Surroundings) -> Finding:
        del surroundings
        if observation.absent in reasons:
            return Finding(True, ABSENT_SAYS[observation.absent], (observation.first_frame,))
        return Finding(False, "not missing for this reason")

    return ask


ABSENT_SAYS = {
    Absent.ENCRYPTED: "TLS 1.3: the certificate is encrypted, and there is no key log",
    Absent.UNDECRYPTABLE: "TLS 1.3: the certificate is encrypted, and the keys do not fit",
    Absent.RESUMED: "the session was resumed: no certificate is sent",
    Absent.NOT_SENT: "the server sent no certificate (anonymous or pre-shared key)",
    Absent.NOT_REACHED: "the handshake did not get as far as a certificate",
    Absent.NOT_CAPTURED: "the part of the handshake with the certificate was not captured",
    Absent.ONE_SIDED: "only the client's direction was captured",
    Absent.TRUNCATED: "the certificate was cut short",
    Absent.MALFORMED: "the handshake is malformed",
    Absent.LIMIT: "a bound on kept bytes gave up before the certificate",
    Absent.SCRUBBED: "the certificate was taken out of the capture",
}


def probe_unanswered(observation: Observation, surroundings: Surroundings) -> Finding:
    """A ClientHello with a lowered TTL drew no answer: nothing at all."""
    del surroundings
    answered = observation.server_hello or observation.resets or observation.alerts or observation.plain_frame
    if observation.probe_ttl is None or answered:
        return Finding(False, "not an unanswered TTL-limited probe")
    return Finding(
        True, f"a probe with TTL {observation.probe_ttl} that nobody answered", (observation.probes[0].frame,)
    )


def failed_with(kind: str) -> Fact:
    """The connection ended in this way after its ClientHello."""

    def ask(observation: Observation, surroundings: Surroundings) -> Finding:
        del surroundings
        if observation.failed != kind:
            return Finding(False, "ended otherwise")
        says = {
            "reset": "reset after the ClientHello, by the sender of the SYN-ACK as far as can be told",
            "silent": "no answer to the ClientHello",
            "plain": "a plain answer to the ClientHello",
            "alert": "an alert in answer to the ClientHello",
        }[kind]
        frames = tuple(mark.frame for mark in observation.resets[:1]) or (observation.first_frame,)
        return Finding(True, says, frames)

    return ask


def no_clock(observation: Observation, surroundings: Surroundings) -> Finding:
    """A certificate is there, and the packets have no time to judge it by."""
    del surroundings
    return Finding(bool(observation.chain) and not observation.time_ns, NO_CLOCK.says, _frames(observation))


def no_tls(observation: Observation, surroundings: Surroundings) -> Finding:
    """A TCP connection to a TLS port without any TLS byte."""
    del surroundings
    return Finding(not observation.tls, "a TCP connection without TLS in it", (observation.first_frame,))


def no_name_sent(observation: Observation, surroundings: Surroundings) -> Finding:
    """The client sent a whole hello without a name."""
    del surroundings
    return Finding(observation.name_status == "absent", "the client asked for no name")


def name_not_captured(observation: Observation, surroundings: Surroundings) -> Finding:
    """The name asked for is not in the capture."""
    del surroundings
    return Finding(observation.name_status in ("cut", "no_hello"), "the name that was asked for was not captured")


def tls13_not_kept(observation: Observation, surroundings: Surroundings) -> Finding:
    """The client offered TLS 1.3 and an older version came."""
    del surroundings
    if observation.version is None or not observation.offers_tls13:
        return Finding(None, "no TLS 1.3 offered, or no answer")
    if observation.version >= 0x0304:
        return Finding(False, "TLS 1.3 was offered and chosen")
    return Finding(True, f"TLS 1.3 was offered, {version_name(observation.version)} was chosen")
