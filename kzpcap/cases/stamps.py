"""Time-stamps of custody: that a digest was there at a time, vouched for by an authority (RFC 3161).

    stamps/<SHA-256 of the file>.tsr        the authority's answers

kzpcap sends nothing: it writes the request, you send it, and it takes the answer in. What is stamped is the text of the
custody digest that `batch` prints, hashed with SHA-256: openssl ts says the same of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any

from kzpcap.cases.custody import Log
from kzpcap.cases.store import Case, file_digest, write_whole
from kzpcap.certificates.certificate import load
from kzpcap.errors import CaseError, WitnessMissing

FOLDER = "stamps"
MAX_SIZE = 1 << 20


@dataclass(frozen=True, slots=True)
class Stamp:
    """One answer: for which custody digest, when, and whether the authority's signature was checked."""

    path: str
    run: str
    digest: str
    time: str
    verified: bool | None
    """None: no authority was given to check with."""


def request(digest: str) -> bytes:
    """A TimeStampReq over a custody digest (RFC 3161 section 2.4.1), with a nonce; asks for the certificates."""
    client = _library()
    builder = client.TimestampRequestBuilder().data(digest.encode()).hash_algorithm(client.HashAlgorithm.SHA256)
    made: bytes = builder.build().as_bytes()
    return made


def take(case: Case, path: Path, logs: list[Log]) -> Stamp:
    """Keep an authority's answer; CaseError where it is none, or for no digest of this case's custody."""
    try:
        raw = path.read_bytes() if path.stat().st_size <= MAX_SIZE else b""
    except OSError as error:
        raise CaseError(f"{path}: {error.strerror}") from error
    stamp = _read(raw, str(path), _digests(logs), ())
    folder = case.folder / FOLDER
    folder.mkdir(exist_ok=True)
    write_whole(raw, folder / f"{hashlib.sha256(raw).hexdigest()}.tsr")
    return stamp


def check(case: Case, logs: list[Log], authorities: tuple[bytes, ...]) -> Iterator[Stamp | tuple[str, str]]:
    """Each stamp of a case, or (path, what is wrong with it); `authorities` are certificates (DER) to check with."""
    folder = case.folder / FOLDER
    for path in sorted(folder.iterdir()) if folder.exists() else ():
        name = f"{FOLDER}/{path.name}"
        if path.name.startswith(".") and path.is_file():
            continue  # left by a process that was ended
        if not path.is_file() or path.suffix != ".tsr" or file_digest(path) != path.stem:
            yield name, "is not what its name says"
            continue
        try:
            yield _read(path.read_bytes(), name, _digests(logs), authorities)
        except (CaseError, OSError) as error:
            yield name, str(error)


def _digests(logs: list[Log]) -> dict[bytes, tuple[str, str]]:
    """SHA-256 of a custody digest's text -> (run, digest), of every line."""
    return {
        hashlib.sha256(line["digest"].encode()).digest(): (log.run, line["digest"])
        for log in logs
        for line in log.lines
    }


def _read(raw: bytes, name: str, known: dict[bytes, tuple[str, str]], authorities: tuple[bytes, ...]) -> Stamp:
    client = _library()
    try:
        response = client.decode_timestamp_response(raw)
        told: Any = response.tst_info
        message, moment = told.message_imprint.message, told.gen_time
    except Exception as error:  # a hostile file may fail anywhere inside the parser
        raise CaseError(f"{name} is no answer of a time-stamp authority: {error}") from error
    if message not in known:
        raise CaseError(f"{name} is for no digest of this case's custody")
    verified = None
    if authorities:
        builder = client.VerifierBuilder()
        for der in authorities:
            builder = builder.add_root_certificate(load(der))
        try:
            verified = bool(builder.build().verify(response, message))
        except Exception as error:  # VerificationError, and whatever a strange chain makes of it
            raise CaseError(f"{name}: the authority's signature does not hold: {error}") from error
    run, digest = known[message]
    return Stamp(name, run, digest, moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S"), verified)


def _library() -> Any:
    try:
        import rfc3161_client
    except ImportError as error:
        raise WitnessMissing("this needs rfc3161-client: pip install 'kzpcap[stamps]'") from error
    return rfc3161_client
