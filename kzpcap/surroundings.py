"""What lies around each connection in the same capture: frozen indexes, made once all observations are there.

Joins go by index, never pair by pair: each list is sorted by time and searched.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple

from kzpcap.certificates.certificate import Certificate
from kzpcap.certificates.chains import ChainFacts, ChainJudge
from kzpcap.certificates.names import carries
from kzpcap.certificates.possession import Possession
from kzpcap.certificates.resigned import Comparison, compare
from kzpcap.certificates.seen import SeenCertificates
from kzpcap.clock import Clock
from kzpcap.observations import Observation, Reaction
from kzpcap.paths.hops import FRESH_TTLS
from kzpcap.paths.networks import Networks
from kzpcap.profiles import Profile, odd_ones
from kzpcap.reference import Generation
from kzpcap.responders import Responders

CONTROL_WINDOW = 600 * 1_000_000_000
MAX_CONTROLS = 256
MAX_SESSIONS = 200_000
MAX_EXAMPLES = 8
MAX_USES = 64
MAX_LOOKED_UP = 256


class Attempt(NamedTuple):
    """One connection in brief, for the connections around it."""

    time_ns: int
    frame: int
    client: str
    server: str
    name: str | None
    listed: bool
    through: bool
    """Answered with a publicly trusted chain, or the handshake went on."""
    trusted: bool
    failed: str | None


@dataclass(frozen=True, slots=True)
class Issued:
    """The full handshake in which a session was issued, as far as a resumption of it needs to know."""

    index: int
    chain: tuple[str, ...]
    time_ns: int
    frame: int
    possession: Possession | None


class QuicAttempt(NamedTuple):
    """A QUIC connection in brief, for the TCP connections after it."""

    time_ns: int
    frame: int
    answered: bool


@dataclass
class Use:
    """Where one key, or one issuer, of chains that no public root knows was seen; each set bounded."""

    title: str = ""
    verified: bool = True
    """By signatures; else by name and key id alone, the issuer itself being absent."""
    leaves: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    target_names: set[str] = field(default_factory=set)
    others: set[str] = field(default_factory=set)
    """Names that were asked and are on no list."""
    servers: set[str] = field(default_factory=set)
    frames: list[int] = field(default_factory=list)

    def add(self, observation: Observation) -> None:
        """Count one connection."""
        name = observation.server_name
        for kept, value in (
            (self.leaves, observation.chain[0]),
            (self.servers, observation.server[0]),
            (self.names, name),
            (self.target_names, name if observation.target and observation.target.exact else None),
            (self.others, name if observation.target is None else None),
        ):
            if value is not None and len(kept) < MAX_USES:
                kept.add(value)
        if len(self.frames) < MAX_EXAMPLES and observation.chain_seen:
            self.frames.append(observation.chain_seen.frame)

    @property
    def shared_key(self) -> bool:
        """Is it in several certificates, for several names?"""
        return len(self.leaves) > 1 and len(self.names) > 1

    @property
    def shared_issuer(self) -> bool:
        """Does it sign for several names at several servers?"""
        return len(self.servers) > 1 and len(self.names) > 1


@dataclass
class Signing:
    """Who signed for one client, over all of its connections that were answered; each set bounded."""

    issuers: set[str] = field(default_factory=set)
    """Keys of private issuers whose signatures were verified; what is signed otherwise, or hidden, is "" here."""
    names: set[str] = field(default_factory=set)
    listed: set[str] = field(default_factory=set)
    servers: set[str] = field(default_factory=set)
    slowest: int = 0
    """The longest time between a SYN and its SYN-ACK, of all connections, in nanoseconds."""
    lowered: bool = False
    """Some server's answers came with a TTL that routers had lowered: TTLs mean something at this capture point."""
    fresh_genuine: bool = False
    """A genuine certificate came with a TTL that no router had lowered: then TTLs mean nothing."""

    def add(self, observation: Observation, facts: ChainFacts | None) -> None:
        """Count one connection of this client over TCP."""
        syn, answer, hello = observation.syn, observation.syn_ack, observation.server_hello
        if syn is not None and answer is not None:
            self.slowest = max(self.slowest, answer.time_ns - syn.time_ns)
            self.lowered = self.lowered or answer.ttl not in FRESH_TTLS
        if hello is None:
            return
        if facts is not None and facts.trusted and hello.ttl in FRESH_TTLS:
            self.fresh_genuine = True
        key = _issuer_key(facts) if facts is not None else None
        private = key is not None and key.startswith("key ") and facts is not None and not facts.interception_ca
        if len(self.issuers) < MAX_EXAMPLES:
            self.issuers.add(key if key is not None and private else "")
        if observation.server_name and len(self.names) < MAX_USES:
            self.names.add(observation.server_name)
            if observation.target is not None:
                self.listed.add(observation.server_name)
        if len(self.servers) < MAX_USES:
            self.servers.add(observation.server[0])


