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
    label, _, rest = name.partition(".")
    wild = f"*.{rest}" if label and "." in rest and "*" not in rest else name
    as_compared = name.isascii() and not name.endswith(".")
    if as_compared and (name in patterns or wild in patterns):  # nearly every certificate writes its names so
        return True
    known = _compared(patterns)
    return name in known or wild in known


@kept(512, LONG)
def _compared(patterns: tuple[str, ...]) -> frozenset[str]:
    """A certificate's names as they are compared; one is asked for many names."""
    return frozenset([pattern.lower().rstrip(".") for pattern in patterns if pattern.isascii()])
