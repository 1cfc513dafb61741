"""JA3, JA3S (Salesforce, BSD-3-Clause), JA4 (FoxIO, the TLS client part, BSD-3-Clause), tlsfingerprint.io ids.

Computed only from whole hellos: a fingerprint of half a message would be one of nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, TypeVar, cast

from kzpcap.iana import GREASE
from kzpcap.tls.messages import (
    ALPN,
    COMPRESS_CERTIFICATE,
    GROUPS,
    POINT_FORMATS,
    PSK_MODES,
    RECORD_SIZE_LIMIT,
    SERVER_NAME,
    SIGNATURE_ALGORITHMS,
    SUPPORTED_VERSIONS,
    ClientHello,
    ServerHello,
    numbers,
    protocol_names,
)

MAX_REMEMBERED = 256
JA4_VERSIONS = {
    0x0304: "13", 0x0303: "12", 0x0302: "11", 0x0301: "10", 0x0300: "s3", 0x0002: "s2",
    0x0100: "s1", 0xFEFF: "d1", 0xFEFD: "d2", 0xFEFC: "d3",
}  # fmt: skip


Lists = tuple[tuple[int, ...] | bytes, ...]
Work = TypeVar("Work", bound=Callable[..., Any])


def _remembered(work: Work) -> Work:
    """Keep the latest answers: one client software sends the same lists in all of its hellos.

    Where one of the lists is longer than any client's, nothing is kept.
    """
    kept = lru_cache(maxsize=512)(work)

    def ask(lists: Lists, *more: Any) -> Any:
        return (kept if max(map(len, lists)) <= MAX_REMEMBERED else work)(lists, *more)

    return cast(Work, ask)


def _kinds(hello: ClientHello | ServerHello) -> tuple[int, ...]:
    return tuple([kind for kind, _ in hello.extensions])


def _dashed(values: Iterable[int]) -> str:
    return "-".join([str(value) for value in values if value not in GREASE])


def ja3_string(hello: ClientHello) -> str:
    """version,ciphers,extensions,groups,point formats; GREASE left out."""
    extensions, formats = _kinds(hello), "-".join(map(str, hello.point_formats))
    groups = _dashed(hello.supported_groups)
    return f"{hello.legacy_version},{_dashed(hello.cipher_suites)},{_dashed(extensions)},{groups},{formats}"


def ja3(hello: ClientHello) -> str | None:
    """The MD5 of the JA3 string; None for a hello that is cut or in SSLv2 format."""
    if not hello.complete or hello.sslv2_format:
        return None
    groups, formats = hello.extension(GROUPS) or b"", hello.extension(POINT_FORMATS) or b""
    return _ja3((hello.cipher_suites, _kinds(hello), groups, formats), hello.legacy_version)


@_remembered
def _ja3(lists: tuple[tuple[int, ...], tuple[int, ...], bytes, bytes], version: int) -> str:
    """JA3 of cipher suites, extension types, and the bodies of supported_groups and ec_point_formats."""
    suites, kinds, groups, formats = lists
    extensions = tuple([(kind, {GROUPS: groups, POINT_FORMATS: formats}.get(kind, b"")) for kind in kinds])
    hello = ClientHello(version, b"", b"", suites, b"", extensions, True)
    return hashlib.md5(ja3_string(hello).encode(), usedforsecurity=False).hexdigest()


def ja3s(hello: ServerHello) -> str | None:
    """The MD5 of version,cipher,extensions of a ServerHello."""
    if not hello.complete:
        return None
    return _ja3s((_kinds(hello),), hello.legacy_version, hello.cipher_suite)


@_remembered
def _ja3s(lists: tuple[tuple[int, ...]], version: int, suite: int) -> str:
    text = f"{version},{suite},{'-'.join(map(str, lists[0]))}"
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12] if text else "000000000000"


def ja4(hello: ClientHello, transport: str) -> str | None:
    """JA4 of a whole hello; `transport` is tcp, quic or dtls."""
    if not hello.complete or hello.sslv2_format:
        return None
    offered, protocols = hello.extension(SUPPORTED_VERSIONS) or b"", hello.extension(ALPN) or b""
    algorithms = hello.extension(SIGNATURE_ALGORITHMS) or b""
    lists = (hello.cipher_suites, _kinds(hello), offered, protocols, algorithms)
    return _ja4(lists, hello.legacy_version, transport)


@_remembered
def _ja4(lists: tuple[tuple[int, ...], tuple[int, ...], bytes, bytes, bytes], legacy: int, transport: str) -> str:
    """JA4 of cipher suites, extension types, and the bodies of supported_versions, ALPN and signature_algorithms."""
    sent, types, offered, protocols, algorithms = lists
    versions = [value for value in numbers(offered, 2, 1) if value not in GREASE]
    suites = sorted([f"{value:04x}" for value in sent if value not in GREASE])
    kinds = sorted([kind for kind in types if kind not in GREASE])
    first = (protocol_names(protocols) or (b"",))[0]
    head = (
        {"tcp": "t", "quic": "q", "dtls": "d"}[transport]
        + JA4_VERSIONS.get(max(versions) if versions else legacy, "00")
        + ("d" if SERVER_NAME in kinds else "i")
        + f"{min(len(suites), 99):02d}{min(len(kinds), 99):02d}"
        + _alpn_marks(first)
    )
    extensions = ",".join([f"{kind:04x}" for kind in kinds if kind not in (SERVER_NAME, ALPN)])
    names = ",".join([f"{value:04x}" for value in numbers(algorithms, 2, 2) if value not in GREASE])
    digest = _short(extensions + ("_" + names if names else "") if extensions else "")
    return f"{head}_{_short(','.join(suites))}_{digest}"


def _alpn_marks(value: bytes) -> str:
    """First and last character of the first ALPN value; of its hex form where either is not alphanumeric ASCII."""
    if not value:
        return "00"
    ends = (value[0], value[-1])
    if all(chr(byte).isalnum() and byte < 128 for byte in ends):
        return chr(ends[0]) + chr(ends[1])
    text = value.hex()
    return text[0] + text[-1]


def tlsfingerprint_id(hello: ClientHello, record_version: int) -> str | None:
    """The id of tlsfingerprint.io (Frolov and Wustrow, NDSS 2019), as clienthellod describes it; 16 hex digits.

    SHA-1 over the record's and the hello's version, then each list with its length in four bytes, GREASE as 0x0a0a;
    the first eight bytes. None for a hello that is cut or in SSLv2 format.
    """
    if not hello.complete or hello.sslv2_format:
        return None

    def listed(values: Iterable[int]) -> bytes:
        return b"".join((0x0A0A if value in GREASE else value).to_bytes(2) for value in values)

    groups = listed(hello.supported_groups)
    shares = b""
    for group, length in hello.key_shares:
        shares += listed([group]) + length.to_bytes(2)
    parts = (
        listed(hello.cipher_suites),
        hello.compression_methods,
        listed(kind for kind, _ in hello.extensions),
        len(groups).to_bytes(2) + groups if hello.extension(GROUPS) is not None else b"",
        hello.extension(POINT_FORMATS) or b"",
        hello.extension(SIGNATURE_ALGORITHMS) or b"",
        hello.extension(ALPN) or b"",
        shares,
        (hello.extension(PSK_MODES) or b"")[1:],
        listed(hello.supported_versions),
        hello.extension(COMPRESS_CERTIFICATE) or b"",
        hello.extension(RECORD_SIZE_LIMIT) or b"",
    )
    digest = hashlib.sha1(record_version.to_bytes(2) + hello.legacy_version.to_bytes(2), usedforsecurity=False)
    for part in parts:
        digest.update(len(part).to_bytes(4) + part)
    return digest.hexdigest()[:16]
