"""The plan of a scrub, from an analysis: which frames stay, and which bytes of them.

Three readings of the capture: the analysis (which connections are evidence, choose.py), their flows (which bytes are
handshake), and every packet (what goes with them: acknowledgements, ICMP, probes, DNS; packets.py). What is not named
in any is dropped, and counted by why.
"""

from __future__ import annotations

import ipaddress
import os
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable

from kzpcap.analysis import Reading
from kzpcap.capture.codes import ACK, SYN, TCP, UDP
from kzpcap.capture.flow import Flow
from kzpcap.capture.packet import Packet
from kzpcap.capture.unpack import Source
from kzpcap.flows import Run, Stream, both_directions, distance, versions
from kzpcap.scrub import datagrams, initials
from kzpcap.scrub.addresses import packed
from kzpcap.scrub.apply import Plan, Turn
from kzpcap.scrub.choose import Choices, Chosen, Role, told
from kzpcap.scrub.kept import Between, Draft, Kept, Made, Range, Shifts
from kzpcap.scrub.mask import Mask, Policy, mask
from kzpcap.scrub.packets import Packets
from kzpcap.tls import records
from kzpcap.tls.seen import Handshake
from kzpcap.tls.upgrade import Upgrade
from kzpcap.verdict.rules import State

STATUS = re.compile(rb"HTTP/[0-9]\.[0-9] [1-5][0-9]{2}(?![0-9])")
"""So much of a status line stays: version and code, and nothing that somebody wrote into it."""


def _status(data: bytes) -> bytes:
    """The version and code of an HTTP answer; nothing where it begins otherwise."""
    found = STATUS.match(data)
    return found[0] if found else b""


class Planner:
    """Gathers the flows that stay, in a draft of the plan; then every packet is asked whether it goes with them."""

    def __init__(self, chosen: Chosen, choices: Choices, key: bytes) -> None:
        self.chosen = chosen
        exact = choices.profile != "public"
        ports = {observation.client[1] for observation in chosen.observations.values()}
        self.draft = Draft(exact, Shifts.of(exact, ports), Made(Plan()))
        self.key = key
        self.raw_names: frozenset[bytes] = frozenset()
        self._prepare()

    def _prepare(self) -> None:
        """Names and addresses: what stays is taken first, so that nothing else is given its place."""
        names = set()
        found = self.chosen.observations
        for frame, role in self.chosen.roles.items():
            name = told(found[frame], role)
            if name is not None:
                names.add(name)
        self.draft.made.names = frozenset(names)
        self.raw_names = frozenset(name.encode("ascii", "backslashreplace") for name in names)
        for observation in found.values():
            self.draft.addresses.taken.add(ipaddress.ip_address(observation.client[0]).packed)
            self.draft.addresses.taken.add(ipaddress.ip_address(observation.server[0]).packed)
        for observation in found.values():
            self.draft.addresses.client(ipaddress.ip_address(observation.client[0]).packed)
        named = {
            found[frame].server[0] for frame, role in self.chosen.roles.items() if role.named or role.why == "ladder"
        }
        # A proxy is whoever the volunteer works for, or the machine that the volunteer rents.
        proxies = {observation.server[0] for observation in found.values() if observation.proxied}
        kept = (named | {server for server, _ in self.chosen.servers}) - proxies
        self.draft.servers = packed(kept) - self.draft.addresses.clients
        for raw in sorted(self.draft.servers):
            self.draft.addresses.server(raw)
        for observation in found.values():
            raw = ipaddress.ip_address(observation.server[0]).packed
            if raw not in self.draft.servers:
                self.draft.addresses.replace(raw, "server")

    # the second reading: flows

    def flow(self, flow: Flow, handshake: Handshake | None) -> None:
        """Take one flow, if its connection stays."""
        role = self.chosen.roles.get(flow.first_frame)
        if role is None or flow.packets == []:
            for packet in flow.packets[:1] if handshake is not None and flow.protocol == TCP else ():
                self.draft.spoken.add((packet.src, packet.sport, packet.dst, packet.dport))
                self.draft.spoken.add((packet.dst, packet.dport, packet.src, packet.sport))
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
            if key not in self.draft.flows:
                self.draft.flows[key] = Between()
                self.draft.ends.setdefault(key[size:], []).append(key[:size])
            self.draft.flows[key].add(kept)

    def _turns(self, ends: tuple[int, int], client: int, tcp: bool) -> tuple[int, int]:
        """The numbers of both directions; direction 0 is from `ends[0]`."""
        shift = self.draft.shifts
        ports = [ends[0], ends[1]]
        ports[client] = (ports[client] + shift.client_port) & 0xFFFF
        bases = [0, 0] if self.draft.exact or not tcp else [int.from_bytes(os.urandom(4), "big") for _ in range(2)]
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
        return self.draft.turn(made[0]), self.draft.turn(made[1])

    def policy(self, role: Role, frame: int) -> Policy:
        """What of a connection's handshake stays."""

        certificates = "all" if role.named else "none"
        # Without its signature nothing shows who holds a key: a leaf that is not genuine says too much then. So does
        # its issuer, unless it is known from elsewhere: the CA of a product bears the name of one machine.
        if role.named and not self.draft.exact and self.chosen.states[frame] is not State.GENUINE:
            certificates = "issuers" if frame in self.chosen.known else "none"
        names = self.raw_names if role.named else frozenset()
        issuers = self.chosen.known.get(frame, frozenset())
        return Policy(
            names, self.draft.exact and role.named, certificates, self.key, issuers, self.chosen.verified.get(frame)
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
                self.draft.made.blanked["data packets beyond the handshake"] += 1
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


def make(source: Callable[[], Source], chosen: Chosen, choices: Choices, key: bytes | None = None) -> Made:
    """The plan for what was chosen; `source` opens the capture anew for each reading."""
    planner = Planner(chosen, choices, key if key is not None else os.urandom(32))
    reading = Reading(source(), False)
    try:
        for flow, handshake in reading.flows():
            planner.flow(flow, handshake)
        packets = Packets(planner.draft)
        packets.translated(reading.icmp_errors())
    finally:
        reading.close()
    opened = source()
    try:
        packets.read(opened.raw)
    finally:
        opened.close()
    return planner.draft.made


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
