"""Hosts in network namespaces, joined by veth pairs: routers that count TTLs down and answer with ICMP.

Everything here runs inside mount, network and process namespaces of its own (see `__main__`), so that no packet can
leave, and nothing is left behind when the laboratory ends, however it ends.
"""

from __future__ import annotations

import collections
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WORK = Path("/run/lab")
PACKAGE = Path(__file__).parents[1]

QUIET = {
    "net.ipv4.ip_forward": 1,
    "net.ipv4.conf.all.rp_filter": 0,
    "net.ipv4.conf.default.rp_filter": 0,
    "net.ipv4.conf.all.send_redirects": 0,
    "net.ipv4.conf.default.send_redirects": 0,
    "net.ipv4.icmp_ratelimit": 0,
    "net.ipv4.ip_local_port_range": "50000 60999",  # the recipes choose ports below
    "net.ipv4.fib_multipath_hash_policy": 1,
}


@dataclass
class Host:
    """A namespace with its addresses; the first is the one it is known by."""

    name: str
    addresses: list[str]
    initial_ttl: int = 64
    silent: bool = False
    links: dict[str, str] = field(default_factory=dict)  # neighbour -> our interface towards it


class Network:
    """A graph of hosts; `start` builds it, with the shortest route from each host to each address."""

    def __init__(self, ipv6: bool = False) -> None:
        self.hosts: dict[str, Host] = {}
        self.routes: list[tuple[str, str, list[str]]] = []
        self.raw: set[frozenset[str]] = set()
        self.ipv6 = ipv6
        self.processes: list[subprocess.Popen[Any]] = []

    def host(self, name: str, *addresses: str, initial_ttl: int = 64, silent: bool = False) -> Host:
        """A host; `silent` routers send no Time Exceeded."""
        self.hosts[name] = Host(name, list(addresses), initial_ttl, silent)
        return self.hosts[name]

    def link(self, one: str, other: str, raw: bool = False) -> None:
        """Join two hosts; `raw`: without a link layer."""
        if raw:
            self.raw.add(frozenset((one, other)))
        for here, there in ((one, other), (other, one)):
            self.hosts[here].links[there] = f"to-{there}"

    def route(self, at: str, address: str, *via: str) -> None:
        """An own route in place of the shortest; several neighbours share the flows by their ports (ECMP)."""
        self.routes.append((at, address, list(via)))

    def next_hops(self, start: str) -> dict[str, str]:
        """Host -> the neighbour through which `start` reaches it, over the fewest links."""
        first: dict[str, str] = {}
        queue = collections.deque([(neighbour, neighbour) for neighbour in self.hosts[start].links])
        while queue:
            name, by = queue.popleft()
            if name in first or name == start:
                continue
            first[name] = by
            queue.extend((neighbour, by) for neighbour in self.hosts[name].links)
        return first

    def start(self) -> None:
        for name in self.hosts:
            run("ip", "netns", "add", name)
        for name, host in self.hosts.items():
            for neighbour in host.links:
                if name < neighbour and {name, neighbour} in self.raw:
                    ends_of = (name, f"to-{neighbour}", neighbour, f"to-{name}")
                    self.python(name, "tunnel", *ends_of)
                elif name < neighbour:
                    ends = ("netns", name, "type", "veth", "peer", "name", f"to-{name}", "netns", neighbour)
                    run("ip", "link", "add", f"to-{neighbour}", *ends)
        for host in self.hosts.values():
            self._configure(host)

    def _configure(self, host: Host) -> None:
        settings = {key: value for key, value in QUIET.items() if value is not None}
        settings["net.ipv4.ip_default_ttl"] = host.initial_ttl
        for key in ("all", "default"):
            settings[f"net.ipv6.conf.{key}.disable_ipv6"] = 0 if self.ipv6 else 1
            settings[f"net.ipv6.conf.{key}.accept_dad"] = 0
            settings[f"net.ipv6.conf.{key}.router_solicitations"] = 0
            settings[f"net.ipv6.conf.{key}.hop_limit"] = host.initial_ttl
        settings["net.ipv6.conf.all.forwarding"] = 1
        settings["net.ipv6.icmp.ratelimit"] = 0
        self.inside(host.name, "sysctl", "-qw", *(f"{key}={value}" for key, value in settings.items()))
        lines = ["link set lo up"]
        four = [address for address in host.addresses if ":" not in address]
        six = [address for address in host.addresses if ":" in address]
        lines += [f"addr add {address}/32 dev lo" for address in four]
        for interface in host.links.values():
            # A neighbour solicitation is answered only for the interface's own addresses.
            lines += [f"addr add {address}/128 dev {interface} nodad" for address in six]
            lines.append(f"link set {interface} up")
        for other, by in self.next_hops(host.name).items():
            for address in self.hosts[other].addresses:
                lines.append(self.route_line(host, address, [by]))
        given = {(at, address): via for at, address, via in self.routes}
        for (at, address), via in given.items():
            if at == host.name:
                lines.append(self.route_line(host, address, via, "replace"))
        batch(host.name, lines)
        for interface in host.links.values():
            off = [item for name in ("tx", "rx", "tso", "gso", "gro", "sg") for item in (name, "off")]
            self.inside(host.name, "ethtool", "-K", interface, *off, check=False)  # a tun device has not all of them
        if host.silent:
            self.inside(
                host.name, *["iptables", "-A", "OUTPUT", "-p", "icmp", "--icmp-type", "time-exceeded", "-j", "DROP"]
            )

    def route_line(self, host: Host, address: str, via: list[str], how: str = "add") -> str:
        version = 6 if ":" in address else 4
        own = next((own for own in host.addresses if (":" in own) == (version == 6)), None)
        hops = []
        for neighbour in via:
            theirs = next(a for a in self.hosts[neighbour].addresses if (":" in a) == (version == 6))
            hops.append(f"via {theirs} dev {host.links[neighbour]} onlink")
        source = f" src {own}" if own else ""
        if len(hops) == 1:
            return f"route {how} {address} {hops[0]}{source}"
        return f"route {how} {address}{source} " + " ".join(f"nexthop {hop}" for hop in hops)

    def inside(self, name: str, *command: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command to its end inside a host."""
        return run("ip", "netns", "exec", name, *command, check=check, **options)

    def spawn(self, name: str, *command: str, ready: str | None = None, **options: Any) -> subprocess.Popen[str]:
        """Start a command inside a host; with `ready`, return when it has printed a line that holds this."""
        options.setdefault("stderr", (WORK / f"{name}.{len(self.processes)}.err").open("w"))
        process = subprocess.Popen(
            ["ip", "netns", "exec", name, *command], stdout=subprocess.PIPE, text=True, env=environment(), **options
        )
        self.processes.append(process)
        if ready is not None:
            assert process.stdout
            for line in process.stdout:
                if ready in line:
                    break
            else:
                errors = Path(options["stderr"].name).read_text()
                raise RuntimeError(f"{' '.join(command[:4])} in {name} did not start:\n{errors}")
        return process

    def python(self, name: str, module: str, *arguments: str, ready: str | None = "ready") -> subprocess.Popen[str]:
        """Start a module of this package inside a host."""
        return self.spawn(name, sys.executable, "-m", f"lab.{module}", *arguments, ready=ready)

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(3)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout:
                process.stdout.close()


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(PACKAGE), "PYTHONUNBUFFERED": "1"}


def run(*command: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command; its standard error is part of the error."""
    done = subprocess.run(command, text=True, capture_output=True, check=False, env=environment(), **options)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit status {done.returncode}\n{done.stderr}")
    return done


def batch(name: str, lines: Iterable[str]) -> None:
    """Carry out many `ip` commands inside a host at once."""
    text = "\n".join(lines) + "\n"
    run("ip", "-n", name, "-batch", "-", input=text)


def wait_for(path: Path, size: int, seconds: float = 5.0) -> None:
    """Wait until a file has at least so many bytes."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if path.exists() and path.stat().st_size >= size:
            return
        time.sleep(0.02)
    raise RuntimeError(f"{path} stays smaller than {size} bytes")
