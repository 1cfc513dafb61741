"""The product: one JSON document a capture, on one line, written as it is judged.

The same capture, options and reference data give the same bytes: no file name, no clock, nothing random.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kzpcap.report import model, twin
from kzpcap.report.ladders import document as ladder_document
from kzpcap.report.summary import Summary

if TYPE_CHECKING:
    from kzpcap.analysis import Report


HIDDEN = re.compile("[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")
"""What a terminal may act on or a reader cannot see; JSON's own escapes cover what is below 0x20."""


def text(value: object) -> str:
    """Compact JSON; UTF-8 stays as it is, but for characters that a terminal would act on."""
    return HIDDEN.sub(_escape, json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def cut_address(address: str) -> str:
    """The network of a client, in place of its address: IPv4 /16, IPv6 /32."""
    network = ipaddress.ip_network((address, 32 if ":" in address else 16), strict=False)
    return str(network)


def write(report: Report, out: Callable[[str], object], client: Callable[[str], str] | None = None) -> Summary:
    """Write the document, one part after the other; gives the counts. `client` changes each client's address."""
    summary = Summary()
    out(text(report.head())[:-1] + ',"connections":[')
    first = True
    for connection in report.connections():
        summary.add(connection.observation, connection.verdict)
        full = report.surroundings.full_handshake(connection.observation)
        document = model.connection(connection.observation, connection.verdict, full.frame if full else None)
        document["twin"] = twin.document(connection.observation, report.surroundings)
        if client:
            document["client"]["address"] = client(document["client"]["address"])
        document["corroboration"] = report.outcomes.get(connection.observation.index)
        out(("" if first else ",") + text(document))
        first = False
    out('],"certificates":{')
    first = True
    for name, certificate in report.surroundings.certificates.items():
        out(
            ("" if first else ",") + f"{text(name)}:{text(model.certificate(certificate, report.frames.get(name, [])))}"
        )
        first = False
    documents = [ladder_document(ladder, report.networks) for ladder in report.ladders]
    for document in documents:
        if client:
            document["client"] = client(document["client"])
    ladders = text(documents)
    corroboration = text(report.corroboration)
    out(
        f'}},"ladders":{ladders},"corroboration":{corroboration},"summary":{text(summary.document(len(report.surroundings.certificates)))}}}\n'
    )
    return summary


def schema() -> dict[str, Any]:
    """The published JSON Schema."""
    document: dict[str, Any] = json.loads((Path(__file__).parent / "schema.json").read_text("utf-8"))
    return document
