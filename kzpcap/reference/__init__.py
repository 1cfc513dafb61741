"""Dated reference data, loaded into one frozen Reference with the digest of every file.

Every file names its source and date. A verdict rests on the data of its day: the digests are in each report.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import tomllib
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from kzpcap.certificates.certificate import Certificate, name_key, parse
from kzpcap.certificates.transparency import Log, read_logs
from kzpcap.errors import ReferenceDataError
from kzpcap.reference.targets import TargetList, read_target_list

DATA = Path(__file__).parent / "data"
SIGNATURE_KEYS = {
    "generation": {"id", "title", "by", "seen_intercepting", "source"},
    "ca": {"file", "generation", "role"},
    "fingerprints": {"file", "generation", "subject"},
    "leaf": {"spki_sha256", "generation", "source"},
    "misissued": {"serial", "issuer", "title", "source"},
    "national": {"file", "id", "title", "source"},
    "national_key": {"spki_sha256", "id", "title", "source"},
    "specimen": {"sha256", "spki_sha256", "title", "source"},
}
CERTIFICATE_SUFFIXES = (".pem", ".crt", ".cer", ".der")
PEM = re.compile(rb"-----BEGIN CERTIFICATE-----([^-]*)-----END CERTIFICATE-----")


class Generation(NamedTuple):
    """One generation of an interception system, as its sources tell it; dates are YYYY-MM-DD or empty."""

    id: str
    title: str
    by: str
    seen_first: str
    seen_last: str
    seen_intercepting: bool
    source: str
    own_sites: tuple[str, ...] = ()
    """Web sites of the authority itself, which its CAs may sign for: no interception."""

    def owns(self, name: str | None) -> bool:
        """Is a name, in lower case, one of its own sites, or below one?"""
        return name is not None and any(name == site or name.endswith("." + site) for site in self.own_sites)

    @property
    def seen(self) -> str:
        """When, in words; empty where that is not known."""
        first, last = self.seen_first, self.seen_last
        return first if first == last else f"{first} to {last}"


class KnownCA(NamedTuple):
    """A certificate of a known interception CA; `generation` None for one supplied on the command line."""

    certificate: Certificate
    generation: Generation | None
    role: str


class NationalCA(NamedTuple):
    """A national CA outside of the browsers' programs; `certificate` None where only its key is published."""

    certificate: Certificate | None
    spki_sha256: str
    id: str
    title: str
    source: str
    home: tuple[str, ...] = ()
    """How names of its country end; empty where that is not told."""


class Product(NamedTuple):
    """A product that re-signs connections, told by the names of its issuer; `local` where it runs on the device."""

    id: str
    title: str
    local: bool
    common_name: re.Pattern[str] | None
    organization: re.Pattern[str] | None
    source: str

    def signs_as(self, certificate: Certificate) -> bool:
        """Does a certificate bear this product's issuer names? They prove nothing."""
        pairs = (
            (self.common_name, certificate.issuer_common_name),
            (self.organization, certificate.issuer_organization),
        )
        return all(pattern is None or pattern.fullmatch(value) for pattern, value in pairs)


