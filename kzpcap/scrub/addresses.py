"""Which addresses stay, and what stands for the others: documentation addresses that keep their kind.

Servers and routers from the first public hop on are evidence and stay. Clients, the public address of their NAT,
resolvers, proxies, servers of controls whose name does not stay, and everything in the volunteer's own network are
replaced; so is a router or a server in the client's own /24 (IPv6 /48): it would tell the subscriber's neighbourhood.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache

from kzpcap.errors import CaptureError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
KINDS: tuple[tuple[str, str, str], ...] = (
    ("loopback", "127.0.0.0/8", "127.0.0.0/16"),
    ("private", "10.0.0.0/8", "10.0.0.0/16"),
    ("private", "172.16.0.0/12", "172.16.0.0/16"),
    ("private", "192.168.0.0/16", "192.168.0.0/16"),
    ("carrier NAT", "100.64.0.0/10", "100.64.0.0/16"),
    ("link-local", "169.254.0.0/16", "169.254.0.0/16"),
    ("loopback", "::1/128", "::/120"),
    ("private", "fc00::/7", "fd00::/112"),
    ("link-local", "fe80::/10", "fe80::/112"),
)
"""Kind, network, and from which part of it a replacement is taken."""
PUBLIC = {
    ("client", 4): "192.0.2.0/24",
    ("router", 4): "192.0.2.0/24",
    ("server", 4): "198.51.100.0/24",
    ("resolver", 4): "203.0.113.0/24",
    ("client", 6): "2001:db8::/112",
    ("router", 6): "2001:db8::1:0/112",
    ("server", 6): "2001:db8::2:0/112",
    ("resolver", 6): "2001:db8::3:0/112",
}
"""RFC 5737 and RFC 3849: addresses for documentation, by what they stand for."""
MORE = {4: "198.18.0.0/15", 6: "2001:db8:1::/96"}
"""Where those are not enough: for benchmarks (RFC 2544), and more of the documentation's."""
MAX_EACH = 1 << 17
EUI_64 = b"\xff\xfe"
"""In the middle of an IPv6 address that was made of a hardware address (RFC 4291 appendix A)."""


def kind_of(address: Address) -> tuple[str, str] | None:
    """(kind, network of replacements) of an address that is not public; None for a public one."""
    for kind, network, part in KINDS:
        if address in _network(network):
            return kind, part
    return None


@cache
def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """One of the networks of this module."""
    return ipaddress.ip_network(text)


@dataclass
class Addresses:
    """The replacements, made as they are asked for; the same address always gets the same one."""

    taken: set[bytes] = field(default_factory=set)
    """Addresses that stay, or stand for others already."""
    clients: set[bytes] = field(default_factory=set)
    neighbourhoods: set[bytes] = field(default_factory=set)
    """The first bytes of the clients' public addresses: their /24 (IPv6 /48)."""
    replaced: dict[bytes, bytes] = field(default_factory=dict)
    roles: dict[bytes, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def replace(self, raw: bytes, role: str) -> bytes:
        """The replacement of an address: client, router, server (of a nameless control) or resolver."""
        found = self.replaced.get(raw)
        if found is not None:
            return found
        address = ipaddress.ip_address(raw)
        kind = kind_of(address)
        new = self._next(kind[1] if kind else PUBLIC[role, address.version], raw) or self._next(
            MORE[address.version], raw
        )
        if new is None:
            raise CaptureError("more addresses of one kind than can be replaced: cut the capture into parts")
        self.taken.add(new)
        self.replaced[raw] = new
        self.roles[raw] = role
        return new

    def _next(self, network: str, raw: bytes) -> bytes | None:
        """The next address of a network that stands for nothing yet; None where all do."""
        part = _network(network)
        for number in range(self.counts.get(network, 0) + 1, min(part.num_addresses - 1, MAX_EACH)):
            self.counts[network] = number
            new = (part.network_address + number).packed
            if new not in self.taken and new != raw:
                return new
        return None

    def client(self, raw: bytes) -> bytes:
        """The replacement of a client's address."""
        self.clients.add(raw)
        if kind_of(ipaddress.ip_address(raw)) is None:
            self.neighbourhoods.add(_neighbourhood(raw))
        return self.replace(raw, "client")

    def router(self, raw: bytes) -> bytes:
        """A router's address: replaced inside the volunteer's own network and beside a client, else it stays."""
        if raw in self.replaced:
            return self.replaced[raw]
        if raw[11:13] == EUI_64 and len(raw) == 16:
            return self.replace(raw, "router")  # that of the volunteer's own router, which holds its hardware address
        return self._kept(raw, "router")

    def server(self, raw: bytes) -> bytes:
        """The address of a kept server: it stays, unless it lies in the volunteer's own network or beside a client."""
        return self.replaced.get(raw) or self._kept(raw, "server")

    def _kept(self, raw: bytes, role: str) -> bytes:
        if kind_of(ipaddress.ip_address(raw)) is not None or _neighbourhood(raw) in self.neighbourhoods:
            return self.replace(raw, role)
        self.taken.add(raw)
        return raw


def _neighbourhood(raw: bytes) -> bytes:
    """The first bytes of an address: its /24 (IPv6 /48)."""
    return raw[:3] if len(raw) == 4 else raw[:6]


def packed(addresses: Iterable[str]) -> set[bytes]:
    """Addresses as they stand in packets."""
    return {ipaddress.ip_address(address).packed for address in addresses}


def near(one: bytes, other: bytes) -> bool:
    """Are two addresses in one /24 (IPv6 /48)?"""
    return len(one) == len(other) and _neighbourhood(one) == _neighbourhood(other)
