"""The plan of a scrub, from an analysis: which frames stay, and which bytes of them.

Three readings of the capture: the analysis (which connections are evidence), their flows (which bytes are handshake),
and every packet (what goes with them: acknowledgements, ICMP, probes, DNS). What is not named in any is dropped, and
counted by why.
"""

from __future__ import annotations

import ipaddress
import os
import re
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from kzpcap.analysis import Reading
from kzpcap.capture.codes import ACK, FIN, ICMP, ICMPV6, OK, RST, SYN, TCP, UDP
from kzpcap.capture.container import Records
from kzpcap.capture.decode import decode
from kzpcap.capture.flow import Flow
from kzpcap.capture.health import Notes
from kzpcap.capture.packet import Packet
from kzpcap.capture.unpack import Source
from kzpcap.dns import answers
from kzpcap.flows import Run, Stream, both_directions, distance, versions
from kzpcap.paths.icmp import IcmpError
from kzpcap.paths.icmp import read as read_icmp
from kzpcap.scrub import datagrams, initials, quotes
from kzpcap.scrub.addresses import Addresses, near, packed
from kzpcap.scrub.apply import Edit, Plan, Turn
from kzpcap.scrub.choose import Choices, Chosen, Role, told
from kzpcap.scrub.mask import Mask, Policy, mask
from kzpcap.tls import records
from kzpcap.tls.seen import Handshake
from kzpcap.tls.upgrade import Upgrade
from kzpcap.verdict.rules import State

MAX_PROBE_TTL = 40
MAX_BESIDE = 16
"""Flows between the same ports at one time."""
STATUS = re.compile(rb"HTTP/[0-9]\.[0-9] [1-5][0-9]{2}(?![0-9])")
"""So much of a status line stays: version and code, and nothing that somebody wrote into it."""
Range = tuple[int, int]


@dataclass
class Kept:
    """One kept flow: its packets with data that stays, and from when on it has nothing more to say."""

    role: Role
    first: int
    last: int
    until: int
    """The frame after which packets without data are not needed."""
    turns: tuple[int, int]
    """For packets of the direction `forward`, and of the other."""
    forward: bytes
    data: dict[int, tuple[tuple[Range, ...], tuple[tuple[int, bytes], ...]]] = field(default_factory=dict)


class Between:
    """The kept flows between two ends, in order of their first frames: of one pair of ports there may be thousands."""

    def __init__(self) -> None:
        self.flows: list[Kept] = []

    def add(self, kept: Kept) -> None:
        """Take a flow; they come as they ended."""
        insort(self.flows, kept, key=_first_of)

    def before(self, frame: int) -> Kept | None:
        """The last flow that began by then."""
        at = bisect_right(self.flows, frame, key=_first_of)
        return self.flows[at - 1] if at else None

    def at(self, frame: int) -> Kept | None:
        """The flow that a frame is part of: the one that has its bytes, else the newest that was there then."""
        at = bisect_right(self.flows, frame, key=_first_of)
        there = [one for one in self.flows[max(0, at - MAX_BESIDE) : at] if frame <= one.last]
        return next((one for one in there if frame in one.data), there[-1] if there else None)


def _first_of(kept: Kept) -> int:
    return kept.first


@dataclass
class Made:
    """A plan, and what the manifest tells of it."""

    plan: Plan
    dropped: Counter[str] = field(default_factory=Counter)
    """Why to packets."""
    kept: Counter[str] = field(default_factory=Counter)
    blanked: Counter[str] = field(default_factory=Counter)
    addresses: Addresses = field(default_factory=Addresses)
    names: frozenset[str] = frozenset()
    """The server names that stay."""


@dataclass
class Shifts:
    """The constants of the public profile; all zero in the other."""

    client_port: int = 0
    client_stamp: int = 0
    server_stamp: int = 0
    client_id: int = 0
    server_id: int = 0
    client_probe: int = 0
    server_probe: int = 0
    """Of the sequence numbers of probes, which are no flows."""
    exact: bool = True

    @classmethod
    def of(cls, exact: bool, ports: set[int]) -> Shifts:
        """Random constants; client ports stay in their order, above the well-known ones."""
        if exact:
            return cls()
        low, high = min(ports, default=1_024), max(ports, default=1_024)
        room = 65_535 - 1_024 - (high - low)
        port = 1_024 - low + int.from_bytes(os.urandom(4), "big") % max(1, room)
        stamps = [int.from_bytes(os.urandom(4), "big") for _ in range(4)]
        ids = [1 + int.from_bytes(os.urandom(2), "big") % 0xFFFE for _ in range(2)]
        return cls(port, stamps[0], stamps[1], ids[0], ids[1], stamps[2], stamps[3], False)


