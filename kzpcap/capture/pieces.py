"""Bytes and numbers of a mapped capture; pieces.pxd has the C form, which needs no slice objects.

Like Python's slices, a piece that reaches beyond the buffer is as long as what is there.
"""

from __future__ import annotations


def u16(data: bytes, at: int, big: bool) -> int:
    """A 16-bit integer at `at`; IndexError where it is not whole."""
    return be16(data, at) if big else le16(data, at)


def u32(data: bytes, at: int, big: bool) -> int:
    """A 32-bit integer at `at`; IndexError where it is not whole."""
    return be32(data, at) if big else le32(data, at)


def be16(data: bytes, at: int) -> int:
    """A big-endian 16-bit integer; IndexError where it is not whole."""
    return data[at] << 8 | data[at + 1]


def be32(data: bytes, at: int) -> int:
    """A big-endian 32-bit integer; IndexError where it is not whole."""
    return data[at] << 24 | data[at + 1] << 16 | data[at + 2] << 8 | data[at + 3]


def le16(data: bytes, at: int) -> int:
    """A little-endian 16-bit integer; IndexError where it is not whole."""
    return data[at] | data[at + 1] << 8


def le32(data: bytes, at: int) -> int:
    """A little-endian 32-bit integer; IndexError where it is not whole."""
    return data[at + 3] << 24 | data[at + 2] << 16 | data[at + 1] << 8 | data[at]


def ahead(data: bytes, at: int) -> None:
    """Say that the bytes at `at` are read next: the processor fetches them beside what it does (nothing, in Python)."""


def piece(data: bytes, at: int, stop: int) -> bytes:
    """The bytes from `at` to `stop`."""
    return bytes(data[at:stop])


def joined(data: bytes, at: int, stop: int, other: int, end: int) -> bytes:
    """The bytes from `at` to `stop`, then those from `other` to `end`."""
    return bytes(data[at:stop]) + bytes(data[other:end])


def same(data: bytes, at: int, stop: int, other: int, end: int, key: bytes) -> bool:
    """Are the bytes of `joined` equal to `key`?"""
    return joined(data, at, stop, other, end) == key


def modulo(data: bytes, at: int, stop: int) -> int:
    """The bytes from `at` to `stop` as one big-endian number, modulo 65,535: the sum of RFC 1071.

    An odd byte at the end counts as the upper half of a word.
    """
    part = data[at:stop]
    return int.from_bytes(part, "big") * (256 if len(part) & 1 else 1) % 0xFFFF
