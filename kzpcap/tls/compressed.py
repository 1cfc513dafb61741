"""CompressedCertificate (RFC 8879): the Certificate message inside it, unpacked within a bound.

The output is never longer than the length that the message states, nor than MAX_UNPACKED, whatever the packed bytes
would give. A client must refuse a message whose length is wrong (section 4), so such a one is told, not repaired.
"""

from __future__ import annotations

import zlib

from kzpcap.wire import Reader, ShortRead

MAX_UNPACKED = 128 << 10
"""As much as is kept of one that is not compressed."""
MAX_RATIO, RATIO_AFTER = 32, 16 << 10
"""Keys and signatures do not shrink: real chains become some three times as short."""
ALGORITHMS = {1: "zlib", 2: "brotli", 3: "zstd"}


def unpack(body: bytes) -> tuple[bytes | None, str | None]:
    """(the Certificate message's body, None), or (None, why it cannot be had)."""
    reader = Reader(body)
    try:
        algorithm, length, packed = reader.uint(2), reader.uint(3), reader.vector(3)
    except ShortRead:
        return None, "a compressed certificate that is cut"
    name = ALGORITHMS.get(algorithm)
    if name is None:
        return None, f"a certificate compressed with algorithm {algorithm}, which is not known"
    if length > MAX_UNPACKED or (length > RATIO_AFTER and length > MAX_RATIO * len(packed)):
        return None, f"a compressed certificate that claims {length:,} bytes"
    try:
        plain = (_zlib, _brotli, _zstd)[algorithm - 1](packed, length + 1)
    except ValueError as error:
        return None, f"a certificate compressed with {name} that does not unpack: {error}"
    if len(plain) != length:
        gave = f"{len(plain):,}" if len(plain) < length else f"more than {length:,}"
        return None, f"a compressed certificate that claims {length:,} bytes and holds {gave}"
    return plain, None


def _zlib(packed: bytes, limit: int) -> bytes:
    try:
        return zlib.decompressobj().decompress(packed, limit)
    except zlib.error as error:
        raise ValueError(str(error)) from error


def _brotli(packed: bytes, limit: int) -> bytes:
    import brotli

    stream = brotli.Decompressor()
    try:
        plain: bytes = stream.process(packed, output_buffer_limit=limit)
    except brotli.error as error:
        raise ValueError(str(error)) from error
    return plain[:limit]  # the limit is where it stops to grow, not what it never passes


def _zstd(packed: bytes, limit: int) -> bytes:
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]  # Python 3.14
    except ImportError:
        from backports import zstd
    try:
        plain: bytes = zstd.ZstdDecompressor().decompress(packed, max_length=limit)
    except zstd.ZstdError as error:
        raise ValueError(str(error)) from error
    return plain
