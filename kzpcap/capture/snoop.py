# cython: annotation_typing=False, language_level=3, boundscheck=True, wraparound=False
"""Records of a snoop file: RFC 1761."""

from __future__ import annotations

from kzpcap.capture import codes, pieces
from kzpcap.capture.health import Notes
from kzpcap.capture.records import Records
from kzpcap.errors import CaptureError

MAGIC = b"snoop\0\0\0"
LINK_TYPES = {0: 1, 2: 6, 4: 1, 8: 10, 9: 1}
"""Datalink types that have a LINKTYPE_ (Ethernet, token ring, Ethernet, FDDI)."""


class Snoop(Records):
    """The packets of a snoop file."""

    format = "snoop"

    def __init__(self, raw: bytes, notes: Notes) -> None:
        super().__init__(raw, notes)
        if self.size < 16:
            raise CaptureError("a snoop file header that is cut short", self.size)
        self.big = True
        kind = pieces.be32(self.data, 12)
        self.link_type = LINK_TYPES.get(kind, -1 - kind)
        self.pos = 16
        self.before_ns = 0
        self.searched = False
        """Was it looked for records in vain?"""

    def advance(self) -> bool:
        """Go to the next packet; False at the end."""
        while True:
            left = self.size - self.pos
            if left < codes.SNOOP_HEADER:
                if left > 0:
                    self._cut("record header", left)
                return False
            original = pieces.be32(self.data, self.pos)
            captured = pieces.be32(self.data, self.pos + 4)
            length = pieces.be32(self.data, self.pos + 8)
            start = self.pos + codes.SNOOP_HEADER
            if captured > codes.MAX_CAPTURED or length < codes.SNOOP_HEADER + captured:
                if not self._resume(self._find(), "record", f"a snoop record claims {captured} of {length} bytes"):
                    return False
                continue
            if length > codes.SNOOP_HEADER + captured + codes.SNOOP_PADDING and not self.searched:
                last = self.time_ns // 1_000_000_000
                if length > left or (length < left and self._follows(self.pos + length, last) < 0):
                    found = self._find()
                    if found >= 0:
                        self._resume(found, "record", f"a snoop record claims {length} bytes, where none follows")
                        continue
                    self.searched = True  # once is enough: what is there is read as it stands
            if captured > left - codes.SNOOP_HEADER:
                self._cut("packet", left - codes.SNOOP_HEADER)
                return False
            self.frame += 1
            self.before_ns = self.time_ns
            self.time_ns = (
                pieces.be32(self.data, self.pos + 16) * 1_000_000_000 + pieces.be32(self.data, self.pos + 20) * 1_000
            )
            self.offset = start
            self.captured = captured
            self.original = original if original > captured else captured
            self.pos = self.pos + length if length < left else self.size
            return True

    def _follows(self, at: int, last: int) -> int:
        """Where what follows a record that may start here, within a day of `last`, would start; -1 where none can."""
        if self.size - at < codes.SNOOP_HEADER:
            return -1
        captured = pieces.be32(self.data, at + 4)
        length = pieces.be32(self.data, at + 8)
        if (
            0 < captured <= codes.MAX_CAPTURED
            and captured <= pieces.be32(self.data, at) <= codes.MAX_CAPTURED
            and codes.SNOOP_HEADER + captured <= length <= codes.SNOOP_HEADER + captured + codes.SNOOP_PADDING
            and length <= self.size - at
            and pieces.be32(self.data, at + 20) < 1_000_000
            and (not last or -codes.DAY <= pieces.be32(self.data, at + 16) - last <= codes.DAY)
        ):
            return at + length
        return -1

    def _find(self) -> int:
        """Where the next two records in a row are, or the last one of the file; -1 for nowhere.

        In time with one of the last two that were read: the last one's own may be damaged.
        """
        last = self.time_ns // 1_000_000_000
        before = (self.before_ns or self.time_ns) // 1_000_000_000
        at = self.pos + 1
        while at <= self.size - codes.SNOOP_HEADER:
            if self._is_one(at, last) or (before != last and self._is_one(at, before)):
                return at
            at += 1
        return -1

    def _is_one(self, at: int, last: int) -> bool:
        """Does a record start here, and another behind it, or the end of the file?"""
        follow = self._follows(at, last)
        return follow == self.size or (follow >= 0 and self._follows(follow, last) >= 0)
