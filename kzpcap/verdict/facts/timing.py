"""Facts about time: how fast an answer came. Told, and moving no state and no place: caches stand near."""

from __future__ import annotations

from kzpcap.observations import Observation
from kzpcap.paths.hops import KM_PER_MS
from kzpcap.surroundings import Surroundings
from kzpcap.verdict.features import SOONER, answered_soon, needs
from kzpcap.verdict.logic import Finding

FAR_NS = 5_000_000
"""Round trips shorter than this say nothing of distance."""


@needs(SOONER)
def answered_sooner_than_the_syn(observation: Observation, surroundings: Surroundings) -> Finding:
    """The ServerHello came in less than half the shortest time that this server's address ever took for a SYN-ACK."""
    hello, answer = observation.client_hello, observation.server_hello
    if hello is None or answer is None or not answered_soon(observation):
        return Finding(False, "no ServerHello that took less than half the time of its SYN-ACK")
    shortest = surroundings.briefs.shortest_syn(observation.server[0])
    if shortest is None or shortest < FAR_NS:
        return Finding(None, "no SYN-ACK of this server to compare with, or too near to tell anything by time")
    took = answer.time_ns - hello.time_ns
    if took * 2 >= shortest:
        return Finding(False, "the ServerHello took about as long as the shortest SYN-ACK, or longer")
    reach = -(-took * KM_PER_MS // 1_000_000)
    says = (
        f"the ServerHello came after {took / 1e6:.1f} ms, no SYN-ACK of this address in under {shortest / 1e6:.1f} ms:"
        f" if no earlier copy of the ClientHello was missed, whoever sent it is within {reach:,} km by the speed of"
        " light"
    )
    return Finding(True, says, (hello.frame, answer.frame))