@dataclass(frozen=True)
class Reference:
    """All reference data of one run."""

    folder: Path
    digests: dict[str, str]
    target_lists: tuple[TargetList, ...]
    supplied_roots: tuple[bytes, ...] = ()
    supplied_interception: tuple[bytes, ...] = ()
    supplied_genuine: tuple[bytes, ...] = ()
    """Certificates given as genuine: what is in the capture is laid beside them."""
    asn: Path | None = None
    """A table of addresses and AS numbers that was given."""
    supplied_digests: dict[str, str] = field(default_factory=dict)

    @property
    def laboratory(self) -> bool:
        """Were trust anchors or interception CAs given on the command line?"""
        return bool(self.supplied_roots or self.supplied_interception)

    @cached_property
    def _signatures(self) -> dict[str, Any]:
        path = self.folder / "interception_cas" / "signatures.toml"
        try:
            document = tomllib.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise ReferenceDataError(f"{path}: {error}") from error
        for kind, wanted in SIGNATURE_KEYS.items():
            for number, entry in enumerate(document.get(kind, ()), 1):
                missing = wanted - entry.keys()
                if missing:
                    raise ReferenceDataError(f"{path}: [[{kind}]] number {number} lacks {', '.join(sorted(missing))}")
        known = {entry["id"] for entry in document.get("generation", ())}
        for kind in ("ca", "fingerprints", "leaf"):
            for entry in document.get(kind, ()):
                if entry["generation"] not in known:
                    raise ReferenceDataError(f"{path}: a [[{kind}]] is of no generation {entry['generation']!r}")
        return document

    @cached_property
    def generations(self) -> dict[str, Generation]:
        """By id."""
        return {
            entry["id"]: Generation(
                entry["id"],
                entry["title"],
                entry["by"],
                entry.get("seen_first", ""),
                entry.get("seen_last", ""),
                bool(entry["seen_intercepting"]),
                entry["source"],
                tuple(entry.get("own_sites", ())),
            )
            for entry in self._signatures.get("generation", ())
        }

    @property
    def titles(self) -> dict[str, str]:
        """What each generation is called, by id."""
        return {name: generation.title for name, generation in self.generations.items()}

    def _certificate(self, name: str) -> Certificate:
        path = self.folder / "interception_cas" / name
        found = read_pem(path)
        if len(found) != 1:
            raise ReferenceDataError(f"{path}: one certificate expected, {len(found)} there")
        certificate = parse(found[0])
        if certificate.problem:
            raise ReferenceDataError(f"{path}: {certificate.problem}")
        return certificate

    @cached_property
    def interception_cas(self) -> tuple[KnownCA, ...]:
        """Shipped interception CAs, then those supplied."""
        shipped = tuple(
            KnownCA(self._certificate(entry["file"]), self.generations[entry["generation"]], entry["role"])
            for entry in self._signatures.get("ca", ())
        )
        return shipped + tuple(KnownCA(parse(der), None, "supplied") for der in self.supplied_interception)

    @cached_property
    def misissued(self) -> dict[tuple[str, str], str]:
        """Certificates that a public CA issued to somebody else than the site: (serial, issuer's name) to title."""
        return {(entry["serial"], entry["issuer"]): entry["title"] for entry in self._signatures.get("misissued", ())}

    @cached_property
    def interception_leaves(self) -> dict[str, Generation]:
        """Leaves that were themselves seen intercepting and whose CA nobody knows, by key (SPKI SHA-256)."""
        listed = self._signatures.get("leaf", ())
        return {entry["spki_sha256"]: self.generations[entry["generation"]] for entry in listed}

    @cached_property
    def interception_sha1(self) -> dict[str, Generation]:
        """Generations of intermediates that are known by their SHA-1 only."""
        found: dict[str, Generation] = {}
        for entry in self._signatures.get("fingerprints", ()):
            path = self.folder / "interception_cas" / entry["file"]
            try:
                listed = [str(one["sha1"]) for one in json.loads(path.read_text("utf-8"))["intermediates"]]
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise ReferenceDataError(f"{path}: {type(error).__name__}: {error}") from error
            for sha1 in listed:
                found[sha1] = self.generations[entry["generation"]]
        return found

    @cached_property
    def unpublished_names(self) -> frozenset[str]:
        """Subjects of interception intermediates whose certificates, and so keys, nobody published."""
        return frozenset(name_key(entry["subject"]) for entry in self._signatures.get("fingerprints", ()))

    @cached_property
    def national_cas(self) -> tuple[NationalCA, ...]:
        """CAs of states that are no interception by themselves."""
        found = []
        for entry in self._signatures.get("national", ()):
            certificate = self._certificate(entry["file"])
            found.append(_national(certificate, certificate.spki_sha256, entry))
        for entry in self._signatures.get("national_key", ()):
            found.append(_national(None, entry["spki_sha256"], entry))
        return tuple(found)

    @cached_property
    def products(self) -> tuple[Product, ...]:
        """Products by the names of their issuers."""
        path = self.folder / "products.toml"
        if not path.is_file():
            return ()
        try:
            return tuple(
                Product(
                    entry["id"],
                    entry["title"],
                    {"local": True, "gateway": False}[entry["kind"]],
                    re.compile(entry["common_name"]) if "common_name" in entry else None,
                    re.compile(entry["organization"]) if "organization" in entry else None,
                    entry["source"],
                )
                for entry in tomllib.loads(path.read_text("utf-8"))["product"]
                if "common_name" in entry or "organization" in entry
            )
        except (OSError, ValueError, KeyError, re.error) as error:
            raise ReferenceDataError(f"{path}: {type(error).__name__}: {error}") from error

    @cached_property
    def specimens(self) -> dict[str, str]:
        """Published certificates by key (SPKI SHA-256 to title): a replay of them can never be excluded.

        By key, because bytes outside of the signed part can be changed at will.
        """
        return {entry["spki_sha256"]: entry["title"] for entry in self._signatures.get("specimen", ())}

    @cached_property
    def ech_public_names(self) -> frozenset[str]:
        """Names of outer ClientHellos (ECH) behind which the name asked is encrypted."""
        path = self.folder / "ech" / "public-names.txt"
        return read_target_list(path).names if path.is_file() else frozenset()

    @cached_property
    def harmless_controls(self) -> frozenset[str]:
        """Names that tell nothing of who asks for them: a scrubbed control may keep one."""
        path = self.folder / "controls" / "harmless.txt"
        return read_target_list(path).names if path.is_file() else frozenset()

    @cached_property
    def ct_logs(self) -> dict[str, Log]:
        """Certificate Transparency logs by id."""
        path = self.folder / "ct" / "logs.json"
        try:
            return read_logs(json.loads(path.read_text("utf-8"))) if path.is_file() else {}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ReferenceDataError(f"{path}: {type(error).__name__}: {error}") from error

    @cached_property
    def intermediates(self) -> tuple[Certificate, ...]:
        """Intermediates of public CAs, for chains whose server forgot them."""
        return tuple(
            parse(der) for path in sorted((self.folder / "intermediates").glob("*.pem")) for der in read_pem(path)
        )

    @cached_property
    def genuine(self) -> tuple[Certificate, ...]:
        """Certificates given as genuine, and their issuers."""
        return tuple(parse(der) for der in self.supplied_genuine)

    @cached_property
    def anchors(self) -> tuple[Certificate, ...]:
        """Trust anchors supplied on the command line."""
        return tuple(parse(der) for der in self.supplied_roots)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ReferenceDataError(f"{path}: {error.strerror or error}") from error


