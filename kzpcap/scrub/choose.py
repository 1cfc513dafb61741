"""Which connections stay, and with what: targets, what is not in order, and the controls that a verdict needs.

A name on no list is the volunteer's to give. Until it is given, a connection under it is left out, but for controls:
they stay without name, certificate and (unless it is a kept server's) server address, for what TTL and time show.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kzpcap.analysis import Report
from kzpcap.certificates.certificate import Certificate
from kzpcap.certificates.names import carries
from kzpcap.observations import Observation
from kzpcap.surroundings.attempts import CONTROL_WINDOW
from kzpcap.surroundings.briefs import key
from kzpcap.verdict.judge import judge
from kzpcap.verdict.rules import State

SHOWN = (State.INTERCEPTED, State.SUSPECTED, State.INTERFERED)
NEAREST = 4
"""Controls that stay on either side of a kept connection, to its server and to others; three are what a rule takes."""
MAX_BESIDE = 8
"""Further connections to a kept server under other names: how it answers them is what is usual for it."""
MAX_ASKED = 200


@dataclass(frozen=True, slots=True)
class Choices:
    """What the volunteer decided: names on no list that stay, names that do not stay whatever they are."""

    profile: str = "evidence"
    keep: frozenset[str] = frozenset()
    drop: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Role:
    """Why a connection stays, and whether its name and its certificate do."""

    why: str
    """target, shown, twin, ladder or control."""
    named: bool


@dataclass
class Chosen:
    """The connections that stay, by first frame."""

    roles: dict[int, Role] = field(default_factory=dict)
    observations: dict[int, Observation] = field(default_factory=dict)
    states: dict[int, State] = field(default_factory=dict)
    known: dict[int, frozenset[str]] = field(default_factory=dict)
    """Those whose chain leads to a public root, a supplied one, or an interception CA: none is a volunteer's own. With
    the SHA-256 of the CAs on that way."""
    verified: dict[int, frozenset[str]] = field(default_factory=dict)
    """Of those whose server's bytes came in several versions: the SHA-256 of the certificates whose signatures fit. A
    mixture of versions may hold anything in a certificate's place."""
    undecided: dict[str, int] = field(default_factory=dict)
    """Names (or addresses) on no list that are not in order, with a count: the volunteer decides."""
    left_out: int = 0
    """Connections that do not stay."""
    over_quic: int = 0
    """Those to listed names that do not stay because they are over QUIC."""
    stronger: int = 0
    """Of them, those that would show more without what is taken out of them than they do."""

    beside: Counter[tuple[str, int]] = field(default_factory=Counter)
    servers: set[tuple[str, int]] = field(default_factory=set)
    clients: set[str] = field(default_factory=set)
    met: set[str] = field(default_factory=set)
    """The names that were asked for by name and are there."""
    near: dict[str, str] = field(default_factory=dict)
    """Name that was asked for -> one below it that is there."""


def label(observation: Observation) -> str:
    """By what name the volunteer knows a connection: its server's name, else its address."""
    return observation.server_name or observation.server[0]


def told(observation: Observation, role: Role) -> str | None:
    """The name under which a connection stays: a target's is the listed one, whatever else it sent."""
    if not role.named:
        return None
    return observation.target.name if role.why == "target" and observation.target else observation.server_name


def choose(
    report: Report, choices: Choices, harmless: frozenset[str], stronger: frozenset[int] = frozenset()
) -> Chosen:
    """Choose over all connections of a report; of large captures only what stays is held.

    None of `stronger` by first frame: what they would keep beside them does not stay for them either.
    """
    chosen = Chosen(stronger=len(stronger))
    wanted: dict[int, tuple[str, ...]] = {}
    for connection in report.connections():
        observation, verdict = connection.observation, connection.verdict
        for name in (choices.keep | choices.drop) - chosen.met:
            if label(observation) == name:
                chosen.met.add(name)
            elif label(observation).endswith(f".{name}"):
                chosen.near.setdefault(name, label(observation))
        role = _by_itself(observation, verdict.state, choices, chosen, report.surroundings.certificates)
        if role is None or observation.first_frame in stronger:
            continue
        _take(chosen, observation, role, verdict.state, report)
        chosen.servers.add(observation.server)
        chosen.clients.add(observation.client[0])
        facts = report.surroundings.chain_facts(observation)
        twin = report.surroundings.twin(facts) if facts is not None and not facts.trusted else None
        if twin is not None and twin[1]:
            wanted.setdefault(twin[1], ())
            wanted[twin[1]] += observation.chain[:1]
    controls = _controls(report, chosen, choices.keep | harmless)
    for observation in report.spill:
        frame = observation.first_frame
        if frame in chosen.roles:
            continue
        role = _beside(observation, controls, wanted, report, choices, harmless, chosen)
        if role is not None and frame not in stronger:
            _take(chosen, observation, role, judge(observation, report.surroundings).state, report)
        else:
            chosen.left_out += 1
    return chosen


