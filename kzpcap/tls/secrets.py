"""The key schedule's small parts: HKDF (RFC 5869), HKDF-Expand-Label (RFC 8446 section 7.1), and the AEADs."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any


def extract(salt: bytes, key: bytes, digest: str = "sha256") -> bytes:
    """HKDF-Extract."""
    return hmac.digest(salt, key, digest)


def expand_label(secret: bytes, label: str, length: int, digest: str = "sha256", context: bytes = b"") -> bytes:
    """HKDF-Expand-Label."""
    full = b"tls13 " + label.encode()
    info = length.to_bytes(2, "big") + bytes([len(full)]) + full + bytes([len(context)]) + context
    out, block, counter = b"", b"", 1
    while len(out) < length:
        block = hmac.digest(secret, block + info + bytes([counter]), digest)
        out += block
        counter += 1
    return out[:length]


def transcript(digest: str, *messages: bytes) -> bytes:
    """The hash over handshake messages."""
    running = hashlib.new(digest)
    for message in messages:
        running.update(message)
    return running.digest()


def aead(kind: str, key: bytes) -> Any:
    """The AEAD of a TLS 1.3 cipher suite: gcm, chacha, ccm or ccm8."""
    from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305

    if kind == "gcm":
        return AESGCM(key)
    return ChaCha20Poly1305(key) if kind == "chacha" else AESCCM(key, 8 if kind == "ccm8" else 16)
