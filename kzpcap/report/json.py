"""The product: one JSON document a capture, on one line, written as it is judged.

The same capture, options and reference data give the same bytes: no file name, no clock, nothing random.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from kzpcap.report import model, twin
from kzpcap.report.ladders import document as ladder_document
from kzpcap.report.summary import Summary
from kzpcap.report.text import UNSEEN

if TYPE_CHECKING:
    from kzpcap.analysis import Report


ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def text(value: object) -> str:
    """Compact JSON; UTF-8 stays as it is, but for characters that a terminal would act on."""
    try:
        found = orjson.dumps(value).decode()
    except orjson.JSONEncodeError:  # an integer of more than 64 bits, half of a surrogate pair, more depth than it has
        found = ENCODER.encode(value)
    return found if found.isascii() and "\x7f" not in found else UNSEEN.sub(_escape, found)


def _escape(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be")  # RFC 8259 section 7: two escapes for what is beyond the first plane
    return "".join([f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2)])


def cut_address(address: str) -> str:
    """The network of a client, in place of its address: IPv4 /16, IPv6 /32."""
    network = ipaddress.ip_network((address, 32 if ":" in address else 16), strict=False)
    return str(network)


IPV4 = r"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}"
IPV6 = r"[0-9a-f:]*::(?:[0-9a-f:.]*[0-9a-f])?|(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4}"
ADDRESS = re.compile(rf"(?<![\w.:])(?:{IPV4}|{IPV6})(?!\w|/[0-9]|\.[0-9])", re.ASCII | re.IGNORECASE)
ADDRESS_OF_IPV4 = re.compile(rf"(?<![\w.:]){IPV4}(?!\w|/[0-9]|\.[0-9])", re.ASCII)
FEW = 16


class Clients:
    """The addresses of a capture's clients, and how each is written in their place.

    An address in the same IPv6 /48 counts as one: a client's own router has it.
    """

    def __init__(self, addresses: Iterable[str], client: Callable[[str], str]) -> None:
        self.addresses = frozenset(addresses)
        self.sites = frozenset(map(_site, self.addresses)) - {None}
        self.client = client

    def cut(self, text: str) -> str:
        """A text with every such address in it cut, sentences and all."""
        if self.sites:
            return ADDRESS.sub(self._one, text)
        if len(self.addresses) <= FEW and not any(map(text.__contains__, self.addresses)):
            return text
        return ADDRESS_OF_IPV4.sub(self._one, text)

    def _one(self, found: re.Match[str]) -> str:
        address = found[0].lower()
        own = address in self.addresses or (bool(self.sites) and _site(address) in self.sites)
        return self.client(address) if own else found[0]


def _site(address: str) -> str | None:
    """The /48 of an IPv6 address; None for anything else."""
    try:
        return str(ipaddress.ip_network((address, 48), strict=False)) if ":" in address else None
    except ValueError:
        return None


def write(report: Report, out: Callable[[str], object], client: Callable[[str], str] | None = None) -> Summary:
    """Write the document, one part after the other; gives the counts. `client` changes each client's address."""
    summary = Summary()
    head, told = report.head(), text
    if client:
        # A client may be another connection's server, a router of its own be in a sentence, and the name of an
        # interface may be its hardware address.
        clients = Clients((observation.client[0] for observation in report.spill), client)

        def told(value: object) -> str:
            return clients.cut(text(value))

        head["capture"] = {**head["capture"], "interfaces": []}
    out(told(head)[:-1] + ',"connections":[')
    first = True
    for connection in report.connections():
        summary.add(connection.observation, connection.verdict)
        full = report.surroundings.full_handshake(connection.observation)
        document = model.connection(
            connection.observation,
            connection.verdict,
            full.frame if full else None,
            report.surroundings.briefs.shortest_syn(connection.observation.server[0]),
        )
        whose = report.networks.of(document["client"]["address"])
        document["client"] |= {
            "asn": whose.asn if whose else None,
            "network": (whose.operator or whose.name) if whose else None,
            "country": report.networks.country(whose.asn) if whose else None,
        }
        document["twin"] = twin.document(connection.observation, report.surroundings)
        document["specimen"] = report.surroundings.is_specimen(connection.observation)
        if report.surroundings.rebuilt:
            document["hop_counts"] = []
            document["timing"]["reach_km"] = None
        if client:
            document["client"]["address"] = client(document["client"]["address"])
        document["corroboration"] = report.outcomes.get(connection.observation.number)
        out(("" if first else ",") + told(document))
        first = False
    out('],"certificates":{')
    first = True
    for name, certificate in report.surroundings.certificates.items():
        frames = report.surroundings.certificates.frames_of(name)
        out(("" if first else ",") + f"{text(name)}:{told(model.certificate(certificate, frames))}")
        first = False
    ladders = told([ladder_document(ladder, report.networks) for ladder in report.ladders])
    corroboration = told(report.corroboration)
    out(
        f'}},"ladders":{ladders},"corroboration":{corroboration},"summary":{text(summary.document(len(report.surroundings.certificates)))}}}\n'
    )
    return summary


def schema() -> dict[str, Any]:
    """The published JSON Schema."""
    document: dict[str, Any] = json.loads((Path(__file__).parent / "schema.json").read_text("utf-8"))
    return document
