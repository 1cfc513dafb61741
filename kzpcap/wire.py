# cython: annotation_typing=False, language_level=3, boundscheck=True, wraparound=False
"""A bounds-checked cursor over bytes, and the vectors of RFC 8446 section 3.4.

The file runs as it is; wire.pxd gives the compiled form its types.
"""

from __future__ import annotations


class ShortRead(ValueError):
    """The bytes ended before the structure did; `offset` is where the missing part would have begun."""

    def __init__(self, wanted: int, offset: int, size: int) -> None:
        super().__init__(f"{wanted} bytes wanted at offset {offset}, {size - offset} there")
        self.offset = offset


class Reader:
    """A cursor that never reads past `end`, whatever lengths the bytes claim."""

    def __init__(self, data: bytes, pos: int = 0, end: int | None = None) -> None:
        self.data = data
        self.pos = pos
        self.end = len(data) if end is None else min(end, len(data))

    def left(self) -> int:
        """How many bytes remain."""
        return self.end - self.pos

    def take(self, count: int) -> bytes:
        """The next `count` bytes; ShortRead where there are fewer."""
        start, stop = self.pos, self.pos + count
        if stop > self.end:
            raise ShortRead(count, start, self.end)
        self.pos = stop
        return self.data[start:stop]

    def uint(self, size: int) -> int:
        """A big-endian unsigned integer of `size` bytes, at most 8."""
        start, stop = self.pos, self.pos + size
        if stop > self.end:
            raise ShortRead(size, start, self.end)
        self.pos = stop
        value = 0
        for at in range(start, stop):
            value = value << 8 | self.data[at]
        return value

    def vector(self, size: int) -> bytes:
        """An opaque vector whose length stands before it in `size` bytes."""
        return self.take(self.uint(size))

    def uints(self, size: int, vector: int) -> tuple[int, ...]:
        """A vector (length in `vector` bytes) of integers of `size` bytes; an odd tail is ignored."""
        length = self.uint(vector)
        length = min(length, self.left())  # in one expression the compiled form asks what is left first
        stop = self.pos + length
        found: list[int] = []
        while self.pos + size <= stop:
            found.append(self.uint(size))
        self.pos = stop
        return tuple(found)

    def sub(self, size: int) -> Reader:
        """A reader restricted to a vector's body, so that a length inside it cannot leak out."""
        length = self.uint(size)
        start = self.pos
        self.take(length)
        return Reader(self.data, start, start + length)