def _take(chosen: Chosen, observation: Observation, role: Role, state: State, report: Report) -> None:
    frame = observation.first_frame
    chosen.roles[frame] = role
    chosen.observations[frame] = observation
    chosen.states[frame] = state
    issuers = _known_issuers(observation, report)
    if issuers is not None:
        chosen.known[frame] = issuers
    if observation.conflicts:
        chosen.verified[frame] = _verified(observation, report)


def _verified(observation: Observation, report: Report) -> frozenset[str]:
    """The certificates of both versions of a chain whose signatures fit."""
    found: set[str] = set()
    for chain in (observation.chain, observation.other_chain):
        facts = report.surroundings.facts_of(chain, observation.time_ns)
        if facts is not None:
            links = facts.links[:-1] if facts.issuer_missing else facts.links
            paths = [path.certificates for path in (facts.public, facts.supplied, facts.interception) if path]
            found.update(one.sha256 for certificates in (links, *paths) for one in certificates)
    return frozenset(found)


def _known_issuers(observation: Observation, report: Report) -> frozenset[str] | None:
    """The CAs by which its chain leads to a public root, a supplied one or an interception CA; None where to none."""
    facts = report.surroundings.chain_facts(observation)
    paths = [path for path in (facts.public, facts.supplied, facts.interception) if path] if facts is not None else []
    if not paths:
        return None
    return frozenset(one.sha256 for path in paths for one in path.certificates[1:] if one.is_ca)


def _by_itself(
    observation: Observation, state: State, choices: Choices, chosen: Chosen, certificates: Mapping[str, Certificate]
) -> Role | None:
    """The role of a connection by its own name and verdict."""
    if observation.transport != "tcp" and choices.profile == "public":
        chosen.over_quic += observation.transport == "quic" and observation.target is not None
        return None
    name = label(observation)
    if name in choices.drop:
        return None
    if observation.transport == "dtls":
        return None
    target = observation.target
    if target is not None and target.exact:
        # Behind a decoy with a listed name may stand any other: then the certificate must be the listed name's own.
        alone = not observation.other_names and observation.server_name == target.name
        leaf = certificates.get(observation.chain[0]) if observation.chain else None
        if alone or (leaf is not None and carries(leaf, target.name)):
            return Role("target", True)
    elif state not in SHOWN:
        return None
    if name in choices.keep:
        return Role("shown", True)
    if len(chosen.undecided) < MAX_ASKED or name in chosen.undecided:
        chosen.undecided[name] = chosen.undecided.get(name, 0) + 1
    return None


def _controls(report: Report, chosen: Chosen, named: Iterable[str]) -> set[int]:
    """First frames of the controls nearest in time to what stays: to the same server, and to others."""
    found: set[int] = set()
    names = {key(name) for name in named}
    for observation in list(chosen.observations.values()):
        if observation.probe_ttl is not None:
            continue
        moment = observation.time_ns
        around = report.surroundings.attempts.controls(observation, moment - CONTROL_WINDOW, moment + CONTROL_WINDOW)
        for same in (True, False):
            beside = [one for one in around if (one.server == hash(observation.server[0])) is same]
            beside.sort(key=lambda one: (one.name not in names, abs(one.time_ns - moment), one.frame))
            before = [one for one in beside if one.time_ns <= moment][:NEAREST]
            after = [one for one in beside if one.time_ns > moment][:NEAREST]
            found.update(one.frame for one in (*before, *after))
    return found


def _beside(
    observation: Observation,
    controls: set[int],
    wanted: dict[int, tuple[str, ...]],
    report: Report,
    choices: Choices,
    harmless: frozenset[str],
    chosen: Chosen,
) -> Role | None:
    """The role of a connection for what it shows of others."""
    name = label(observation)
    if observation.transport != "tcp" or name in choices.drop or name in chosen.undecided:
        return None
    named = name in choices.keep or name in harmless
    # Without a name everyone gets this certificate at this address; at a proxy's it is another server's, and one of a
    # private CA may be that of the volunteer's own machine.
    nameless = observation.name_status == "absent" and not observation.proxied and observation.server in chosen.servers
    nameless = nameless and (not observation.chain or _known_issuers(observation, report) is not None)
    seen = observation.chain_seen.frame if observation.chain_seen else 0
    if seen in wanted and observation.server_name is not None:
        # The forged certificate holds this very name already: the genuine one beside it tells nothing more.
        copies = (report.surroundings.certificates[digest] for digest in wanted[seen])
        if named or any(observation.server_name in copy.dns_names for copy in copies):
            return Role("twin", True)
        chosen.undecided[name] = chosen.undecided.get(name, 0) + 1
        return None
    if (
        observation.probe_ttl is not None
        and observation.server in chosen.servers
        and observation.client[0] in chosen.clients
    ):
        return Role("ladder", named or nameless)
    same = observation.server in chosen.servers
    if not same or not observation.tls or chosen.beside[observation.server] >= MAX_BESIDE:
        same = False
    if observation.first_frame not in controls and not (same and observation.client[0] in chosen.clients):
        return None
    chosen.beside[observation.server] += same
    return Role("control", named or nameless)
