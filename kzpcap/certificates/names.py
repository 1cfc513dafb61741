"""Does a certificate carry a name? RFC 9525: subjectAltName, one wildcard in the leftmost label, IP addresses."""

from __future__ import annotations

import ipaddress

from kzpcap.certificates.certificate import LONG, Certificate
from kzpcap.kept import kept


def normalise(raw: bytes) -> str:
    """A server_name as compared: lower case, one trailing dot removed; bytes that are not ASCII stay visible."""
    text = raw.decode("ascii", "backslashreplace").lower()
    return text[:-1] if text.endswith(".") and len(text) > 1 else text


def carries(certificate: Certificate, name: str) -> bool:
    """Is `name` (normalised) among the certificate's names? The common name counts only where there is no SAN."""
    if name[-1:].isdigit() or ":" in name:  # what cannot be an address need not be tried: no top-level domain is digits
        try:
            address = str(ipaddress.ip_address(name.strip("[]")))
        except ValueError:
            pass
        else:
            return address in certificate.ip_addresses
    patterns = certificate.dns_names
    if not patterns and not certificate.has_san and certificate.common_name:
        patterns = (certificate.common_name,)
    return _any_matches(patterns, name)


@kept(1_024, LONG)
def _any_matches(patterns: tuple[str, ...], name: str) -> bool:
    return any(pattern.isascii() and _matches(pattern.lower().rstrip("."), name) for pattern in patterns)


def _matches(pattern: str, name: str) -> bool:
    if pattern == name:
        return True
    head, dot, tail = pattern.partition(".")
    if not dot or "*" not in head or "*" in tail or "." not in tail:
        return False
    label, _, rest = name.partition(".")
    return rest == tail and head == "*" and bool(label)
