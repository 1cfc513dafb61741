"""DER as far as certificates need it: elements, and the fields of a TBSCertificate (X.690, RFC 5280 section 4.1)."""

from __future__ import annotations

from collections.abc import Iterator

MAX_ELEMENTS = 1_000
VERSION_TAG = 0xA0
"""Of a TBSCertificate's first field, where it is not the serial number (RFC 5280 section 4.1)."""
EXTENSIONS_TAG = 0xA3


def tlv(data: bytes, at: int) -> tuple[int, int, int] | None:
    """(tag, start of the value, its end) of the DER element at `at`."""
    if len(data) - at < 2:
        return None
    tag, length, at = data[at], data[at + 1], at + 2
    if length & 0x80:
        count = length & 0x7F
        if not 0 < count <= 4 or len(data) - at < count:
            return None
        length = int.from_bytes(data[at : at + count], "big")
        at += count
    return (tag, at, at + length) if at + length <= len(data) else None


def der_length(der: bytes) -> int:
    """Where the first element ends; 0 where none begins."""
    element = tlv(der, 0)
    return element[2] if element else 0


def elements(der: bytes, at: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
    """(place, tag, start of the value, its end) of each element from `at` on."""
    for _ in range(MAX_ELEMENTS):
        element = tlv(der, at) if at < stop else None
        if element is None:
            return
        yield (at, *element)
        at = element[2]


def place_of_tbs(der: bytes) -> tuple[int, int]:
    """(begin, end) of a certificate's TBSCertificate; (0, 0) where there is none."""
    outer = tlv(der, 0)
    inner = tlv(der, outer[1]) if outer else None
    return (outer[1], inner[2]) if outer and inner else (0, 0)


def signed_bytes(der: bytes) -> bytes:
    """The TBSCertificate as it was signed; empty where there is none."""
    begin, end = place_of_tbs(der)
    return der[begin:end]


def fields(tbs: bytes) -> list[tuple[int, int, int, int]]:
    """(start, tag, value start, end) of the fields of a TBSCertificate."""
    outer = tlv(tbs, 0)
    found: list[tuple[int, int, int, int]] = []
    at = outer[1] if outer else len(tbs)
    while outer and at < outer[2] and len(found) < 12:
        element = tlv(tbs, at)
        if element is None:
            break
        found.append((at, *element))
        at = element[2]
    return found


def bit_string(spki: bytes) -> bytes:
    """The key itself inside a SubjectPublicKeyInfo: the BIT STRING's bytes without its count of unused bits."""
    outer = tlv(spki, 0)
    algorithm = tlv(spki, outer[1]) if outer else None
    key = tlv(spki, algorithm[2]) if algorithm else None
    return spki[key[1] + 1 : key[2]] if key and key[0] == 3 else b""
