"""The last reading of a scrub: every packet is asked whether it goes with what stays, and what of it stays."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

from kzpcap.capture.codes import FIN, ICMP, ICMPV6, OK, RST, SYN, TCP, UDP
from kzpcap.capture.container import open_records
from kzpcap.capture.decode import decode
from kzpcap.capture.health import Notes
from kzpcap.capture.packet import Packet
from kzpcap.dns import answers
from kzpcap.paths.icmp import IcmpError
from kzpcap.paths.icmp import read as read_icmp
from kzpcap.scrub import quotes
from kzpcap.scrub.addresses import near, packed
from kzpcap.scrub.apply import Edit, Turn, addresses_of
from kzpcap.scrub.kept import Draft

MAX_PROBE_TTL = 40


class Packets:
    """Acknowledgements, ICMP, probes and DNS answers that go with the flows of a draft."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.servers, self.addresses = draft.servers, draft.addresses
        self.probes: set[tuple[bytes, int, bytes, int]] = set()
        self.probed: set[tuple[int, bytes, int]] = set()
        """The same without the client, whose NAT an error may quote in its place."""
        self.routers: set[bytes] = set()
        self.dns: list[tuple[Edit, bytes, str, tuple[str, ...]]] = []
        """The answers that stay: their edits, the head of each, the name and its addresses."""

    def translated(self, errors: list[IcmpError]) -> None:
        """Learn the addresses of the clients' NAT from what errors quote, and replace servers that lie beside them."""
        for found in errors:
            asked, answered = packed([found.q_src]).pop(), packed([found.q_dst]).pop()
            if asked not in self.servers and self._quoted(found, asked, answered) is not None:
                self.addresses.client(asked)
        for raw in sorted(self.servers):
            self.addresses.server(raw)

    def read(self, raw: bytes) -> None:
        """Ask of every packet whether it stays."""
        found = open_records(raw, Notes())
        packet = Packet()
        while found.advance():
            packet.frame, packet.time_ns = found.frame, found.time_ns
            try:
                outcome = decode(packet, raw, found.offset, found.captured, found.original, found.link_type)
            except IndexError:
                outcome = -1
            if outcome != OK:
                self.draft.made.dropped["not TCP, UDP or ICMP over IP, fragments, and what cannot be read"] += 1
                continue
            why = self._packet(packet, raw)
            if why:
                self.draft.made.dropped[why] += 1
        for router in sorted(self.routers):  # a NAT's address may have been learnt after its neighbours were met
            self.addresses.router(router)
        for edit, head, name, answered in self.dns:  # nor may it stand in an answer that came before
            fresh = quotes.dns_answer(head, name, self._answered(answered))
            self.draft.made.plan.edits[edit.frame] = replace(edit, fresh=fresh)
        self.draft.made.plan.addresses = dict(self.addresses.replaced)

    def _packet(self, packet: Packet, raw: bytes) -> str:
        """Keep a packet, or say why not."""
        source, target = addresses_of(packet, raw)
        l4 = packet.l4_at
        if packet.protocol == TCP:
            return self._tcp_packet(packet, source, target, source + target + bytes(raw[l4 : l4 + 4]))
        if packet.protocol == UDP:
            return self._udp_packet(packet, raw, source, target, source + target + bytes(raw[l4 : l4 + 4]) + b"u")
        if packet.protocol in (ICMP, ICMPV6):
            return self._icmp_packet(packet, raw, source, target)
        return "other protocols"

    def _edit(self, packet: Packet, edit: Edit, what: str) -> str:
        if not self.draft.exact and packet.time_ns:
            self.draft.made.plan.clock.keep(packet.frame, packet.time_ns)
        self.draft.made.plan.edits[packet.frame] = edit
        self.draft.made.kept[what] += 1
        return ""

    def _tcp_packet(self, packet: Packet, source: bytes, target: bytes, key: bytes) -> str:
        kept = self.draft.flows[key].at(packet.frame) if key in self.draft.flows else None
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
        if (source, packet.sport, target, packet.dport) in self.draft.spoken:
            return "other TCP connections"
        if probing and target in self.servers and source in self.addresses.clients and packet.ttl <= MAX_PROBE_TTL:
            self.probes.add((source, packet.sport, target, packet.dport))
            self.probed.add((packet.sport, target, packet.dport))
        elif not (probing and (target, packet.dport, source, packet.sport) in self.probes):
            return "other TCP connections"
        return self._edit(packet, Edit(packet.frame, self._probe_turn(packet)), "TCP of traceroutes")

    def _probe_turn(self, packet: Packet) -> int:
        """Ports as the public profile moves them; a probe's numbers need no shift of their own."""
        shift = self.draft.shifts
        if packet.sport >= packet.dport:
            sport = (packet.sport + shift.client_port) & 0xFFFF
            stamps = (shift.client_stamp, shift.server_stamp)
            return self.draft.turn(
                Turn(sport, packet.dport, shift.client_probe, shift.server_probe, *stamps, shift.client_id)
            )
        dport = (packet.dport + shift.client_port) & 0xFFFF
        stamps = (shift.server_stamp, shift.client_stamp)
        turn = Turn(packet.sport, dport, shift.server_probe, shift.client_probe, *stamps, shift.server_id)
        return self.draft.turn(turn)

    def _udp_packet(self, packet: Packet, raw: bytes, source: bytes, target: bytes, key: bytes) -> str:
        kept = self.draft.flows[key].at(packet.frame) if key in self.draft.flows else None
        if kept is not None and packet.frame in kept.data:
            turn = kept.turns[0 if key == kept.forward else 1]
            return self._edit(packet, Edit(packet.frame, turn, *kept.data[packet.frame]), "QUIC before encryption")
        if packet.sport == 53:
            found = answers(bytes(raw[packet.payload_at : packet.payload_at + packet.captured]))
            if found is None or found[0] not in self.draft.made.names or target not in self.addresses.clients:
                return "DNS of other names"
            if source not in self.servers:
                self.addresses.replace(source, "resolver")
            port = 40_000 if not self.draft.exact else packet.dport
            edit = Edit(packet.frame, self.draft.turn(Turn(53, port, ip_id=self.draft.shifts.server_id)), fresh=b"")
            self.dns.append((edit, bytes(raw[packet.payload_at : packet.payload_at + 4]), *found))
            return self._edit(packet, edit, "DNS answers")
        if packet.ttl <= MAX_PROBE_TTL and 33_434 <= packet.dport <= 33_690 and target in self.servers:
            if source not in self.addresses.clients:
                return "other UDP"
            sport = (packet.sport + self.draft.shifts.client_port) & 0xFFFF
            turn = self.draft.turn(Turn(sport, packet.dport, ip_id=self.draft.shifts.client_id))
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
            shifts = self.draft.shifts
            ip_id = shifts.client_id if source in self.addresses.clients else shifts.server_id
            turn = self.draft.turn(Turn(0, 0, ip_id=ip_id))
            fresh = quotes.echo(body, self.draft.shifts.client_port)
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
        server_id = self.draft.shifts.server_id
        turn = self.draft.turn(Turn(0, 0, ip_id=server_id))
        return self._edit(packet, Edit(packet.frame, turn, fresh=fresh), "ICMP errors about kept connections")

    def _quoted(self, found: IcmpError, asked: bytes, answered: bytes) -> Turn | None:
        """What was added to the numbers of the packet that an error quotes; None where that does not stay."""
        plan = self.draft.made.plan
        if found.q_protocol == TCP and found.q_sport is not None and found.q_dport is not None:
            ports = found.q_sport.to_bytes(2, "big") + found.q_dport.to_bytes(2, "big")
            clients = self.draft.ends.get(answered + ports, [])
            for client in [asked] if asked in clients else clients:
                kept = self.draft.flows[client + answered + ports].before(found.frame)
                if kept is not None:
                    return plan.turns[kept.turns[0 if client + answered + ports == kept.forward else 1]]
            if (found.q_sport, answered, found.q_dport) in self.probed:
                shifted = (found.q_sport + self.draft.shifts.client_port) & 0xFFFF
                return Turn(shifted, found.q_dport, self.draft.shifts.client_probe, ip_id=self.draft.shifts.client_id)
            return None
        if answered not in self.servers:
            return None
        if found.q_protocol == UDP and found.q_dport is not None and 33_434 <= found.q_dport <= 33_690:
            sport = ((found.q_sport or 0) + self.draft.shifts.client_port) & 0xFFFF
            return Turn(sport, found.q_dport, ip_id=self.draft.shifts.client_id)
        shifts = self.draft.shifts
        return Turn(shifts.client_port, 0, ip_id=shifts.client_id) if found.q_echo is not None else None
