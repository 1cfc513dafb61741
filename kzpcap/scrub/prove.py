"""Is what was scrubbed the same evidence? Both captures are analysed, and laid beside each other.

And is nothing in it that should not be: the names, addresses and payloads of what was left out are looked for in the
new file's bytes, before it is given to anyone.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from kzpcap.analysis import Connection, Report
from kzpcap.certificates.possession import Possession
from kzpcap.observations import Absent
from kzpcap.paths.hops import candidates
from kzpcap.scrub.apply import Written
from kzpcap.scrub.choose import SHOWN, Chosen, told
from kzpcap.scrub.kept import Made
from kzpcap.verdict.ladders import Ladder
from kzpcap.verdict.routers import Hop
from kzpcap.verdict.rules import State

MIN_NAME = 6
"""Shorter names are everywhere by chance."""
RESTED_ON_OTHERS = ("volunteer_side", "unknown")
"""A place that is drawn from how all names of a client were answered: fewer of them settle less, never more."""


@dataclass(frozen=True, slots=True)
class Loss:
    """Something that the scrubbed capture no longer shows; `expected` where leaving it out was the point."""

    frame: int
    """In the original."""
    name: str
    what: str
    expected: bool
    of_state: bool = False
    """Is it the state itself, or the rule that decided it?"""


@dataclass
class Proof:
    """What came of comparing."""

    compared: int = 0
    ladders: int = 0
    ladders_changed: int = 0
    """Ladders of which an answer is another, or none, in what was scrubbed."""
    losses: list[Loss] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)
    wrong: list[Loss] = field(default_factory=list)
    """Answers that say more than the original's: such a capture is never written."""
    left_out: bool = False
    """Connections of the original were left out, and what rested on them with them."""
    names_in_certificates: int = 0
    """Names of what was left out that stand in kept server certificates, as anyone can see who asks the server."""

    @property
    def unexpected(self) -> list[Loss]:
        """Losses that the volunteer must accept before anything is written."""
        return [loss for loss in self.losses if not loss.expected]


def compare(before: Report, after: Report, chosen: Chosen, made: Made, written: Written, public: bool = False) -> Proof:
    """Every kept connection's state, rule, certificates, hops and place, and every ladder, in both captures."""
    proof = Proof(left_out=any(one.observation.first_frame not in chosen.roles for one in before.connections()))
    there = {connection.observation.first_frame: connection for connection in after.connections()}
    replaced = {_text(old): _text(new) for old, new in made.addresses.replaced.items()}
    for connection in before.connections():
        frame = connection.observation.first_frame
        role = chosen.roles.get(frame)
        if role is None:
            there.pop(written.frames.get(frame, 0), None)  # a traceroute's probe: no connection to anything
            continue
        proof.compared += 1
        hello = written.frames.get(connection.observation.hello_first_frame, 0)
        other = there.pop(written.frames.get(frame, hello), None)
        name = told(connection.observation, role) or f"a connection without a name ({role.why})"
        if other is None:
            proof.losses.append(Loss(frame, name, "the connection cannot be read any more", False))
            continue
        one, two = connection.verdict.state, other.verdict.state
        weaker = two is State.UNDETERMINED or (one, two) == (State.INTERCEPTED, State.SUSPECTED)
        if one is not two and not weaker:
            proof.wrong.append(Loss(frame, name, f"{one.value} became {two.value}", False))
        # A name inside an Initial is found by no search of bytes: it must be its own, or the digest of one.
        if connection.observation.transport == "quic":
            others = _names(other) - _names(connection)
            if others and any(others & _names(one) for one in before.connections()):
                proof.wrong.append(Loss(frame, name, "another name is in it", False))
        taken_out = not role.named or public
        left_out = proof.left_out and (connection.verdict.place.where, other.verdict.place.where) == RESTED_ON_OTHERS
        for what in _differences(connection, other):
            expected = (taken_out and _by_design(other, what)) or (left_out and what.startswith("place "))
            moved = what.startswith(connection.verdict.state.value)
            proof.losses.append(Loss(frame, name, what, expected, moved))
        for what in _beside(connection, other):
            proof.losses.append(Loss(frame, name, what, True))
        server = connection.observation.server[0]
        if role.named and replaced.get(server, server) != other.observation.server[0]:
            proof.losses.append(Loss(frame, name, "the server's address is another", False))
    for left in there.values():
        loss = Loss(0, "a connection", f"frame {left.observation.first_frame} was none before", False)
        proof.losses.append(loss)
        if left.verdict.state in SHOWN:
            proof.wrong.append(loss)
    _ladders(before, after, made, chosen, proof, public)
    was, now = before.surroundings.clock.status, after.surroundings.clock.status
    if was != now:
        proof.losses.append(Loss(0, "the capture", f"its clock was {was}, and is {now}", True))
    return proof


