"""Is an address one of a private network?"""

from __future__ import annotations

import ipaddress
from functools import lru_cache

PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "169.254.0.0/16", "fc00::/7", "fe80::/10")
LOCAL = tuple(ipaddress.ip_network(text) for text in PRIVATE)


@lru_cache(maxsize=4_096)
def is_local(address: str) -> bool:
    """Is it on a private network: a router's, an appliance's or a company's own? ValueError for no address."""
    parsed = ipaddress.ip_address(address)
    return any(parsed in network for network in LOCAL if network.version == parsed.version)
