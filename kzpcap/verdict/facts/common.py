"""What several facts share: the answers for what cannot be asked, and the frames of a chain."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

from kzpcap.observations import Observation
from kzpcap.surroundings import Surroundings
from kzpcap.verdict.logic import Finding

NO_CERTIFICATE = Finding(None, "no certificate of the server can be read here")
NO_CLOCK = Finding(None, "the packets have no time, so nothing can be judged by its day")

CONTRADICTED = Finding(None, "what the capture holds contradicts its clock, so nothing can be judged by its day")


def no_day(surroundings: Surroundings) -> Finding:
    """Why there is no day to judge by."""
    return CONTRADICTED if surroundings.clock.contradicted else NO_CLOCK


PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "169.254.0.0/16", "fc00::/7", "fe80::/10")
LOCAL = tuple(ipaddress.ip_network(text) for text in PRIVATE)


def on_local_network(observation: Observation) -> bool:
    """Is the server's address one of a private network: a router's, an appliance's or a company's own page?"""
    return _is_local(observation.server[0])


@lru_cache(maxsize=4_096)
def _is_local(text: str) -> bool:
    address = ipaddress.ip_address(text)
    return any(address in network for network in LOCAL if network.version == address.version)


def chain_frames(observation: Observation) -> tuple[int, ...]:
    """The frame that completed the server's Certificate."""
    return (observation.chain_seen.frame,) if observation.chain_seen else ()
