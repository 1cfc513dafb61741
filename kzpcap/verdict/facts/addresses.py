"""Facts about the server's address: did DNS in the capture give it, does it belong to whom the name belongs to?

Neither settles anything: caches of the large services stand in carriers' networks, and resolvers may lie.
"""

from __future__ import annotations

from kzpcap.observations import Observation
from kzpcap.surroundings import Surroundings
from kzpcap.verdict.features import NAMED_BY_DNS, OWNED, needs
from kzpcap.verdict.logic import Finding, answer

NOT_THE_SERVERS = Finding(None, "the address is a proxy's or a tunnel's, and not the server's")


NO_ANSWER = Finding(None, "no DNS answer for the name in the capture, or not all of them were kept")


def _earlier(observation: Observation, surroundings: Surroundings) -> list[str]:
    """The addresses of its own IP version that DNS answers before this connection gave to its name."""
    found = surroundings.addresses_of_names.get(observation.server_name or "", {})
    six = ":" in observation.server[0]
    return sorted(one for one, time_ns in found.items() if (":" in one) is six and time_ns <= observation.time_ns)


@needs(NAMED_BY_DNS)
def address_given_by_dns(observation: Observation, surroundings: Surroundings) -> Finding:
    """A DNS answer in the capture gave this address to this name, before the connection."""
    name, server = observation.server_name, observation.server[0]
    if name not in surroundings.addresses_of_names:
        return NO_ANSWER
    if observation.proxied or observation.tunnels:
        return NOT_THE_SERVERS
    given = _earlier(observation, surroundings)
    if server in given:
        return Finding(True, f"DNS in the capture gave {server} for {name}")
    if not given or surroundings.names_left_out:
        return NO_ANSWER
    return Finding(False, f"DNS in the capture gave other addresses for {name}")


@needs(NAMED_BY_DNS)
def address_not_given_by_dns(observation: Observation, surroundings: Surroundings) -> Finding:
    """DNS answers for this name are in the capture, and none gave this address."""
    found = answer(address_given_by_dns, observation, surroundings)
    if found.value is not False:
        return Finding(None if found.value is None else False, found.says)
    given = ", ".join(_earlier(observation, surroundings)[:4])
    return Finding(True, f"DNS in the capture gave {given} for {observation.server_name}, not {observation.server[0]}")


@needs(OWNED)
def address_of_the_names_owner(observation: Observation, surroundings: Surroundings) -> Finding:
    """The server's address is in an AS of whoever the name belongs to, by the dated table."""
    networks = surroundings.networks
    service = networks.service_of(observation.server_name) if networks and observation.server_name else None
    if networks is None or service is None:
        return Finding(None, "whose networks this name belongs to is not in the reference data")
    if observation.proxied or observation.tunnels:
        return NOT_THE_SERVERS
    found = networks.of(observation.server[0])
    if found is None:
        return Finding(None, f"no AS for {observation.server[0]} in the table")
    where = f"{observation.server[0]} is in {found.text} ({found.source})"
    if found.asn in service.asns:
        return Finding(True, f"{where}: a network of {service.owner}, to whom the name belongs")
    return Finding(False, f"{where}: none of the networks of {service.owner}, to whom the name belongs")


@needs(OWNED)
def address_of_another_owner(observation: Observation, surroundings: Surroundings) -> Finding:
    """The server's address is in none of the AS of whoever the name belongs to."""
    found = answer(address_of_the_names_owner, observation, surroundings)
    if found.value is not False:
        return Finding(None if found.value is None else False, found.says)
    return Finding(True, f"{found.says}; caches and content networks stand elsewhere too")
