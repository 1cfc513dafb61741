"""What lies around each connection in the same capture: frozen indexes, made once all observations are there.

Joins go by index, never pair by pair: each list is sorted by time and searched.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field

from kzpcap.certificates.certificate import Certificate
from kzpcap.certificates.chains import ChainFacts, ChainJudge
from kzpcap.observations import Observation, Reaction

CONTROL_WINDOW = 600 * 1_000_000_000


@dataclass(frozen=True, slots=True)
class Attempt:
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


@dataclass
class Surroundings:
    """The indexes; `chains` judges certificates at their capture time."""

    certificates: dict[str, Certificate]
    chains: ChainJudge
    specimens: dict[str, str]
    names_of_servers: dict[str, set[str]] = field(default_factory=dict)
    """Server address to the names that DNS answers in the capture gave it."""
    controls_by_server: dict[str, list[Attempt]] = field(default_factory=dict)
    controls_by_client: dict[str, list[Attempt]] = field(default_factory=dict)
    failures: dict[tuple[str, str, str], list[Attempt]] = field(default_factory=dict)
    genuine_names: set[tuple[str, str]] = field(default_factory=set)
    """(server, name) pairs for which a publicly trusted chain with that name was seen."""
    sessions: dict[str, Observation] = field(default_factory=dict)
    """Digest of a session id or ticket to the full handshake in which it was issued."""

    def chain_facts(self, observation: Observation) -> ChainFacts | None:
        """The facts of a connection's chain; None where no certificate is there."""
        if not observation.chain:
            return None
        chain = tuple(self.certificates[name] for name in observation.chain)
        return self.chains.judge(chain, observation.time_ns)

    def controls(self, observation: Observation) -> list[Attempt]:
        """Connections that got through: to the same server with a name on no list, or of the same client within ten
        minutes to any name on no list."""
        found = [a for a in self.controls_by_server.get(observation.server[0], ()) if a.name != observation.server_name]
        by_client = self.controls_by_client.get(observation.client[0], [])
        low = bisect_left(by_client, observation.time_ns - CONTROL_WINDOW, key=_time)
        high = bisect_right(by_client, observation.time_ns + CONTROL_WINDOW, key=_time)
        frames = {attempt.frame for attempt in found}
        return found + [attempt for attempt in by_client[low:high] if attempt.frame not in frames]

    def failed_attempts(self, observation: Observation) -> list[Attempt]:
        """All failing attempts of this client at this server and name."""
        return self.failures.get((observation.client[0], observation.server[0], observation.server_name or ""), [])


def _time(attempt: Attempt) -> int:
    return attempt.time_ns


def survey(observations: Iterable[Observation], surroundings: Surroundings) -> None:
    """Fill the indexes from all observations."""
    for observation in observations:
        for session in observation.issued_session:
            if observation.chain:
                surroundings.sessions.setdefault(session, observation)
        if not observation.hello_sent or observation.probe_ttl is not None or observation.proxied:
            continue
        facts = surroundings.chain_facts(observation)
        name, server = observation.server_name, observation.server[0]
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
            trusted or went_on,
            trusted,
            observation.failed,
        )
        if attempt.failed and name:
            surroundings.failures.setdefault((attempt.client, server, name), []).append(attempt)
        if attempt.through and not attempt.listed:
            surroundings.controls_by_server.setdefault(server, []).append(attempt)
            surroundings.controls_by_client.setdefault(attempt.client, []).append(attempt)
        if trusted and facts is not None and name:
            surroundings.genuine_names.add((server, name))
    for index in (surroundings.controls_by_server, surroundings.controls_by_client, surroundings.failures):
        for attempts in index.values():
            attempts.sort(key=_time)