@dataclass
class Surroundings:
    """The indexes; `chains` judges certificates at their capture time."""

    certificates: SeenCertificates
    chains: ChainJudge
    specimens: dict[str, str]
    at: int | None = None
    """The time by which to judge, where one was given; else that of the capture."""
    clock: Clock = field(default_factory=Clock)
    names_of_servers: dict[str, dict[str, int]] = field(default_factory=dict)
    """Server address to the names that DNS answers in the capture gave it, with the time of the first."""
    names_left_out: bool = False
    """There were more DNS answers than are kept: what is not among them says nothing."""
    controls_by_server: dict[str, list[Attempt]] = field(default_factory=dict)
    controls_by_client: dict[str, list[Attempt]] = field(default_factory=dict)
    failures: dict[tuple[str, str, str], list[Attempt]] = field(default_factory=dict)
    successes: dict[tuple[str, str, str], list[Attempt]] = field(default_factory=dict)
    genuine_names: set[tuple[str, str]] = field(default_factory=set)
    """(server, name) pairs for which a publicly trusted chain with that name was seen."""
    trusted_examples: dict[str, dict[str, int]] = field(default_factory=dict)
    """Server to a few names (with frames) that got a publicly trusted chain there."""
    twins: dict[tuple[bytes, tuple[str, ...]], dict[str, int]] = field(default_factory=dict)
    """Subject and names to the publicly trusted leaves (digest, frame) that bear them."""
    given: dict[str, Certificate] = field(default_factory=dict)
    """Leaves that were given as genuine and are publicly trusted, by digest; among the twins they have frame 0."""
    sessions: dict[tuple[str, str, str], Issued] = field(default_factory=dict)
    """(client, server, digest of a session id or ticket) to the full handshake in which it was issued."""
    quic: dict[tuple[str, str], list[QuicAttempt]] = field(default_factory=dict)
    """(client, name) to its QUIC connections."""
    interception_leaves: dict[str, Generation] = field(default_factory=dict)
    """Keys (SPKI SHA-256) of leaves that were themselves seen intercepting."""
    keys: dict[str, Use] = field(default_factory=dict)
    issuers: dict[str, Use] = field(default_factory=dict)
    signing: dict[str, Signing] = field(default_factory=dict)
    """Client to who signed for it."""
    trusted_names: dict[str, int] = field(default_factory=dict)
    """Names that got a publicly trusted chain carrying them, with the first frame."""
    syn_times: dict[str, int] = field(default_factory=dict)
    """Server address to the shortest time between a SYN and its SYN-ACK, in nanoseconds."""
    responders: Responders = field(default_factory=Responders)
    """How each SYN was answered, and by what kind of stack."""
    networks: Networks | None = None
    """Address to AS, by dated tables."""
    profiles: dict[str, list[Profile]] = field(default_factory=dict)
    """Name to the profiles of the connections that asked for it; bounded."""
    _systems: dict[int, int] = field(default_factory=dict)
    _odd: dict[str, list[tuple[Profile, frozenset[str]]]] = field(default_factory=dict)
    answers: dict[Any, Any] = field(default_factory=dict)
    """What the facts said of the connection `answers_for` (verdict/logic.py)."""
    answers_for: Observation | None = None
    settled: dict[Any, Any] = field(default_factory=dict)
    """What they say of every connection with its features."""
    chain_features: dict[int, tuple[ChainFacts, int]] = field(default_factory=dict)
    """By `id` of the facts of a chain: those facts, and the features of every connection with it."""
    plans: dict[int, Any] = field(default_factory=dict)
    """Features of connections to what is left to ask of them (verdict/plans.py)."""
    steps: int = 0
    """How many questions the plans remember."""
    _asked: Observation | None = None
    _answer: ChainFacts | None = None

    def moment(self, time_ns: int) -> int:
        """The time by which something seen at `time_ns` is judged; 0 where there is none to rest on."""
        if self.at is not None:
            return self.at
        return 0 if self.clock.contradicted else time_ns

    def chain_facts(self, observation: Observation) -> ChainFacts | None:
        """The facts of a connection's chain; None where no certificate is there.

        Some thirty facts ask this of one connection after the other: the last answer is kept.
        """
        if self._asked is not observation:
            self._answer = self.facts_of(observation.chain, observation.time_ns)
            self._asked = observation
        return self._answer

    def facts_of(self, chain: tuple[str, ...], time_ns: int) -> ChainFacts | None:
        """The facts of a chain at a time."""
        if not chain:
            return None
        moment = self.moment(time_ns)
        found = self.chains.judged(chain, moment)
        return found or self.chains.judge(tuple([self.certificates[name] for name in chain]), moment)

    def twins_of(self, leaf: Certificate) -> dict[str, int]:
        """Publicly trusted leaves of the capture with the same subject and names (digest to frame)."""
        return self.twins.get(_key(leaf), {})

    def twin(self, facts: ChainFacts) -> tuple[Certificate, int, Comparison] | None:
        """The genuine certificate that a chain's leaf was copied from, its frame (0: given), and what differs."""
        return self._copied_from(facts, len(facts.links) > 1 or facts.self_signed)

    def likeness(self, facts: ChainFacts) -> tuple[Certificate, int, Comparison] | None:
        """Like `twin`, as if the issuer had been seen: what fits a copy without settling it."""
        return self._copied_from(facts, True)

    def _copied_from(self, facts: ChainFacts, issuer_seen: bool) -> tuple[Certificate, int, Comparison] | None:
        for digest, frame in self.twins_of(facts.leaf).items():
            genuine = self.given.get(digest) or self.certificates[digest]
            comparison = compare(facts.leaf, genuine)
            if comparison.is_copy(issuer_seen):
                return genuine, frame, comparison
        return None

    @cached_property
    def addresses_of_names(self) -> dict[str, dict[str, int]]:
        """Name to the addresses that DNS answers in the capture gave it, with the time of the first."""
        found: dict[str, dict[str, int]] = {}
        for address, names in self.names_of_servers.items():
            for name, time_ns in names.items():
                found.setdefault(name, {})[address] = time_ns
        return found

    def systems_of(self, servers: dict[str, int]) -> int:
        """How many AS so many servers are in, by the first of them; asked once for each group."""
        key = id(servers)
        if key not in self._systems:
            networks = self.networks
            some = islice(servers, MAX_LOOKED_UP)
            found = {seen.asn for server in some if networks is not None and (seen := networks.of(server)) is not None}
            self._systems[key] = len(found)
        return self._systems[key]

    def over_tls13(self, observation: Observation) -> Profile | None:
        """Another connection with this name that spoke TLS 1.3."""
        for profile in self.profiles.get(observation.server_name or "", []):
            if profile.tls13 and profile.frame != observation.first_frame:
                return profile
        return None

    @cached_property
    def control_answers(self) -> int:
        """How many full handshakes with names on no list there are to compare with."""
        return sum(len(found) for found in self.profiles.values() if not found[0].listed)

    def odd_answers(self, name: str | None) -> list[tuple[Profile, frozenset[str]]]:
        """The connections with a name that were answered otherwise than usual for it."""
        if name is None or name not in self.profiles:
            return []
        found = self._odd.get(name)
        if found is None:
            found = self._odd[name] = odd_ones(self.profiles[name])
        return found

    @cached_property
    def odd_control(self) -> tuple[str, int] | None:
        """A name on no list that was answered otherwise than usual too, with a frame."""
        for name, profiles in self.profiles.items():
            if not profiles[0].listed:
                for profile, _ in odd_ones(profiles):
                    return name, profile.frame
        return None

    def issuer_of(self, observation: Observation) -> Use | None:
        """What else the private issuer of a connection's chain signed; None where its chain is none of that kind."""
        facts = self.chain_facts(observation)
        return self.use_of_issuer(facts) if facts else None

    def use_of_issuer(self, facts: ChainFacts) -> Use | None:
        """What the private issuer of a chain signed in the capture."""
        key = _issuer_key(facts)
        return self.issuers.get(key) if key else None

    def trusted_others(self, observation: Observation) -> list[int]:
        """Frames of public chains that this client got, within ten minutes, for names on no list; one for each name."""
        found = self.controls(observation, observation.time_ns - CONTROL_WINDOW, observation.time_ns + CONTROL_WINDOW)
        frames: dict[str | None, int] = {}
        for attempt in found:
            if attempt.trusted and attempt.client == observation.client[0]:
                frames.setdefault(attempt.name, attempt.frame)
        return list(frames.values())

    def full_handshake(self, observation: Observation) -> Issued | None:
        """The handshake in which the session that a connection resumes was issued, with the same client and server."""
        if observation.resumed_session is None:
            return None
        found = self.sessions.get((observation.client[0], observation.server[0], observation.resumed_session))
        return found if found is not None and found.index != observation.number else None

    def controls(self, observation: Observation, low: int, high: int) -> list[Attempt]:
        """Connections that got through between two times, with another name than this one: to the same server with a
        name on no list, or of the same client within ten minutes to any name on no list. Bounded."""
        found: dict[int, Attempt] = {}
        first = max(low, observation.time_ns - CONTROL_WINDOW)
        last = min(high, observation.time_ns + CONTROL_WINDOW)
        for attempts, begin, end in (
            (self.controls_by_server.get(observation.server[0], []), low, high),
            (self.controls_by_client.get(observation.client[0], []), first, last),
        ):
            at = bisect_left(attempts, begin, key=_time)
            stop = min(bisect_right(attempts, end, key=_time), at + MAX_CONTROLS)
            for attempt in attempts[at:stop]:
                if attempt.name != observation.server_name:
                    found.setdefault(attempt.frame, attempt)
        return sorted(found.values(), key=_time)

    def quic_before(self, observation: Observation) -> list[QuicAttempt]:
        """QUIC connections of this client to this name, begun in the ten minutes before this connection."""
        attempts = self.quic.get((observation.client[0], observation.server_name or ""), [])
        at = bisect_left(attempts, observation.time_ns - CONTROL_WINDOW, key=_quic_time)
        return attempts[at : bisect_right(attempts, observation.time_ns, key=_quic_time)][-MAX_CONTROLS:]

    def failed_attempts(self, observation: Observation) -> list[Attempt]:
        """All attempts of this client at this server and name that were reset or fell silent."""
        return self.failures.get((observation.client[0], observation.server[0], observation.server_name or ""), [])

    def passed_attempts(self, observation: Observation) -> list[Attempt]:
        """All attempts of this client at this server and name that got through."""
        return self.successes.get((observation.client[0], observation.server[0], observation.server_name or ""), [])


