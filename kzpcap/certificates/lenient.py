"""Certificates that OpenSSL or browsers read and strict parsers refuse, written anew as those want them.

The signature is over `signed_bytes` of the original: what is written here is read, and vouches for nothing. What stands
around those bytes, and no signature covers, is taken as it is or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from kzpcap.certificates.der import EXTENSIONS_TAG, VERSION_TAG, elements, fields, signed_bytes, tlv

UTF8, PLAIN_TEXTS = 0x0C, frozenset({0x12, 0x13, 0x14, 0x16, 0x1A})
"""Tags of texts: in UTF-8, and those for fewer characters (X.680 section 41)."""
BIT_STRING = b"\3"
V3 = bytes.fromhex("a003020102")
BOOLEAN, SEQUENCE, UTC_TIME, GENERALIZED_TIME = 0x01, 0x30, 0x17, 0x18
TIME = re.compile(rb"(\d{2}|\d{4})(\d{8})(\d{2})?(?:[.,]\d+)?(Z|[+-]\d{4})?")
"""Year; month, day, hour and minute; seconds; where it is (X.680 sections 46 and 47, before DER cuts them short)."""
FIRST_OF_UTC_TIME = 50
"""Years from this on are of the 20th century (RFC 5280 section 4.1.2.5.1)."""


def rewritten(der: bytes) -> bytes:
    """The certificate with what strict parsers want: ValueError where its parts cannot be told apart.

    Version 3 and no unique ids; names in UTF-8, since an asterisk is in no PrintableString (X.680 section 41.4) and
    Latin-1 in a TeletexString; times in UTC, to the second; `critical` only where it is so.
    """
    tbs = signed_bytes(der)
    outer = tlv(der, 0)
    parts = fields(tbs)
    begin = 1 if parts and parts[0][1] == VERSION_TAG else 0
    if outer is None or outer[0] != SEQUENCE or outer[2] != len(der) or len(parts) < begin + 6:
        raise ValueError("not the parts of a certificate")
    raw = [tbs[at:end] for at, _, _, end in parts]
    serial, algorithm, issuer, validity, subject, key = raw[begin : begin + 6]
    body = V3 + serial + algorithm + _in_utf8(issuer) + _in_utc(validity) + _in_utf8(subject) + key
    for number in range(begin + 6, len(parts)):
        if parts[number][1] == EXTENSIONS_TAG:
            body += _extensions(raw[number])
    behind = der[outer[1] + len(tbs) :]
    if not behind.startswith(algorithm) or behind[len(algorithm) : len(algorithm) + 1] != BIT_STRING:
        raise ValueError("not signed as it says")
    return _element(SEQUENCE, _element(SEQUENCE, body) + behind)


def _element(tag: int, body: bytes) -> bytes:
    size = len(body)
    if size < 128:
        return bytes([tag, size]) + body
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + body


def _in_utf8(name: bytes) -> bytes:
    """A name with every text in it as UTF-8; what Latin-1 may mean is not guessed."""
    out = bytearray(name)
    for at, tag, start, end in _texts(name):
        if tag in PLAIN_TEXTS:
            out[at] = UTF8
            if any(byte > 127 for byte in name[start:end]):
                out[start:end] = bytes(byte if byte < 128 else 63 for byte in name[start:end])
    return bytes(out)


def _texts(name: bytes) -> Iterator[tuple[int, int, int, int]]:
    """(place, tag, start, end) of the values of a name: its sets, their pairs, the second of each."""
    outer = tlv(name, 0)
    for _, _, start, end in elements(name, outer[1], outer[2]) if outer else ():
        for _, _, first, last in elements(name, start, end):
            yield from list(elements(name, first, last))[1:2]


def _in_utc(validity: bytes) -> bytes:
    outer = tlv(validity, 0)
    times = list(elements(validity, outer[1], outer[2])) if outer else []
    return _element(SEQUENCE, b"".join(_moment(tag, validity[start:end]) for _, tag, start, end in times[:2]))


def _moment(tag: int, text: bytes) -> bytes:
    """A time in UTC, to the second."""
    from datetime import UTC, datetime, timedelta

    found = TIME.fullmatch(text)
    if found is None or tag not in (UTC_TIME, GENERALIZED_TIME):
        raise ValueError("no time")
    year = int(found[1])
    if len(found[1]) == 2:
        year += 1900 if year >= FIRST_OF_UTC_TIME else 2000
    digits = found[2] + (found[3] or b"00")
    month, day, hour, minute, second = (int(digits[at : at + 2]) for at in range(0, 10, 2))
    moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    if found[4] and found[4] != b"Z":
        away = timedelta(hours=int(found[4][1:3]), minutes=int(found[4][3:]))
        moment += -away if found[4][:1] == b"+" else away
    if 1950 <= moment.year < 2050:
        return _element(UTC_TIME, moment.strftime("%y%m%d%H%M%SZ").encode())
    return _element(GENERALIZED_TIME, f"{moment.year:04}".encode() + moment.strftime("%m%d%H%M%SZ").encode())


def _extensions(field: bytes) -> bytes:
    outer = tlv(field, 0)
    listed = tlv(field, outer[1]) if outer else None
    made = b""
    for _, _, start, end in elements(field, listed[1], listed[2]) if listed else ():
        parts = list(elements(field, start, end))
        made += _element(SEQUENCE, b"".join(_part(field, *part) for part in parts))
    return _element(EXTENSIONS_TAG, _element(SEQUENCE, made)) if made else b""


def _part(field: bytes, at: int, tag: int, start: int, end: int) -> bytes:
    if tag == BOOLEAN:
        return b"\1\1\xff" if any(field[start:end]) else b""
    return field[at:end]
