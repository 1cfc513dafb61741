"""Facts about QUIC: what came before its handshake, and QUIC tried before TCP to the same name."""

from __future__ import annotations

from kzpcap.observations import Observation
from kzpcap.surroundings import Surroundings
from kzpcap.verdict.features import QUIC, QUIC_TRIED, needs
from kzpcap.verdict.logic import Finding

MAX_FRAMES = 6


@needs(QUIC)
def quic_turned_back(observation: Observation, surroundings: Surroundings) -> Finding:
    """The first Initial was answered with a Retry or a Version Negotiation, which anyone on the path can send."""
    del surroundings
    turns = observation.quic
    if turns is None:
        return Finding(False, "not QUIC")
    if turns.negotiation_frame is not None:
        versions = ", ".join(f"0x{version:08x}" for version in turns.offered[:6])
        says = f"answered with Version Negotiation ({versions}), which is not protected"
        return Finding(True, says, (turns.negotiation_frame,))
    if turns.retry_frame is not None:
        return Finding(True, "answered with a Retry before the handshake", (turns.retry_frame,))
    return Finding(False, "neither Retry nor Version Negotiation")


@needs(QUIC_TRIED)
def quic_tried_before(observation: Observation, surroundings: Surroundings) -> Finding:
    """The client tried QUIC to this name in the ten minutes before: blocked QUIC may drive it to TCP."""
    over_tcp = observation.transport == "tcp" and bool(observation.server_name)
    before = surroundings.attempts.quic_before(observation) if over_tcp else []
    if not before:
        return Finding(False, "no QUIC to this name in the ten minutes before")
    silent = sum(not attempt.answered for attempt in before)
    frames = tuple(attempt.frame for attempt in before[-MAX_FRAMES:])
    times = "once" if len(before) == 1 else f"{len(before)} times"
    answered = {0: "and answered", len(before): "and not answered"}.get(silent, f"and {silent} times not answered")
    return Finding(True, f"QUIC to this name was tried {times} in the ten minutes before, {answered}", frames)
