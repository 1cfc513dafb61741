"""What several facts share: the answers for what cannot be asked, and the frames of a chain."""

from __future__ import annotations

from kzpcap.observations import Observation
from kzpcap.surroundings import Surroundings
from kzpcap.verdict.logic import Finding

NO_CERTIFICATE = Finding(None, "no certificate of the server can be read here")
NO_CLOCK = Finding(None, "the packets have no time, so nothing can be judged by its day")

CONTRADICTED = Finding(None, "what the capture holds contradicts its clock, so nothing can be judged by its day")


def no_day(surroundings: Surroundings) -> Finding:
    """Why there is no day to judge by."""
    return CONTRADICTED if surroundings.clock.contradicted else NO_CLOCK


def chain_frames(observation: Observation) -> tuple[int, ...]:
    """The frame that completed the server's Certificate."""
    return (observation.chain_seen.frame,) if observation.chain_seen else ()
