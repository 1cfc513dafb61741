"""Bytes taken out of a mapped capture; pieces.pxd has the C form, which needs no slice objects.

Like Python's slices, a piece that reaches beyond the buffer is as long as what is there.
"""

from __future__ import annotations


def piece(data: bytes, at: int, stop: int) -> bytes:
    """The bytes from `at` to `stop`."""
    return bytes(data[at:stop])


def joined(data: bytes, at: int, stop: int, other: int, end: int) -> bytes:
    """The bytes from `at` to `stop`, then those from `other` to `end`."""
    return bytes(data[at:stop]) + bytes(data[other:end])
