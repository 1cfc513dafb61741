"""What a recipe sets up: a path with its servers, something on it, a client with its steps, and a recorder."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import signal
import struct
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab import pki
from lab.forge import Forger
from lab.network import WORK, Network, run

# The path that Censored Planet published (2019); the box of that measurement sat between hops 4 and 5.
PUBLISHED = ["185.120.76.1", "88.204.195.89", "212.154.195.97", "92.47.151.210"]
PUBLISHED += ["95.56.243.92", "178.89.110.198", "178.89.110.206"]
CLIENT = "185.120.76.77"

# name -> address, initial TTL, key. The addresses are borrowed: no packet goes there.
SITES: dict[str, tuple[str, int, str]] = {
    "www.facebook.com": ("157.240.205.35", 64, "ecdsa"),
    "facebook.com": ("157.240.205.35", 64, "ecdsa"),
    "www.instagram.com": ("157.240.205.174", 64, "ecdsa"),
    "www.google.com": ("142.250.74.46", 128, "ecdsa"),
    "www.youtube.com": ("142.250.74.110", 128, "ecdsa"),
    "vk.com": ("87.240.132.78", 255, "rsa"),
    "mail.ru": ("94.100.180.201", 255, "rsa"),
    "en.wikipedia.org": ("185.15.59.224", 64, "ecdsa"),
    "www.example.org": ("93.184.215.14", 64, "rsa"),
    "www.kernel.org": ("145.40.73.55", 128, "rsa"),
}
SHAPES = {"connection": "connection_per_ttl", "one": "one_connection"}
# Of the fourteen names that OONI saw intercepted from 2021 to 2024; the addresses are for documentation (RFC 5737).
SITES |= {
    "rutracker.org": ("203.0.113.11", 64, "ecdsa"),
    "xakep.ru": ("203.0.113.12", 128, "rsa"),
    "www.pinterest.com": ("203.0.113.13", 64, "ecdsa"),
    "knews.kg": ("203.0.113.14", 255, "rsa"),
}
TARGETS_2024 = ["rutracker.org", "xakep.ru", "www.pinterest.com", "knews.kg"]
TARGETS = [
    "www.facebook.com",
    "facebook.com",
    "www.instagram.com",
    "www.google.com",
    "www.youtube.com",
    "vk.com",
    "mail.ru",
]


@dataclass
class Interceptor:
    """What stands on the path, for the truth."""

    kind: str
    hop: int
    state_ca: bool = False  # signs with the laboratory's state CA, which `interception.pem` holds
    details: dict[str, Any] = field(default_factory=dict)
    accept: tuple[str, ...] = ("suspected", "intercepted")  # states that its visible chain allows, the best first
    identity: tuple[str, ...] = ("unknown",)
    own_network: bool = False  # on the volunteer's side, not the carrier's
    innocent: bool = False  # another server in the place of the one asked, that pretends nothing
    targets: tuple[str, ...] = ()


class Scene:
    """One capture in the making."""

    def __init__(self, ipv6: bool = False) -> None:
        self.network = Network(ipv6)
        self.public = pki.Public.make()
        (WORK / "public.pem").write_bytes(self.public.pem())
        self.hops: list[str] = []
        self.servers: dict[str, list[dict[str, Any]]] = {}  # address -> sites
        self.leaves: dict[str, pki.Leaf] = {}
        self.options: dict[str, dict[str, Any]] = {}  # address -> further options of its server
        self.server_hops: dict[str, int] = {}
        self.kinds: dict[tuple[str, str], str] = {}  # (address, name) -> sound, expired, self-signed, other name
        self.steps: list[dict[str, Any]] = []
        self.sport = 40_001
        self.box: Interceptor | None = None
        self.ladders: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {"root.pem": self.public.pem()}
        self.arguments: dict[str, list[str]] = {"trusted_root": ["root.pem"]}
        self.vantage = "client"
        self.capture: Path | None = None
        self.notes: dict[str, Any] = {}
        self.used: set[str] = set()  # tools whose versions the truth tells
        self.must: dict[str, int] = {}  # what happened at least so often, or the recording is in vain
        self.local: Interceptor | None = None  # a proxy on the client itself
        self.accept: dict[int, list[str]] = {}  # source port -> states, where the general rule knows too little

    # -- the path and its servers

    def path(
        self,
        hops: list[str] | None = None,
        client: str | list[str] = CLIENT,
        silent: set[int] | None = None,
        raw: bool = False,
    ) -> None:
        """A client and a row of routers; router k is hop k. `raw`: the client's link has no link layer."""
        self.hops = hops or PUBLISHED
        self.network.host("client", *([client] if isinstance(client, str) else client))
        for hop, address in enumerate(self.hops, 1):
            self.network.host(f"r{hop}", *address.split("+"), silent=hop in (silent or set()))
            self.network.link("client" if hop == 1 else f"r{hop - 1}", f"r{hop}", raw and hop == 1)
        self.hops = [address.split("+")[0] for address in self.hops]

    def site(
        self,
        name: str,
        behind: str | None = None,
        leaf: pki.Leaf | None = None,
        also: str | None = None,
        kind: str = "sound",
        **spec: Any,
    ) -> None:
        """A virtual host at its address (SITES), behind the last router or the one named; the first is the default."""
        address, ttl, key = SITES[name]
        address, also = spec.pop("address", address), also and str(ipaddress.ip_address(also))
        if leaf is None:
            leaf = self.public.issuers[key].issue([name, *spec.pop("names", [])], key)
        self.leaves[name] = leaf
        behind = behind or f"r{len(self.hops)}"
        if address not in self.servers:
            self.network.host(f"s{len(self.servers)}", address, *([also] if also else []), initial_ttl=ttl)
            self.network.link(behind, f"s{len(self.servers)}")
            self.servers[address] = []
            for each in (address, also):
                if each:
                    self.server_hops[each] = int(behind[1:].rstrip("ab")) + 1
        saved = leaf.save(WORK, f"site-{address}-{len(self.servers[address])}")
        self.servers[address].append({"names": [name], **saved, **spec})
        for each in (address, also):
            if each:
                self.kinds[each, name] = kind

    def sites(self, *names: str, **spec: Any) -> None:
        for name in names:
            self.site(name, **spec)

    def start(self) -> None:
        self.network.start()
        for number, (address, sites) in enumerate(self.servers.items()):
            for each in self.network.hosts[f"s{number}"].addresses:
                spec = {"address": each, "sites": sites, **self.options.get(address, {})}
                (WORK / f"server-{each}.json").write_text(json.dumps(spec))
                self.network.python(f"s{number}", "origin", str(WORK / f"server-{each}.json"))

    def chains(self, address: str) -> list[list[str]]:
        """What the servers at an address may send."""
        return [site["chain"] for site in self.sites_at(address)]

    def sites_at(self, address: str) -> list[dict[str, Any]]:
        """The sites of an address, or of the host that has it as well."""
        for first, sites in self.servers.items():
            if any(address in host.addresses and first in host.addresses for host in self.network.hosts.values()):
                return sites
        return self.servers.get(address, [])

    # -- what stands on the path

    def forger(self, generation: str) -> Forger:
        made = Forger.make(generation)
        (WORK / "ca.pem").write_bytes(pki.pem(made.intermediate, made.root))
        (WORK / "ca.key").write_bytes(pki.key_pem(made.key))
        self.files["interception.pem"] = (WORK / "ca.pem").read_bytes()
        self.arguments["interception_ca"] = ["interception.pem"]
        return made

    def kz_box(self, build: str, hop: int, generation: str = "late-july-2019", **spec: Any) -> None:
        """The interceptor of 2019 (or later), at a hop."""
        self.forger(generation)
        targets = TARGETS_2024 if generation.startswith("isca") else TARGETS
        self._box(build, hop, generation, targets, **spec)
        details = {"generation": generation, **spec}
        self.box = Interceptor(f"kz-{build}", hop, True, details, targets=tuple(targets))

    def accelerator(self, hop: int, at: str | None = None) -> None:
        """A split-TCP accelerator: it answers every SYN and passes all bytes on."""
        if not (WORK / "ca.pem").exists():
            made = Forger.make("late-july-2019")  # it never signs anything
            (WORK / "ca.pem").write_bytes(pki.pem(made.intermediate, made.root))
            (WORK / "ca.key").write_bytes(pki.key_pem(made.key))
        self._box("terminate", hop, "late-july-2019", [], at)
        self.box = self.box or Interceptor("accelerator", hop)

    def _box(
        self, build: str, hop: int, generation: str, targets: list[str], at: str | None = None, **spec: Any
    ) -> None:
        router = at or f"r{hop}"
        whole = {"build": build, "targets": targets, "generation": generation, "initial_ttl": 64, **spec}
        whole |= {"ca": str(WORK / "ca.pem"), "key": str(WORK / "ca.key"), "public": str(WORK / "public.pem")}
        path = WORK / f"box-{router}.json"
        path.write_text(json.dumps(whole))
        if spec.get("ipv6"):
            self.divert(router, "ip6tables", "-6")
        else:
            self.divert(router)
        if build == "terminate":
            rule = "-t mangle -A PREROUTING -p tcp --dport 443 -j TPROXY --on-port 8443 --tproxy-mark 1"
        else:
            rule = "-t raw -A PREROUTING -p tcp -m multiport --ports 443 -j NFQUEUE --queue-num 1"
        self.iptables(router, rule, "ip6tables" if spec.get("ipv6") else "iptables")
        self.network.python(router, "box", str(path))

    def divert(self, router: str, tool: str = "iptables", version: str = "-4") -> None:
        """Packets of connections that a box on this router holds are the router's own, whatever their addresses."""
        self.iptables(router, "-t mangle -N HELD", tool)
        self.iptables(router, "-t mangle -A HELD -j MARK --set-mark 1", tool)
        self.iptables(router, "-t mangle -A HELD -j ACCEPT", tool)
        self.iptables(router, "-t mangle -A PREROUTING -p tcp -m socket --transparent -j HELD", tool)
        run("ip", "-n", router, version, "rule", "add", "fwmark", "1", "lookup", "100")
        everything = "::/0" if version == "-6" else "0.0.0.0/0"
        run("ip", "-n", router, version, "route", "add", "local", everything, "dev", "lo", "table", "100")

    def blocker(self, hop: int, how: str, targets: list[str] | None = None, **spec: Any) -> None:
        router = f"r{hop}"
        path = WORK / f"blocker-{router}.json"
        path.write_text(json.dumps({"targets": targets or TARGETS, "how": how, **spec}))
        self.iptables(router, "-t raw -A PREROUTING -p tcp --dport 443 -j NFQUEUE --queue-num 1")
        self.network.python(router, "blocker", str(path))
        details = {"in_path": True, **spec}
        self.box = Interceptor(f"blocker-{how}", hop, False, details, targets=tuple(targets or TARGETS))

    def loss(self, hop: int, share: float) -> None:
        self.iptables(f"r{hop}", f"-t mangle -A FORWARD -m statistic --mode random --probability {share} -j DROP")
        self.notes["loss"] = share

    def delay(self, router: str, milliseconds: int) -> None:
        self.iptables(router, "-t mangle -A FORWARD -j NFQUEUE --queue-num 2")
        self.network.python(router, "delay", str(milliseconds))

    def nat(self, hop: int, inside: str, public: str) -> None:
        self.iptables(f"r{hop}", f"-t nat -A POSTROUTING -s {inside} -o to-r{hop + 1} -j SNAT --to-source {public}")
        self.notes["nat"] = {"hop": hop, "public": public}

    def iptables(self, host: str, rule: str, tool: str = "iptables") -> None:
        self.network.inside(host, tool, *rule.split())

    # -- the client

    def connect(self, name: str | None, server: str | None = None, tool: str = "python", **step: Any) -> int:
        """One more connection for the client to make; gives its source port."""
        address = str(ipaddress.ip_address(server or SITES[name or ""][0]))
        self.sport += 1
        self.used.add(tool)
        self.steps.append({"tool": tool, "sni": name, "server": address, "port": 443, "sport": self.sport, **step})
        return self.sport

    def trace(self, server: str, **step: Any) -> None:
        self.steps.append({"tool": "traceroute", "server": server, "most": len(self.hops) + 1, **step})

    def go(self, at: str = "client") -> None:
        """The client takes the steps collected so far."""
        path = WORK / "steps.json"
        path.write_text(json.dumps(self.steps))
        self.steps = []
        self.network.python(at, "client", str(path), ready=None).wait()
        time.sleep(0.3)

    def ladder(
        self,
        target: str,
        control: str | None,
        shape: str,
        server: str | None = None,
        expect: dict[str, Any] | None = None,
        **spec: Any,
    ) -> None:
        """Probes with rising TTL for a target and a control name, to the target's server."""
        server = server or SITES[target][0]
        most = spec.pop("most", self.server_hops[server] + 1)
        first = self.sport + 1
        self.sport += 200
        whole = {"server": server, "target": target, "control": control, "shape": shape, "most": most, "sport": first}
        whole |= {"source": self.network.hosts["client"].addresses[0], **spec}
        if shape == "one":
            # The kernel knows nothing of these connections, and would reset them. Ours is sent with another TTL.
            self.iptables(
                "client", f"-A OUTPUT -p tcp --tcp-flags RST RST --sport {first}:{first + 9} -m ttl --ttl-eq 64 -j DROP"
            )
        path = WORK / "ladder.json"
        path.write_text(json.dumps(whole))
        self.network.python("client", "ladder", str(path), ready=None).wait()
        known = {"server": server, "server_name": target, "control_server_name": control, "shape": SHAPES[shape]}
        self.ladders.append({**known, "expect": expect or {}, "ports": [first, first + 199]})
        time.sleep(0.3)

    def names(self, address: str, table: dict[str, str], behind: str = "r2") -> None:
        """A name server behind a router (before `start`, the host; after it, the server: call it twice)."""
        if "names" not in self.network.hosts:
            self.network.host("names", address)
            self.network.link(behind, "names")
        else:
            self.network.python("names", "names", address, json.dumps(table))

    def page_of(self, hop: int, leaf: pki.Leaf) -> str:
        """A router's own page, at its first address; gives that."""
        address = self.network.hosts[f"r{hop}"].addresses[0]
        saved = leaf.save(WORK, f"page-{address}")
        self.servers[address] = [{"names": [], **saved, "highest": "TLSv1.2"}]
        path = WORK / f"page-{address}.json"
        path.write_text(json.dumps({"address": address, "sites": self.servers[address]}))
        self.network.python(f"r{hop}", "origin", str(path))
        return address

    def impostor(self, address: str, forged: pki.Leaf) -> None:
        """From now on a recorded flight is the answer at this address, sent by somebody without the key."""
        saved = forged.save(WORK, "replayed")
        spec = {"address": address, "port": 8443, "replay": True, "sites": [{"names": ["replayed"], **saved}]}
        (WORK / "impostor.json").write_text(json.dumps(spec))
        number = list(self.servers).index(address)
        self.network.python(f"s{number}", "origin", str(WORK / "impostor.json"))
        self.iptables(f"s{number}", f"-t nat -A PREROUTING -p tcp --dport 443 -j DNAT --to-destination {address}:8443")

    def resolve(self, name: str, server: str) -> None:
        self.sport += 1
        self.steps.append({"tool": "resolve", "sni": name, "server": server, "sport": self.sport})

    def quic_server(self, host: str, name: str) -> None:
        address, _, _ = SITES[name]
        self.network.python(
            host, "quic", "serve", address, self.servers[address][0]["pem"], *self.servers[address][0]["chain"]
        )

    def quic(self, name: str) -> None:
        self.sport += 1
        self.used.add("aioquic")
        arguments = ("ask", SITES[name][0], name, str(self.sport))
        self.network.python("client", "quic", *arguments, ready=None).wait()

    def reroute(self, at: str, address: str, via: str) -> None:
        host = self.network.hosts[at]
        run("ip", "-n", at, *self.network.route_line(host, address, [via], "replace").split())

    def keys(self) -> None:
        """The clients' key log becomes a file beside the capture."""
        self.files["keys.log"] = (WORK / "keys.log").read_bytes()
        self.arguments["keylog"] = ["keys.log"]
        self.notes["keys"] = True

    # -- the recorder

    @contextlib.contextmanager
    def record(
        self, at: str = "client", interface: str | None = None, tool: str = "tcpdump", *options: str, **more: Any
    ) -> Iterator[None]:
        """Record what passes at a host: tcpdump writes pcap, dumpcap pcapng."""
        name = more.get("name", "capture")
        path = WORK / f"{name}.{'pcap' if tool == 'tcpdump' else 'pcapng'}"
        self.used.add(tool)
        interface = interface or next(iter(self.network.hosts[at].links.values()))
        if tool == "tcpdump":
            command = ["tcpdump", "-i", interface, "-U", "-n", "--immediate-mode", "-w", str(path), "-Z", "root"]
            sign = "listening on"
        else:
            command = ["dumpcap", "-q", "-i", interface, "-w", str(path)]
            sign = "Capturing on"
        errors = WORK / f"{name}.recorder"
        with errors.open("w") as standard_error:
            process = subprocess.Popen(
                ["ip", "netns", "exec", at, *command, *options], stderr=standard_error, stdout=subprocess.DEVNULL
            )
        until = time.monotonic() + 5
        while sign not in errors.read_text():
            if time.monotonic() > until or process.poll() is not None:
                raise RuntimeError(f"{tool} did not start: {errors.read_text()}")
            time.sleep(0.02)
        if tool == "dumpcap":
            time.sleep(0.5)  # it says so a little before it does
        try:
            yield
        finally:
            time.sleep(0.4)
            process.send_signal(signal.SIGINT)
            process.wait(5)
        if tool == "dumpcap":
            anonymous(path)
        if name == "capture":
            self.capture, self.vantage = path, at


