"""Where one key, or one issuer, of chains that no public root knows was seen: over all connections of a capture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from kzpcap.observations import Observation
from kzpcap.spill import Spill

MAX_KEPT = 200_000
MAX_USES = 64
MAX_EXAMPLES = 8


@dataclass(slots=True)
class Use:
    """The connections that showed it; each set bounded."""

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


class Uses:
    """The uses by key, bounded. What was seen once is kept as the number of its observation, which tells all of it."""

    def __init__(self, observations: Spill, begin: Callable[[Observation], Use]) -> None:
        self.observations = observations
        self.begin = begin
        """A use of the same key as this observation's, with nothing counted."""
        self.found: dict[int, int | Use] = {}

    def add(self, key: str, observation: Observation) -> None:
        """Count one connection that showed a key."""
        wanted = hash(key)
        use = self.found.get(wanted)
        if use is None:
            if len(self.found) < MAX_KEPT:
                self.found[wanted] = observation.number
            return
        if isinstance(use, int):
            use = self.found[wanted] = self._alone(use)
        use.add(observation)

    def get(self, key: str) -> Use | None:
        """The use of a key; None where it was not seen, or was one too many."""
        use = self.found.get(hash(key))
        return self._alone(use) if isinstance(use, int) else use

    def _alone(self, number: int) -> Use:
        observation = self.observations.get(number)
        use = self.begin(observation)
        use.add(observation)
        return use