def _status(data: bytes) -> bytes:
    """The version and code of an HTTP answer; nothing where it begins otherwise."""
    found = STATUS.match(data)
    return found[0] if found else b""


class Planner:
    """Makes one plan; the flows that stay are gathered first, then every packet is asked whether it goes with them."""

    def __init__(self, chosen: Chosen, choices: Choices, key: bytes) -> None:
        self.chosen = chosen
        self.exact = choices.profile != "public"
        self.key = key
        self.made = Made(Plan())
        self.flows: dict[bytes, Between] = {}
        self.ends: dict[bytes, list[bytes]] = {}
        """Server and ports as an error quotes them -> the clients of kept flows between these."""
        self.turns: dict[Turn, int] = {}
        self.probes: set[tuple[bytes, int, bytes, int]] = set()
        self.probed: set[tuple[int, bytes, int]] = set()
        """The same without the client, whose NAT an error may quote in its place."""
        self.spoken: set[tuple[bytes, int, bytes, int]] = set()
        """Connections with TLS that do not stay: their SYNs are no probes."""
        self.routers: set[bytes] = set()
        self.dns: list[tuple[Edit, bytes, str, tuple[str, ...]]] = []
        """The answers that stay: their edits, the head of each, the name and its addresses."""
        self.servers: set[bytes] = set()
        self.addresses = self.made.addresses
        self.raw_names: frozenset[bytes] = frozenset()
        ports = {observation.client[1] for observation in chosen.observations.values()}
        self.shifts = Shifts.of(self.exact, ports)
        self._prepare()

    def _prepare(self) -> None:
        """Names and addresses: what stays is taken first, so that nothing else is given its place."""
        names = set()
        found = self.chosen.observations
        for frame, role in self.chosen.roles.items():
            name = told(found[frame], role)
            if name is not None:
                names.add(name)
        self.made.names = frozenset(names)
        self.raw_names = frozenset(name.encode("ascii", "backslashreplace") for name in names)
        for observation in found.values():
            self.addresses.taken.add(ipaddress.ip_address(observation.client[0]).packed)
            self.addresses.taken.add(ipaddress.ip_address(observation.server[0]).packed)
        for observation in found.values():
            self.addresses.client(ipaddress.ip_address(observation.client[0]).packed)
        named = {
            found[frame].server[0] for frame, role in self.chosen.roles.items() if role.named or role.why == "ladder"
        }
        # A proxy is whoever the volunteer works for, or the machine that the volunteer rents.
        proxies = {observation.server[0] for observation in found.values() if observation.proxied}
        kept = (named | {server for server, _ in self.chosen.servers}) - proxies
        self.servers = packed(kept) - self.addresses.clients
        for raw in sorted(self.servers):
            self.addresses.server(raw)
        for observation in found.values():
            raw = ipaddress.ip_address(observation.server[0]).packed
            if raw not in self.servers:
                self.addresses.replace(raw, "server")

    # the second reading: flows

    def flow(self, flow: Flow, handshake: Handshake | None) -> None:
        """Take one flow, if its connection stays."""
        role = self.chosen.roles.get(flow.first_frame)
        if role is None or flow.packets == []:
            for packet in flow.packets[:1] if handshake is not None and flow.protocol == TCP else ():
                self.spoken.add((packet.src, packet.sport, packet.dst, packet.dport))
                self.spoken.add((packet.dst, packet.dport, packet.src, packet.sport))
            return
        client = handshake.client_direction if handshake else _syn_sender(flow)
        first = flow.packets[0]
        ends = (first.sport, first.dport) if first.direction == 0 else (first.dport, first.sport)
        turns = self._turns(ends, client, flow.protocol == TCP)
        forward = flow.key if first.direction == 0 else flow.reverse
        kept = Kept(role, flow.first_frame, flow.last_frame, flow.last_frame, turns, bytes(forward))
        if flow.protocol == UDP:
            hello = self.chosen.observations[flow.first_frame].hello_first_frame
            stays = datagrams.kept(flow.packets, client, hello)
            kept.data = initials.masked(flow.packets, client, stays, self.policy(role, flow.first_frame))
        elif handshake is not None:
            kept.until = self._tcp(flow, handshake, client, kept, role)
        size = len(first.src)
        for key in (bytes(flow.key), bytes(flow.reverse)):
            if key not in self.flows:
                self.flows[key] = Between()
                self.ends.setdefault(key[size:], []).append(key[:size])
            self.flows[key].add(kept)

    def _turns(self, ends: tuple[int, int], client: int, tcp: bool) -> tuple[int, int]:
        """The numbers of both directions; direction 0 is from `ends[0]`."""
        shift = self.shifts
        ports = [ends[0], ends[1]]
        ports[client] = (ports[client] + shift.client_port) & 0xFFFF
        bases = [0, 0] if self.exact or not tcp else [int.from_bytes(os.urandom(4), "big") for _ in range(2)]
        made = []
        for direction in (0, 1):
            mine = direction == client
            made.append(
                Turn(
                    ports[direction],
                    ports[1 - direction],
                    bases[direction],
                    bases[1 - direction],
                    shift.client_stamp if mine else shift.server_stamp,
                    shift.server_stamp if mine else shift.client_stamp,
                    shift.client_id if mine else shift.server_id,
                )
            )
        return self._turn(made[0]), self._turn(made[1])

    def _turn(self, turn: Turn) -> int:
        found = self.turns.get(turn)
        if found is None:
            found = self.turns[turn] = len(self.made.plan.turns)
            self.made.plan.turns.append(turn)
        return found

    def policy(self, role: Role, frame: int) -> Policy:
        """What of a connection's handshake stays."""

        certificates = "all" if role.named else "none"
        # Without its signature nothing shows who holds a key: a leaf that is not genuine says too much then. So does
        # its issuer, unless it is known from elsewhere: the CA of a product bears the name of one machine.
        if role.named and not self.exact and self.chosen.states[frame] is not State.GENUINE:
            certificates = "issuers" if frame in self.chosen.known else "none"
        names = self.raw_names if role.named else frozenset()
        issuers = self.chosen.known.get(frame, frozenset())
        return Policy(
            names, self.exact and role.named, certificates, self.key, issuers, self.chosen.verified.get(frame)
        )

    def _tcp(self, flow: Flow, handshake: Handshake, client: int, kept: Kept, role: Role) -> int:
        """The bytes that stay of a TCP flow; gives the frame after which nothing more of it is needed."""
        policy = self.policy(role, flow.first_frame)
        upgraded = handshake.upgrade is not None
        masks: list[list[tuple[Mask, Stream]]] = [[], []]
        streams = both_directions(flow)
        ends = []
        for direction in (0, 1):
            variants = [streams[direction]]
            if streams[direction].conflicts:
                variants += versions(streams[direction].packets)
            for stream in variants:
                begin = records.read(stream, upgraded).begin
                made = mask(stream, direction == client, policy, begin, upgraded)
                before = (
                    begin
                    if begin is not None
                    else (stream.runs[0].offset + len(stream.runs[0].data) if stream.runs else 0)
                )
                self._before(made, stream, direction == client, before, begin is None, handshake, role)
                made.keep.sort()
                made.put.sort()
                masks[direction].append((made, stream))
        limits = [_limit(masks[one][0][0], masks[1 - one][0][0], one == client) for one in (0, 1)]
        for packet in flow.packets:
            direction = packet.direction
            if not packet.payload:
                continue
            base = streams[direction].base
            offset = distance(packet.seq + (1 if packet.flags & SYN else 0), base)
            if limits[direction] is not None and offset >= (limits[direction] or 0):
                self.made.blanked["data packets beyond the handshake"] += 1
                continue
            kept.data[packet.frame] = _laid(packet, offset, masks[direction], limits[direction])
            ends.append(packet.frame)
        return max(ends, default=flow.first_frame)

    def _before(
        self, made: Mask, stream: Stream, from_client: bool, end: int, plain: bool, handshake: Handshake, role: Role
    ) -> None:
        """What stays of the bytes before TLS, or of an answer that is none."""
        runs = stream.runs
        if not runs or runs[0].offset != 0 or not role.named:
            return
        data = runs[0].data[:end]
        if plain and len(data) < 5 and records.looks_like_record(data, 0, False):
            made.keep.append((0, len(data)))  # zeros in its place would be an answer that is no TLS
        elif plain and not from_client and handshake.plain_answer is not None:
            # No more of it: pages of carriers name the subscriber, by address, number or a code in a link.
            made.put.append((0, _status(data)))
        elif handshake.upgrade is not None and handshake.upgrade.proxy:
            made.put.append((0, self._proxied(data, from_client, handshake.upgrade)[: len(data)]))

    def _proxied(self, data: bytes, from_client: bool, upgrade: Upgrade) -> bytes:
        """What was said to a proxy or by it, written anew: no credentials, no cookies, no name that does not stay."""
        if upgrade.protocol == "proxy-protocol":  # what follows is the client's own address
            return data[:12] if data.startswith(b"\r") else b"PROXY UNKNOWN\r\n"
        if upgrade.protocol != "http-connect":
            return data[: 2 if upgrade.protocol == "socks4" else 2 + data[1] if from_client and len(data) > 2 else 2]
        line = _status(data)
        if from_client:
            asked = (upgrade.requested or b"").lower()
            line = b"CONNECT " + (asked if asked in self.raw_names else b"x") + b":443 HTTP/1.1"
        return line + b"\r\nx: " + b"x" * max(0, len(data) - len(line) - 9) + b"\r\n\r\n"

    # the third reading: every packet

    def translated(self, errors: list[IcmpError]) -> None:
        """Learn the addresses of the clients' NAT from what errors quote, and replace servers that lie beside them."""
        for found in errors:
            asked, answered = packed([found.q_src]).pop(), packed([found.q_dst]).pop()
            if asked not in self.servers and self._quoted(found, asked, answered) is not None:
                self.addresses.client(asked)
        for raw in sorted(self.servers):
            self.addresses.server(raw)

    def packets(self, raw: bytes) -> None:
        """Ask of every packet whether it stays."""
        found = Records(raw, Notes())
        packet = Packet()
        while found.advance():
            packet.frame, packet.time_ns = found.frame, found.time_ns
            try:
                outcome = decode(packet, raw, found.offset, found.captured, found.original, found.link_type)
            except IndexError:
                outcome = -1
            if outcome != OK:
                self.made.dropped["not TCP, UDP or ICMP over IP, fragments, and what cannot be read"] += 1
                continue
            why = self._packet(packet, raw)
            if why:
                self.made.dropped[why] += 1
        for router in sorted(self.routers):  # a NAT's address may have been learnt after its neighbours were met
            self.addresses.router(router)
        for edit, head, name, answered in self.dns:  # nor may it stand in an answer that came before
            fresh = quotes.dns_answer(head, name, self._answered(answered))
            self.made.plan.edits[edit.frame] = replace(edit, fresh=fresh)
        self.made.plan.addresses = dict(self.addresses.replaced)

    def _packet(self, packet: Packet, raw: bytes) -> str:
        """Keep a packet, or say why not."""
        size = 4 if packet.version == 4 else 16
        at, l4 = packet.address_at, packet.l4_at
        source, target = bytes(raw[at : at + size]), bytes(raw[at + size : at + size * 2])
        if packet.protocol == TCP:
            return self._tcp_packet(packet, source, target, source + target + bytes(raw[l4 : l4 + 4]))
        if packet.protocol == UDP:
            return self._udp_packet(packet, raw, source, target, source + target + bytes(raw[l4 : l4 + 4]) + b"u")
        if packet.protocol in (ICMP, ICMPV6):
            return self._icmp_packet(packet, raw, source, target)
        return "other protocols"

    def _edit(self, packet: Packet, edit: Edit, what: str) -> str:
        if not self.exact and packet.time_ns:
            self.made.plan.clock.keep(packet.frame, packet.time_ns)
        self.made.plan.edits[packet.frame] = edit
        self.made.kept[what] += 1
        return ""

    def _tcp_packet(self, packet: Packet, source: bytes, target: bytes, key: bytes) -> str:
        kept = self.flows[key].at(packet.frame) if key in self.flows else None
        if kept is not None:
            turn = kept.turns[0 if key == kept.forward else 1]
            laid = kept.data.get(packet.frame)
            if laid is not None:
                return self._edit(packet, Edit(packet.frame, turn, *laid), "TCP with handshake bytes")
            bare = packet.length == 0
            ends = packet.flags & (SYN | FIN | RST) or packet.frame in (kept.first, kept.last)
            if (bare and packet.frame <= kept.until) or ends:
                return self._edit(packet, Edit(packet.frame, turn, fresh=b""), "TCP without data")
            return "what follows the handshake of kept connections"
        probing = packet.length == 0 and packet.flags & (SYN | RST)
        if (source, packet.sport, target, packet.dport) in self.spoken:
            return "other TCP connections"
        if probing and target in self.servers and source in self.addresses.clients and packet.ttl <= MAX_PROBE_TTL:
            self.probes.add((source, packet.sport, target, packet.dport))
            self.probed.add((packet.sport, target, packet.dport))
        elif not (probing and (target, packet.dport, source, packet.sport) in self.probes):
            return "other TCP connections"
        return self._edit(packet, Edit(packet.frame, self._probe_turn(packet)), "TCP of traceroutes")

    def _probe_turn(self, packet: Packet) -> int:
        """Ports as the public profile moves them; a probe's numbers need no shift of their own."""
        shift = self.shifts
        if packet.sport >= packet.dport:
            sport = (packet.sport + shift.client_port) & 0xFFFF
            stamps = (shift.client_stamp, shift.server_stamp)
            return self._turn(
                Turn(sport, packet.dport, shift.client_probe, shift.server_probe, *stamps, shift.client_id)
            )
        dport = (packet.dport + shift.client_port) & 0xFFFF
        stamps = (shift.server_stamp, shift.client_stamp)
        return self._turn(Turn(packet.sport, dport, shift.server_probe, shift.client_probe, *stamps, shift.server_id))

    def _udp_packet(self, packet: Packet, raw: bytes, source: bytes, target: bytes, key: bytes) -> str:
        kept = self.flows[key].at(packet.frame) if key in self.flows else None
        if kept is not None and packet.frame in kept.data:
            turn = kept.turns[0 if key == kept.forward else 1]
            return self._edit(packet, Edit(packet.frame, turn, *kept.data[packet.frame]), "QUIC before encryption")
        if packet.sport == 53:
            found = answers(bytes(raw[packet.payload_at : packet.payload_at + packet.captured]))
            if found is None or found[0] not in self.made.names or target not in self.addresses.clients:
                return "DNS of other names"
            if source not in self.servers:
                self.addresses.replace(source, "resolver")
            port = 40_000 if not self.exact else packet.dport
            edit = Edit(packet.frame, self._turn(Turn(53, port, ip_id=self.shifts.server_id)), fresh=b"")
            self.dns.append((edit, bytes(raw[packet.payload_at : packet.payload_at + 4]), *found))
            return self._edit(packet, edit, "DNS answers")
        if packet.ttl <= MAX_PROBE_TTL and 33_434 <= packet.dport <= 33_690 and target in self.servers:
            if source not in self.addresses.clients:
                return "other UDP"
            sport = (packet.sport + self.shifts.client_port) & 0xFFFF
            turn = self._turn(Turn(sport, packet.dport, ip_id=self.shifts.client_id))
            return self._edit(packet, Edit(packet.frame, turn), "UDP of traceroutes")
        return "other UDP"

    def _answered(self, addresses: tuple[str, ...]) -> tuple[str, ...]:
        """The addresses of an answer, those in the volunteer's network replaced."""
        return tuple(
            str(ipaddress.ip_address(self.addresses.router(ipaddress.ip_address(address).packed)))
            for address in addresses
        )

    def _icmp_packet(self, packet: Packet, raw: bytes, source: bytes, target: bytes) -> str:
        body = bytes(raw[packet.payload_at : packet.payload_at + packet.captured])
        packet.src, packet.dst, packet.payload = source, target, body
        if len(body) >= 8 and body[0] in ((0, 8) if packet.protocol == ICMP else (128, 129)):
            ends = {source, target}
            if not (ends & self.servers and ends & self.addresses.clients):
                return "ICMP of other conversations"
            turn = self._turn(
                Turn(0, 0, ip_id=self.shifts.client_id if source in self.addresses.clients else self.shifts.server_id)
            )
            fresh = quotes.echo(body, self.shifts.client_port)
            return self._edit(packet, Edit(packet.frame, turn, fresh=fresh), "ICMP echoes")
        found = read_icmp(packet)
        if found is None or found.kind not in ((3, 11) if found.version == 4 else (1, 2, 3)):
            return "ICMP of other conversations"
        asked, answered = packed([found.q_src]).pop(), packed([found.q_dst]).pop()
        turn_of_quote = self._quoted(found, asked, answered)
        if turn_of_quote is None or asked in self.servers or target in self.servers:
            return "ICMP of other conversations"
        if asked not in self.addresses.replaced:
            self.addresses.client(asked)  # the public address of the client's NAT
        if target not in self.addresses.replaced:
            self.addresses.client(target)
        if source not in self.servers:
            self.routers.add(source)
            self.addresses.router(source)
            if answered not in self.servers and near(source, answered):
                self.addresses.replace(source, "router")  # it would tell where a nameless control's server stands
        quoted_target = self.addresses.replaced.get(answered, answered)
        fresh = quotes.error(body, found, self.addresses.replaced[asked], quoted_target, turn_of_quote)
        server_id = self.shifts.server_id
        turn = self._turn(Turn(0, 0, ip_id=server_id))
        return self._edit(packet, Edit(packet.frame, turn, fresh=fresh), "ICMP errors about kept connections")

    def _quoted(self, found: IcmpError, asked: bytes, answered: bytes) -> Turn | None:
        """What was added to the numbers of the packet that an error quotes; None where that does not stay."""
        plan = self.made.plan
        if found.q_protocol == TCP and found.q_sport is not None and found.q_dport is not None:
            ports = found.q_sport.to_bytes(2, "big") + found.q_dport.to_bytes(2, "big")
            clients = self.ends.get(answered + ports, [])
            for client in [asked] if asked in clients else clients:
                kept = self.flows[client + answered + ports].before(found.frame)
                if kept is not None:
                    return plan.turns[kept.turns[0 if client + answered + ports == kept.forward else 1]]
            if (found.q_sport, answered, found.q_dport) in self.probed:
                shifted = (found.q_sport + self.shifts.client_port) & 0xFFFF
                return Turn(shifted, found.q_dport, self.shifts.client_probe, ip_id=self.shifts.client_id)
            return None
        if answered not in self.servers:
            return None
        if found.q_protocol == UDP and found.q_dport is not None and 33_434 <= found.q_dport <= 33_690:
            sport = ((found.q_sport or 0) + self.shifts.client_port) & 0xFFFF
            return Turn(sport, found.q_dport, ip_id=self.shifts.client_id)
        shifts = self.shifts
        return Turn(shifts.client_port, 0, ip_id=shifts.client_id) if found.q_echo is not None else None