def _names(connection: Connection) -> set[str | None]:
    return {None, connection.observation.server_name, *connection.observation.other_names}


def _by_design(after: Connection, what: str) -> bool:
    """What goes with a certificate that was taken out, or with the one that a resumed session rests on."""
    gone = after.observation.absent is Absent.SCRUBBED or after.observation.resumed is not None
    return gone and not what.startswith(("hop", "how it ended"))


def _differences(before: Connection, after: Connection) -> Iterator[str]:
    one, two = before.verdict, after.verdict
    if (one.state, one.rule.id) != (two.state, two.rule.id):
        yield f"{one.state.value} ({one.rule.id}) became {two.state.value} ({two.rule.id})"
    if before.observation.chain != after.observation.chain:
        count = len(before.observation.chain)
        yield f"{count} certificate{'s' if count != 1 else ''} became {len(after.observation.chain)}"
    first = one.interceptor.identity if one.interceptor else None
    second = two.interceptor.identity if two.interceptor else None
    if first != second:
        yield f"interceptor {first} became {second}"
    if (one.place.where, one.place.bound) != (two.place.where, two.place.bound):
        yield f"place {one.place.where} {one.place.bound} became {two.place.where} {two.place.bound}"
    if _hops(before) != _hops(after):
        yield "hop counts differ"
    if before.observation.failed != after.observation.failed:
        yield f"how it ended: {before.observation.failed} became {after.observation.failed}"


def _beside(before: Connection, after: Connection) -> Iterator[str]:
    """What was told beside the verdict, and rests on certificates of others or on signatures: it moves no answer."""
    for rule in sorted(set(before.verdict.also) - set(after.verdict.also)):
        yield f"rule {rule}, which held too, cannot be seen any more"
    if before.observation.possession is Possession.PROVED and after.observation.possession is not Possession.PROVED:
        yield "that the key of the certificate was held cannot be seen any more"


def _hops(connection: Connection) -> list[tuple[str, object]]:
    """What the report tells as `hop_counts`: the first of each message."""
    observation = connection.observation
    if observation.proxied or observation.tunnels:
        return []
    clear = {alert.seen.frame for alert in observation.alerts if alert.code is not None}
    found: dict[str, int] = {}
    for mark in observation.server_marks:
        if mark.what == "data" or (mark.what == "alert" and mark.frame not in clear):
            continue  # what is encrypted, behind the handshake, is not all kept
        found.setdefault(mark.what, mark.ttl)
    return [(what, candidates(ttl)) for what, ttl in found.items()]


def _ladders(before: Report, after: Report, made: Made, chosen: Chosen, proof: Proof, public: bool) -> None:
    mapping = {_text(old): _text(new) for old, new in made.addresses.replaced.items()}
    there: dict[tuple[str, str | None, str], list[Ladder]] = {}
    for ladder in after.ladders:
        there.setdefault((ladder.server, ladder.server_name, ladder.shape), []).append(ladder)
    known = {(mapping.get(one.server, one.server), one.server_name, one.shape) for one in before.ladders if one.effect}
    for key, found in there.items():
        if any(one.effect for one in found) and key not in known:
            proof.wrong.append(Loss(0, "a ladder", "it has an effect that it had not before", False))
    for ladder in before.ladders:
        if (ladder.server, ladder.dport) not in chosen.servers or ladder.server_name not in (None, *made.names):
            continue
        proof.ladders += 1
        name = f"ladder to {ladder.server_name or mapping.get(ladder.server, ladder.server)}"
        others = there.get((mapping.get(ladder.server, ladder.server), ladder.server_name, ladder.shape))
        if not others:
            proof.losses.append(Loss(0, name, "the ladder cannot be read any more", False))
            proof.ladders_changed += 1
            continue
        lost = len(proof.losses)
        other = others.pop(0)  # several with one name are in the order in which they were gone up
        for what, first, second in _ladder_fields(ladder, other, mapping):
            if first != second:
                expected = what == "control_terminating_ttl" and second is None
                if public and ladder.effect in ("certificate", "suspected_certificate"):
                    expected = True  # it was concluded from certificates that were taken out
                proof.losses.append(Loss(0, name, f"{what}: {first} became {second}", expected))
        proof.ladders_changed += len(proof.losses) > lost