def anonymous(path: Path) -> None:
    """Take the machine that recorded a pcapng (its processor, its kernel) out of it: options, statistics, comments."""
    data, kept, at = path.read_bytes(), b"", 0
    while at < len(data):
        kind, size = struct.unpack_from("=II", data, at)
        body = data[at + 8 : at + size - 4]
        if kind == SECTION_HEADER:
            kept += block(kind, body[:16])
        elif kind == INTERFACE_DESCRIPTION:
            kept += block(kind, body[:8] + resolution(body[8:]))
        elif kind != INTERFACE_STATISTICS:
            kept += data[at : at + size]
        at += size
    path.write_bytes(kept)


SECTION_HEADER, INTERFACE_DESCRIPTION, INTERFACE_STATISTICS, IF_TSRESOL = 0x0A0D0D0A, 1, 5, 9


def block(kind: int, body: bytes) -> bytes:
    size = struct.pack("=I", len(body) + 12)
    return struct.pack("=I", kind) + size + body + size


def resolution(options: bytes) -> bytes:
    """Of an interface's options the one without which its times cannot be read."""
    at = 0
    while at + 4 <= len(options):
        code, size = struct.unpack_from("=HH", options, at)
        if code == IF_TSRESOL:
            return options[at : at + 8] + bytes(4)
        if code == 0:
            break
        at += 4 + (size + 3 & ~3)
    return b""
