"""One signature with one key."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

MAX_WORK = 17 * 8_192**2
"""Of a check with an RSA key, about: the bits of its exponent times the square of its length (8,192 bits, 65537)."""
MAX_DSA_BITS = 4_096
MAX_EXPONENT_BITS = 64
"""Of an RSA key: longer ones are told by their length alone."""


def kind_of(key: Any) -> str:
    """rsa, ec, ed25519, ed448 or dsa; empty for other public keys."""
    return _kind(type(key).__mro__)


@lru_cache(maxsize=64)
def _kind(classes: tuple[type, ...]) -> str:
    from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa

    kinds = {
        rsa.RSAPublicKey: "rsa",
        ec.EllipticCurvePublicKey: "ec",
        ed25519.Ed25519PublicKey: "ed25519",
        ed448.Ed448PublicKey: "ed448",
        dsa.DSAPublicKey: "dsa",
    }
    return next((name for kind, name in kinds.items() if issubclass(classes[0], kind)), "")


def affordable(key: Any) -> bool:
    """Does a check with this key cost what checks do? Nobody needs keys with which it takes milliseconds."""
    kind = kind_of(key)
    if kind == "rsa":
        return bool(key.public_numbers().e.bit_length() * key.key_size**2 <= MAX_WORK)
    return kind != "dsa" or key.key_size <= MAX_DSA_BITS


@lru_cache(maxsize=1)
def _tools() -> tuple[type[Exception], Any, Any]:
    """What is raised for a wrong signature, and the modules of padding and of curves: imported with the first check."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec, padding

    return InvalidSignature, padding, ec


def verify(key: Any, signature: bytes, signed: bytes, algorithm: Any, parameters: Any = None) -> bool | None:
    """One signature with one key; None for a kind of key that is not known."""
    wrong, padding, ec = _tools()
    kind = kind_of(key)
    try:
        if kind == "rsa":
            if len(signature) != (key.key_size + 7) // 8:
                return False  # RFC 8017 section 8.2.2 step 1; most keys that may have signed something did not
            scheme = parameters if isinstance(parameters, padding.PSS) else padding.PKCS1v15()
            key.verify(signature, signed, scheme, algorithm)
        elif kind == "ec":
            key.verify(signature, signed, parameters if isinstance(parameters, ec.ECDSA) else ec.ECDSA(algorithm))
        elif kind in ("ed25519", "ed448"):
            key.verify(signature, signed)
        elif kind == "dsa":
            key.verify(signature, signed, algorithm)
        else:
            return None
    except wrong:
        return False
    return True