def _time(attempt: Attempt) -> int:
    return attempt.time_ns


def _quic_time(attempt: QuicAttempt) -> int:
    return attempt.time_ns


def _issuer_key(facts: ChainFacts) -> str | None:
    """Who signed a chain that no public root knows: the key it ends at, else the name and key id of who is missing."""
    if facts.public or facts.supplied or facts.national or facts.self_signed or facts.end is None:
        return None
    if facts.leaf.problem and not facts.leaf.subject_key:
        return None
    if facts.end.sha256 != facts.leaf.sha256:
        return f"key {facts.end.spki_sha256}"
    return f"name {facts.end.issuer_key} {facts.end.authority_key_id}"


def _key(leaf: Certificate) -> tuple[bytes, tuple[str, ...]]:
    return leaf.subject_der, tuple(sorted(leaf.dns_names))


def take_given(genuine: Iterable[Certificate], surroundings: Surroundings, time_ns: int) -> list[Certificate]:
    """Make twins of the leaves that were given as genuine; gives those that are not publicly trusted at that time."""
    refused = []
    for leaf in genuine:
        if leaf.is_ca:
            continue
        facts = surroundings.chains.judge((leaf,), surroundings.moment(time_ns))
        if facts.trusted:
            surroundings.given[leaf.sha256] = leaf
            surroundings.twins.setdefault(_key(leaf), {})[leaf.sha256] = 0
        else:
            refused.append(leaf)
    return refused