def _ladder_fields(before: Ladder, after: Ladder, mapping: dict[str, str]) -> Iterator[tuple[str, object, object]]:
    for what in ("interceptor_ttl", "effect", "bound", "placement", "mixed", "inferred_hop", "destination_ttl", "runs"):
        yield what, getattr(before, what), getattr(after, what)
    yield "control_terminating_ttl", before.control_terminating_ttl, after.control_terminating_ttl
    for what in ("last_clean_hop", "first_intercepted_hop", "last_answering_hop"):
        yield what, _hop(getattr(before, what), mapping), _hop(getattr(after, what), {})


def _hop(hop: Hop | None, mapping: dict[str, str]) -> tuple[Any, ...] | None:
    if hop is None:
        return None
    address = mapping.get(hop.address, hop.address) if hop.address else None
    return hop.ttl, address, tuple(sorted(mapping.get(other, other) for other in hop.others))


def _text(raw: bytes) -> str:
    return str(ipaddress.ip_address(raw))


def _written(address: bytes) -> re.Pattern[bytes]:
    """An address as text, and not within a longer one.

    In a certificate it may be followed by the next element's tag, 0x30, which is the digit 0 as well: that ends an IPv4
    address whose last number it cannot lengthen, and any address after which the text does not go on.
    """
    text = _text(address)
    goes_on = rb"(?!0[0-9a-z.:/,;\"' )\]]|0\Z)"
    if len(address) != 4:
        return re.compile(rb"(?<![0-9a-f.:])" + re.escape(text.encode()) + rb"(?![1-9a-f.:])" + goes_on)
    longest = address[3] * 10 > 255  # one more digit would be no number of an address
    after = rb"(?![1-9.])" + goes_on if not longest else rb"(?![.])"
    return re.compile(rb"(?<![0-9.])" + re.escape(text.encode()) + after)


IPV4 = re.compile(rb"(?<![0-9.])([0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.)([0-9]{1,3})")
IPV6 = re.compile(rb"(?<![0-9a-f.:])[0-9a-f:]{2,39}")


def _like_addresses(data: bytes) -> set[bytes]:
    """All that may be addresses as text: each is looked for exactly only where it is among these.

    A digit behind an address may be another element's tag (see `_written`), so it is taken at each length.
    """
    found: set[bytes] = set()
    for match in IPV4.finditer(data):
        found.update(match[1] + match[2][:length] for length in range(1, len(match[2]) + 1))
    for match in IPV6.finditer(data):
        text = match[0]
        if text.count(b":") >= 2:
            found.update(text[:length] for length in range(2, len(text) + 1))
    return found


def look_for_leaks(
    output: bytes,
    said: bytes,
    names: Iterable[str],
    addresses: Iterable[bytes],
    allowed: bytes,
    proof: Proof,
    held: frozenset[bytes] = frozenset(),
) -> None:
    """Look in the new file, and in what is said of it, for names and addresses of what was left out.

    `allowed` holds the certificates of named connections, and the names that stay: a name in there is no leak, for
    whoever asks that server sees it; it is counted. An address in there, or in `held` (those for which the certificates
    were issued, packed), is told, and asked.
    """
    lowered, spoken, known = output.lower(), said.lower(), allowed.lower()
    for name in set(names):
        raw = name.encode("ascii", "backslashreplace").lower()
        if len(raw) < MIN_NAME:
            continue
        if raw in spoken and raw not in known:
            proof.leaks.append(f"the name {name}")
        elif raw in lowered:
            if raw in known:
                proof.names_in_certificates += 1
            else:
                proof.leaks.append(f"the name {name}")
    here = _like_addresses(lowered) | _like_addresses(spoken) | _like_addresses(known)
    for address in addresses:
        in_text = _text(address).encode() in here and _written(address).search(known) is not None
        # A router's own page bears an address that is the same in a million homes.
        if in_text or (address in held and ipaddress.ip_address(address).is_global):
            what = "a kept certificate holds an address that is replaced elsewhere"
            proof.losses.append(Loss(0, "a certificate", what, False))
        if in_text:
            continue
        elsewhere = _text(address).encode() in here and any(map(_written(address).search, (lowered, spoken)))
        if elsewhere or (len(address) == 16 and address not in held and address in output):
            proof.leaks.append(f"the address {_text(address)}")
