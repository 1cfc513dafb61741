"""What lies around each connection in the same capture: frozen indexes, made once all observations are there.

Joins go by index, never pair by pair: rows in brief (briefs.py) are grouped, by time where that matters, and searched.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from kzpcap.certificates.certificate import Certificate
from kzpcap.certificates.chains import ChainFacts, ChainJudge
from kzpcap.certificates.possession import Possession
from kzpcap.certificates.resigned import Comparison, compare
from kzpcap.certificates.seen import SeenCertificates
from kzpcap.clock import Clock
from kzpcap.kept import keep
from kzpcap.observations import Observation
from kzpcap.paths.networks import Networks
from kzpcap.reference import Generation
from kzpcap.reference.targets import Targets
from kzpcap.spill import Spill
from kzpcap.surroundings import briefs
from kzpcap.surroundings.attempts import Attempts
from kzpcap.surroundings.briefs import Briefs, Groups, key
from kzpcap.surroundings.profiles import Profile, odd_ones
from kzpcap.surroundings.responders import Alike, Responders
from kzpcap.surroundings.signers import Signers
from kzpcap.surroundings.uses import Use, Uses

MAX_TWINS = 200_000
MAX_EXAMPLES = 8
MAX_RENEWALS = 64
"""Of a ticket: each within its life of some hours."""
MAX_USES = 64
LEAST_TO_COMPARE = 3
"""Profiles of one name: less are never odd (profiles.py)."""
LONG_NAMES = 4_096


class Issued(NamedTuple):
    """The full handshake in which a session was issued, as far as a resumption of it needs to know."""

    number: int
    chain: tuple[str, ...]
    time_ns: int
    frame: int
    possession: Possession | None
    finished_ok: bool | None
    conflicts: tuple[tuple[int, int], ...]
    chain_complete: bool = False
    on_private_network: bool = False


@dataclass
class Surroundings:
    """The indexes; `chains` judges certificates at their capture time."""

    observations: Spill
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
    given: dict[str, Certificate] = field(default_factory=dict)
    """Leaves that were given as genuine and are publicly trusted, by digest; among the twins they have frame 0."""
    interception_leaves: dict[str, Generation] = field(default_factory=dict)
    """Keys (SPKI SHA-256) of leaves that were themselves seen intercepting."""
    networks: Networks | None = None
    """Address to AS, by dated tables."""
    rebuilt: str = ""
    """Why TTLs, IP IDs and the time of a SYN-ACK mean nothing in this capture: who recorded it made the headers."""
    _session_keys: array[int] = field(default_factory=lambda: array("q"))
    """Keys of (client, server, digest of a session id or ticket) that were issued."""
    _session_numbers: array[int] = field(default_factory=lambda: array("I"))
    """The observations of the full handshakes in which they were."""
    _twins: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """Key of subject and names to observations of publicly trusted leaves that bear them, one of each."""
    _twin_leaves: set[int] = field(default_factory=set)
    _given: dict[int, list[str]] = field(default_factory=dict)
    """The same of those that were given."""
    _twins_of: dict[int, dict[str, int]] = field(default_factory=dict)
    _systems: dict[int, int] = field(default_factory=dict)
    _odd: dict[int, list[tuple[Profile, frozenset[str]]]] = field(default_factory=dict)
    _newest: dict[int, list[int]] = field(default_factory=dict)
    """Name to the first frames of two connections over TLS 1.3."""
    _genuine: dict[str, dict[str, int]] = field(default_factory=dict)
    intercepted_sessions: dict[int, bool] = field(default_factory=dict)
    """Number of a full handshake to whether its chain was an interceptor's (verdict/facts/interception.py)."""
    _resuming: Observation | None = None
    _resumed: Issued | None = None
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

    def __post_init__(self) -> None:
        self.briefs = Briefs(self.observations)
        self.attempts = Attempts(self.briefs)
        self.responders = Responders(self.briefs)
        self.signers = Signers(self.briefs)
        self.keys = Uses(self.observations, lambda _: Use())
        self.issuers = Uses(self.observations, self._issuer)

    def _issuer(self, observation: Observation) -> Use:
        facts = self.chains_end(observation)
        return Use(*facts) if facts else Use()

    def add(self, observation: Observation) -> None:
        """Take one connection into the indexes."""
        facts = self.chain_facts(observation)
        if (observation.chain and observation.chain_seen) or observation.resumed_session:
            for session in observation.issued_session:
                if session == observation.resumed_session:
                    continue
                self._session_keys.append(hash((observation.client[0], session)))
                self._session_numbers.append(observation.number)
        signed = _issuer_key(facts) if facts is not None else None
        if facts is not None and facts.end is not None and signed is not None:
            self.issuers.add(signed, observation)
            self.keys.add(facts.leaf.spki_sha256, observation)
        if facts is not None and facts.trusted and observation.chain_seen:
            self._add_twin(facts.leaf, observation.number)
        issuer = self.private_issuer(facts) if facts is not None else 0
        self.briefs.add(observation, briefs.flags_of(observation, facts), self.responders.add(observation), issuer)

    def _add_twin(self, leaf: Certificate, number: int) -> None:
        known = hash(leaf.sha256)
        if known not in self._twin_leaves and len(self._twin_leaves) < MAX_TWINS:
            self._twin_leaves.add(known)
            wanted = _key(leaf)
            bearing = self._twins.get(wanted, ())
            if len(bearing) < MAX_EXAMPLES:
                self._twins[wanted] = (*bearing, number)

    def add_given(self, leaf: Certificate) -> None:
        """Take a leaf that was given as genuine."""
        self.given[leaf.sha256] = leaf
        self._given.setdefault(_key(leaf), []).append(leaf.sha256)

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
        """Publicly trusted leaves of the capture with the same subject and names (digest to frame; 0: given)."""
        wanted = _key(leaf)
        found = self._twins_of.get(wanted)
        if found is None:
            found = dict.fromkeys(self._given.get(wanted, ()), 0)
            for number in self._twins.get(wanted, ()):
                seen = self.observations.get(number)
                if seen.chain_seen is not None and len(found) < MAX_EXAMPLES:
                    found.setdefault(seen.chain[0], seen.chain_seen.frame)
            keep(self._twins_of, wanted, found)
        return found

    def is_specimen(self, observation: Observation) -> bool:
        """Is the leaf, or that of the session that is resumed, a published certificate, or has its key?"""
        facts = self.chain_facts(observation)
        if facts is not None:
            return facts.leaf.spki_sha256 in self.specimens
        full = self.full_handshake(observation)
        if full is None or not full.chain:
            return False
        return self.certificates[full.chain[0]].spki_sha256 in self.specimens

    def twin(self, facts: ChainFacts) -> tuple[Certificate, int, Comparison] | None:
        """The genuine certificate that a chain's leaf was copied from, its frame (0: given), and what differs."""
        seen = _issuer_seen(facts)
        return next((found for found in self._compared(facts) if found[2].is_copy(seen)), None)

    def likeness(self, facts: ChainFacts) -> tuple[Certificate, int, Comparison] | None:
        """Like `twin`: what fits a copy without settling it."""
        seen = _issuer_seen(facts)
        return next((found for found in self._compared(facts) if found[2].resembles(seen)), None)

    def _compared(self, facts: ChainFacts) -> Iterator[tuple[Certificate, int, Comparison]]:
        for digest, frame in self.twins_of(facts.leaf).items():
            genuine = self.given.get(digest) or self.certificates[digest]
            yield genuine, frame, compare(facts.leaf, genuine)

    @cached_property
    def targets(self) -> Targets:
        """The target lists, for names that were not asked for in what was captured."""
        return Targets(self.chains.reference.target_lists)

    @cached_property
    def addresses_of_names(self) -> dict[str, dict[str, int]]:
        """Name to the addresses that DNS answers in the capture gave it, with the time of the first."""
        found: dict[str, dict[str, int]] = {}
        for address, names in self.names_of_servers.items():
            for name, time_ns in names.items():
                found.setdefault(name, {})[address] = time_ns
        return found

    def systems_of(self, alike: Alike) -> int:
        """How many AS the shown ones of so many servers are in; asked once for each group."""
        found = self._systems.get(id(alike))
        if found is None:
            networks = self.networks
            seen = {networks.of(server) for server in alike.some} if networks is not None else set()
            found = self._systems[id(alike)] = len({one.asn for one in seen if one is not None})
        return found

    def over_tls13(self, observation: Observation) -> int | None:
        """The first frame of another connection with this name that spoke TLS 1.3."""
        if observation.name_open:
            return None
        name = key(observation.server_name)
        found = self._newest.get(name)
        if found is None:
            flags, rows = self.briefs.flags, self.briefs.profiles.of(name, MAX_USES)
            found = [self.briefs.frame(row) for row in rows if flags[row] & briefs.TLS13][:2]
            keep(self._newest, name, found)
        return next((frame for frame in found if frame != observation.first_frame), None)

    @cached_property
    def control_answers(self) -> int:
        """How many full handshakes with names on no list there are to compare with."""
        return len(self.briefs.having(briefs.PROFILED, briefs.LISTED))

    def odd_answers(self, name: str | None) -> list[tuple[Profile, frozenset[str]]]:
        """The connections with a name that were answered otherwise than usual for it."""
        if name is None:
            return []
        wanted = key(name)
        found = self._odd.get(wanted)
        if found is None:
            rows = self.briefs.profiles.of(wanted, MAX_USES)
            if len(rows) < LEAST_TO_COMPARE:
                return []
            found = self._odd_of(rows)
            keep(self._odd, wanted, found)
        return found

    def _odd_of(self, rows: array[int]) -> list[tuple[Profile, frozenset[str]]]:
        flags = self.briefs.flags
        if not any(flags[row] & (briefs.REFUSED | briefs.FELL) for row in rows):
            return []  # without a direction no difference is told (profiles.py)
        return odd_ones([self.briefs.profile(row) for row in rows])

    @cached_property
    def odd_control(self) -> tuple[str, int] | None:
        """A name on no list that was answered otherwise than usual too, with a frame: the first."""
        first: tuple[int, int] | None = None
        for rows in self.briefs.profiles:
            if len(rows) < LEAST_TO_COMPARE or self.briefs.flags[rows[0]] & briefs.LISTED:
                continue
            if first is None or rows[0] < first[0]:
                odd = self._odd_of(rows[:MAX_USES])
                first = (rows[0], odd[0][0].frame) if odd else first
        return (self.briefs.observation(first[0]).server_name or "", first[1]) if first else None

    def issuer_of(self, observation: Observation) -> Use | None:
        """What else the private issuer of a connection's chain signed; None where its chain is none of that kind."""
        facts = self.chain_facts(observation)
        return self.use_of_issuer(facts) if facts else None

    def use_of_issuer(self, facts: ChainFacts) -> Use | None:
        """What the private issuer of a chain signed in the capture."""
        found = _issuer_key(facts)
        return self.issuers.get(found) if found else None

    def signer_of(self, observation: Observation) -> str:
        """Who signed a connection's chain, to be compared: the key it leads to, else what its end names; empty without
        one, and of what signed itself.
        """
        facts = self.chain_facts(observation)
        if facts is None or facts.self_signed:
            return ""
        if facts.interception is not None:
            return f"key {facts.interception.certificates[-1].spki_sha256}"
        return _issuer_key(facts) or ""

    def private_issuer(self, facts: ChainFacts) -> int:
        """Who signed, by key, where that is a private issuer whose signature was verified; else 0."""
        signed = _issuer_key(facts)
        private = signed is not None and signed.startswith("key ") and not facts.interception_ca
        return key(signed) if private else 0

    def chains_end(self, observation: Observation) -> tuple[str, bool] | None:
        """The name of who signed a connection's chain, and whether that was verified; None without a chain."""
        facts = self.facts_of(observation.chain, observation.time_ns)
        if facts is None or facts.end is None:
            return None
        missing = facts.end.sha256 == facts.leaf.sha256
        title = facts.end.issuer_common_name if missing else facts.end.common_name
        return title or facts.end.issuer, not missing

    def full_handshake(self, observation: Observation) -> Issued | None:
        """The handshake in which the session that a connection resumes was issued to the same client, by any address:
        only who holds the issuer's keys can take a ticket, and the one box may answer for every server."""
        session = observation.resumed_session
        if session is None:
            return None
        if self._resuming is not observation:
            self._resuming, self._resumed = observation, self._first_issued(observation)
        return self._resumed

    def _first_issued(self, observation: Observation) -> Issued | None:
        """The full handshake behind a resumed one, also by way of others: who takes a ticket may issue the next one
        (RFC 5077 section 3.3).
        """
        for _ in range(MAX_RENEWALS):
            issued = self._issued_in(observation)
            if issued is None:
                return None
            if issued.chain_seen is not None:
                return Issued(
                    issued.number,
                    issued.chain,
                    issued.time_ns,
                    issued.chain_seen.frame,
                    issued.possession,
                    issued.finished_ok,
                    issued.conflicts,
                    issued.chain_complete,
                    issued.on_private_network,
                )
            observation = issued
        return None

    def _issued_in(self, observation: Observation) -> Observation | None:
        """The last connection before in which the session that is resumed here was issued."""
        session, found = observation.resumed_session, None
        hello = observation.hello_first_frame or observation.first_frame
        for row in self._sessions.of(hash((observation.client[0], session)), MAX_EXAMPLES):
            issued = self.observations.get(self._session_numbers[row])
            began = issued.chain_seen.frame if issued.chain_seen else issued.hello_first_frame or issued.first_frame
            if began < hello:
                found = issued
        return found

    @cached_property
    def _sessions(self) -> Groups:
        return Groups(range(len(self._session_keys)), self._session_keys)

    def genuine_here(self, server: str, name: str) -> bool:
        """Did this server answer this name with a publicly trusted chain?"""
        return hash((hash(server), key(name))) in self.briefs.genuine

    def is_genuine(self, server: str) -> bool:
        """Did this server answer any name so?"""
        return hash(server) in self.briefs.examples

    def genuine_names(self, server: str) -> dict[str, int]:
        """Some of the names that this server answered so, with a frame each: the first."""
        found = self._genuine.get(server)
        if found is None:
            seen = [self.briefs.observation(row) for row in self.briefs.examples.of(hash(server), MAX_EXAMPLES)]
            found = {one.server_name: one.first_frame for one in seen if one.server_name is not None}
            if sum(map(len, found)) <= LONG_NAMES:
                keep(self._genuine, server, found)
        return found

    def is_trusted_name(self, name: str) -> bool:
        """Did this name get a publicly trusted chain that carries it?"""
        return hash(name) in self.briefs.carried

    def trusted_frame(self, name: str | None) -> int | None:
        """The first frame of the first connection whose trusted chain carries this name."""
        rows = self.briefs.carried.of(key(name), 1) if name else None
        return self.briefs.frame(rows[0]) if rows else None