def survey(observations: Iterable[Observation], surroundings: Surroundings) -> None:
    """Fill the indexes from all observations."""
    for observation in observations:
        if observation.chain and observation.chain_seen and len(surroundings.sessions) < MAX_SESSIONS:
            issued = Issued(
                observation.number,
                observation.chain,
                observation.time_ns,
                observation.chain_seen.frame,
                observation.possession,
            )
            for session in observation.issued_session:
                surroundings.sessions.setdefault((observation.client[0], observation.server[0], session), issued)
        facts = surroundings.chain_facts(observation)
        if observation.syn and observation.syn_ack and observation.syn_ack.time_ns > observation.syn.time_ns:
            took = observation.syn_ack.time_ns - observation.syn.time_ns
            server = observation.server[0]
            if server in surroundings.syn_times or len(surroundings.syn_times) < MAX_SESSIONS:
                surroundings.syn_times[server] = min(took, surroundings.syn_times.get(server, took))
        profile = Profile.of(observation)
        if profile is not None and len(surroundings.profiles) < MAX_SESSIONS:
            same = surroundings.profiles.setdefault(observation.server_name or "", [])
            if len(same) < MAX_USES:
                same.append(profile)
        key = _issuer_key(facts) if facts else None
        if observation.transport == "tcp" and len(surroundings.signing) < MAX_SESSIONS:
            surroundings.signing.setdefault(observation.client[0], Signing()).add(observation, facts)
        if facts is not None and facts.end is not None and key is not None:
            if len(surroundings.issuers) < MAX_SESSIONS:
                missing = facts.end.sha256 == facts.leaf.sha256
                title = facts.end.issuer_common_name if missing else facts.end.common_name
                surroundings.issuers.setdefault(key, Use(title or facts.end.issuer, not missing)).add(observation)
            if len(surroundings.keys) < MAX_SESSIONS:
                surroundings.keys.setdefault(facts.leaf.spki_sha256, Use()).add(observation)
        if facts is not None and facts.trusted and observation.chain_seen and len(surroundings.twins) < MAX_SESSIONS:
            twins = surroundings.twins.setdefault(_key(facts.leaf), {})
            if len(twins) < MAX_EXAMPLES:
                twins.setdefault(facts.leaf.sha256, observation.chain_seen.frame)
        if not observation.hello_sent or observation.probe_ttl is not None or observation.proxied:
            continue
        name, server = observation.server_name, observation.server[0]
        if observation.transport == "quic" and name:
            tried = QuicAttempt(observation.time_ns, observation.first_frame, observation.server_packets > 0)
            surroundings.quic.setdefault((observation.client[0], name), []).append(tried)
        trusted = facts is not None and facts.trusted
        went_on = (
            observation.server_hello is not None and observation.reaction is Reaction.WENT_ON and not observation.chain
        )
        attempt = Attempt(
            observation.time_ns,
            observation.first_frame,
            observation.client[0],
            server,
            name,
            observation.target is not None,
            trusted or went_on or bool(facts and facts.disputed),
            trusted,
            observation.failed,
        )
        surroundings.responders.add(observation, attempt.through and bool(name) and not attempt.listed)
        if attempt.through and name:
            surroundings.successes.setdefault((attempt.client, server, name), []).append(attempt)
        if attempt.failed in ("silent", "reset") and name:
            surroundings.failures.setdefault((attempt.client, server, name), []).append(attempt)
        if attempt.through and name and not attempt.listed:
            surroundings.controls_by_server.setdefault(server, []).append(attempt)
            surroundings.controls_by_client.setdefault(attempt.client, []).append(attempt)
        if trusted and facts is not None and name:
            surroundings.genuine_names.add((server, name))
            if len(surroundings.trusted_names) < MAX_SESSIONS and carries(facts.leaf, name):
                surroundings.trusted_names.setdefault(name, observation.first_frame)
            examples = surroundings.trusted_examples.setdefault(server, {})
            if len(examples) < MAX_EXAMPLES:
                examples.setdefault(name, observation.first_frame)
    for index in (surroundings.controls_by_server, surroundings.controls_by_client, surroundings.failures):
        for attempts in index.values():
            attempts.sort(key=_time)
    for tries in surroundings.quic.values():
        tries.sort(key=_quic_time)
