"""Facts of possession: does whoever answered hold the leaf's key, and is the transcript the one that was captured?"""

from __future__ import annotations

from kzpcap.certificates.possession import Possession
from kzpcap.iana import is_tls13
from kzpcap.observations import Observation
from kzpcap.surroundings import Surroundings
from kzpcap.verdict.features import FINISHED, PROOF, needs
from kzpcap.verdict.logic import Finding, answer


def _proof(observation: Observation) -> str:
    return (
        "CertificateVerify"
        if observation.version is not None and is_tls13(observation.version)
        else "ServerKeyExchange"
    )


@needs(PROOF)
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
            None,
            "possession cannot be checked: bytes were not captured, are damaged or came in two versions, "
            "or the algorithm is not known",
            frames,
        )
    return Finding(None, "no ServerKeyExchange to check possession with")


@needs(FINISHED)
def finished_verified(observation: Observation, surroundings: Surroundings) -> Finding:
    """The server's Finished fits the keys: the handshake was captured as both ends saw it."""
    del surroundings
    frames = (observation.finished_frame,) if observation.finished_frame else ()
    if observation.finished_ok is None:
        return Finding(None, "the server's Finished cannot be read")
    if not observation.finished_ok:
        return Finding(False, "the server's Finished does not fit the captured handshake", frames)
    return Finding(True, "the server's Finished fits: the handshake was captured as the server saw it", frames)


@needs(PROOF)
def possession_refuted(observation: Observation, surroundings: Surroundings) -> Finding:
    """Whoever answered does not hold the leaf's key."""
    found = answer(possession_proved, observation, surroundings)
    return Finding(None if found.value is None else not found.value, found.says, found.frames)
