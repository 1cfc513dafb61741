"""What a recipe gives: a capture with its truth; and the published certificates that some are built around."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from recipes.packets import Capture
from recipes.tls import Authority, pem

DATA = Path(__file__).parents[2] / "kzpcap" / "reference" / "data"


@dataclass
class Built:
    """A finished capture with its truth."""

    capture: Capture
    title: str
    text: str
    connections: list[dict[str, Any]]
    options: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    ladders: list[dict[str, Any]] = field(default_factory=list)


def published(name: str) -> bytes:
    path = next(DATA.rglob(name))
    return x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(serialization.Encoding.DER)


def qaznet_chain() -> list[bytes]:
    return [published("kz2019_injected_leaf_rcku.kz.pem"), published("kz2019_intermediate_Security_Certificate.pem")]


def genuine_chain() -> list[bytes]:
    return [published("rcku.kz_genuine_leaf_thawte.pem"), published("thawte_ev_rsa_ca_2018.pem")]


def supplied(public: Authority, *extra: tuple[str, Authority]) -> tuple[dict[str, list[str]], dict[str, bytes]]:
    options = {"trusted_root": ["root.pem"]}
    files = {"root.pem": pem(public.certificate)}
    for name, authority in extra:
        options.setdefault("interception_ca", []).append(name)
        files[name] = pem(authority.certificate)
    return options, files