def read_pem(path: Path) -> list[bytes]:
    """The DER certificates of a PEM file; ReferenceDataError where there is none."""
    text = _read(path)
    try:
        found = [base64.b64decode(body, validate=False) for body in PEM.findall(text)]
    except ValueError as error:
        raise ReferenceDataError(f"{path}: not PEM ({error})") from error
    if not found:
        raise ReferenceDataError(f"{path}: no PEM certificate in it (DER must be converted)")
    return found


def load(
    folder: Path | None = None,
    targets: list[str] | None = None,
    trusted_roots: list[Path] | None = None,
    interception_cas: list[Path] | None = None,
    genuine: list[Path] | None = None,
    asn: Path | None = None,
) -> Reference:
    """Load the shipped data, or that of another folder; `targets` names lists or files (default: all shipped).

    `genuine` names PEM or DER files, or folders of them, with certificates to lay beside those of a capture.
    """
    base = folder or DATA
    if not base.is_dir():
        raise ReferenceDataError(f"{base}: no such folder")
    digests = {
        path.relative_to(base).as_posix(): hashlib.sha256(_read(path)).hexdigest()
        for path in sorted(base.rglob("*"))
        if path.is_file()
    }
    shipped = {
        target.id: target for path in sorted((base / "targets").glob("*.txt")) for target in [read_target_list(path)]
    }
    if not shipped:
        raise ReferenceDataError(f"{base}: no target lists in it")
    chosen = list(shipped.values())
    supplied: dict[str, str] = {}
    if targets:
        chosen = []
        for name in targets:
            if name in shipped:
                chosen.append(shipped[name])
            elif Path(name).is_file():
                chosen.append(read_target_list(Path(name)))
                supplied[f"targets:{chosen[-1].id}"] = hashlib.sha256(_read(Path(name))).hexdigest()
            else:
                raise ReferenceDataError(f"{name}: no such target list ({', '.join(shipped)}) and no such file")
    reference = Reference(base, digests, tuple(chosen))
    if asn is not None:
        supplied[f"asn:{asn.name}"] = hashlib.sha256(_read(asn)).hexdigest()
    roots = [der for path in trusted_roots or () for der in read_pem(path)]
    cas = [der for path in interception_cas or () for der in read_pem(path)]
    twins = [der for path in genuine or () for file in _files(path) for der in read_certificates(file)]
    for label, ders in (("trusted_root", roots), ("interception_ca", cas), ("genuine", twins)):
        for der in ders:
            certificate = parse(der)
            if certificate.problem:
                raise ReferenceDataError(f"{label}: a certificate that cannot be read: {certificate.problem}")
            supplied[f"{label}:{certificate.sha256[:16]}"] = certificate.sha256
    return replace(
        reference,
        supplied_roots=tuple(roots),
        supplied_interception=tuple(cas),
        supplied_genuine=tuple(twins),
        asn=asn,
        supplied_digests=supplied,
    )


def _files(path: Path) -> list[Path]:
    """The certificate files of a folder, by name; a file is itself."""
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.iterdir() if file.suffix.lower() in CERTIFICATE_SUFFIXES and file.is_file())
    if not found:
        raise ReferenceDataError(f"{path}: no certificate files in it ({', '.join(CERTIFICATE_SUFFIXES)})")
    return found


def read_certificates(path: Path) -> list[bytes]:
    """The DER certificates of a PEM or DER file."""
    raw = _read(path)
    if raw[:1] == b"\x30":
        return [raw]
    if b"-----BEGIN CERTIFICATE" not in raw:
        raise ReferenceDataError(f"{path}: no certificate in it, in PEM or DER")
    return read_pem(path)


def _national(certificate: Certificate | None, spki_sha256: str, entry: dict[str, Any]) -> NationalCA:
    home = tuple(entry.get("home", ()))
    return NationalCA(certificate, spki_sha256, entry["id"], entry["title"], entry["source"], home)