def make(source: Callable[[], Source], chosen: Chosen, choices: Choices, key: bytes | None = None) -> Made:
    """The plan for what was chosen; `source` opens the capture anew for each reading."""
    planner = Planner(chosen, choices, key if key is not None else os.urandom(32))
    reading = Reading(source(), False)
    try:
        for flow, handshake in reading.flows():
            planner.flow(flow, handshake)
        planner.translated(reading.icmp_errors())
    finally:
        reading.close()
    opened = source()
    try:
        planner.packets(opened.raw)
    finally:
        opened.close()
    return planner.made


def _syn_sender(flow: Flow) -> int:
    for packet in flow.packets:
        if packet.flags & SYN:
            return packet.direction if not packet.flags & ACK else 1 - packet.direction
    return 0


def _limit(mine: Mask, theirs: Mask, from_client: bool) -> int | None:
    """The stream offset after which a direction has nothing to say: behind the header of its first application data.

    In TLS 1.3 the server's encrypted flight comes first, and its length tells; then the client's Finished, in a record
    of the same kind, and one more shows that it went on.
    """
    if not mine.encrypted:
        return None
    if from_client:
        offset, _, _ = mine.encrypted[min(2, len(mine.encrypted) - 1)]
        return offset + 5
    begun = theirs.encrypted[0][2] if theirs.encrypted else None
    for offset, _, frame in mine.encrypted:
        if begun is not None and frame > begun:
            return offset + 5
    return mine.encrypted[-1][0] + 5


def _laid(
    packet: Packet, offset: int, variants: list[tuple[Mask, Stream]], limit: int | None
) -> tuple[tuple[Range, ...], tuple[tuple[int, bytes], ...]]:
    """What of a segment stays: by the stream of which its bytes are; nothing, where they are of none."""
    for made, stream in variants:
        if _is_of(packet.payload, offset, stream):
            kept, put = made.within(offset, offset + len(packet.payload))
            if limit is not None:
                room = limit - offset
                kept = tuple((begin, min(end, room)) for begin, end in kept if begin < room)
            return kept, put
    return (), ()


def _offset_of(run: Run) -> int:
    return run.offset


def _is_of(payload: bytes, offset: int, stream: Stream) -> bool:
    """Are these the bytes of the stream at that offset?"""
    first = max(0, bisect_right(stream.runs, offset, key=_offset_of) - 1)
    for run in stream.runs[first : bisect_left(stream.runs, offset + len(payload), key=_offset_of)]:
        begin, end = max(offset, run.offset), min(offset + len(payload), run.offset + len(run.data))
        if begin < end and payload[begin - offset : end - offset] != run.data[begin - run.offset : end - run.offset]:
            return False
    return True
