"""One signature with one key."""

from __future__ import annotations

from typing import Any


def verify(key: Any, signature: bytes, signed: bytes, algorithm: Any, parameters: Any = None) -> bool | None:
    """One signature with one key; None for a kind of key that is not known."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, padding, rsa

    try:
        if isinstance(key, rsa.RSAPublicKey):
            scheme = parameters if isinstance(parameters, padding.PSS) else padding.PKCS1v15()
            key.verify(signature, signed, scheme, algorithm)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, signed, parameters if isinstance(parameters, ec.ECDSA) else ec.ECDSA(algorithm))
        elif isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
            key.verify(signature, signed)
        elif isinstance(key, dsa.DSAPublicKey):
            key.verify(signature, signed, algorithm)
        else:
            return None
    except InvalidSignature:
        return False
    return True