def _issuer_seen(facts: ChainFacts) -> bool:
    """Does a signature show who issued the leaf? A site may have one of a national CA beside its public one."""
    return (len(facts.links) > 1 or facts.self_signed) and facts.national is None


def _issuer_key(facts: ChainFacts) -> str | None:
    """Who signed a chain that no public root knows: the key it ends at, else the name and key id of who is missing."""
    if facts.public or facts.supplied or facts.national or facts.self_signed or facts.end is None:
        return None
    if facts.leaf.problem and not facts.leaf.subject_key:
        return None
    if facts.end.sha256 != facts.leaf.sha256:
        return f"key {facts.end.spki_sha256}"
    return f"name {facts.end.issuer_key} {facts.end.authority_key_id}"


def _key(leaf: Certificate) -> int:
    return hash((leaf.subject_der, tuple(sorted(leaf.dns_names))))


def take_given(genuine: Iterable[Certificate], surroundings: Surroundings, time_ns: int) -> list[Certificate]:
    """Make twins of the leaves that were given as genuine; gives those that are not publicly trusted at that time."""
    refused = []
    for leaf in genuine:
        if leaf.is_ca:
            continue
        facts = surroundings.chains.judge((leaf,), surroundings.moment(time_ns))
        if facts.trusted:
            surroundings.add_given(leaf)
        else:
            refused.append(leaf)
    return refused


def survey(surroundings: Surroundings) -> None:
    """Fill the indexes from all observations."""
    for observation in surroundings.observations:
        surroundings.add(observation)
