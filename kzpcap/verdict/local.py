"""Is a server on a private network?"""

from __future__ import annotations

import ipaddress
from functools import lru_cache

from kzpcap.observations import Observation

PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "169.254.0.0/16", "fc00::/7", "fe80::/10")
LOCAL = tuple(ipaddress.ip_network(text) for text in PRIVATE)


def on_local_network(observation: Observation) -> bool:
    """Is the server's address one of a private network: a router's, an appliance's or a company's own page?"""
    return _is_local(observation.server[0])


@lru_cache(maxsize=4_096)
def _is_local(text: str) -> bool:
    address = ipaddress.ip_address(text)
    return any(address in network for network in LOCAL if network.version == address.version)
