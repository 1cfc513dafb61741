# cython: annotation_typing=False, language_level=3, boundscheck=True, wraparound=False
"""Records of a pcap file, of every magic: draft-ietf-opsawg-pcap, and the dialects that libpcap and Wireshark read.

A pcap has nothing that marks where a record begins. Where damage took that away, it is found again by what records
have in common: lengths that make sense, times near each other, and another record behind each.
"""

from __future__ import annotations

from kzpcap.capture import codes, pieces
from kzpcap.capture.health import Notes
from kzpcap.capture.records import Records
from kzpcap.errors import CaptureError

FILE_HEADER = 24
MICRO, NANO = 1_000, 1
MAGICS = {
    0xA1B2C3D4: (MICRO, 16),
    0xA1B23C4D: (NANO, 16),
    0xA1B2CD34: (MICRO, 24),  # Kuznetzov's patch: interface index, protocol and packet type follow
    0x1C0001AB: (MICRO, 16),  # Ixia's software
    0x1C0001AC: (MICRO, 16),  # and hardware
}
"""Nanoseconds a tick, and the size of record headers."""
IXIA = (0x1C0001AB, 0x1C0001AC)
"""The length of all records follows the file header (Wireshark, wiretap/libpcap.c)."""
LONGER = {(MICRO, 16): (16, 24, 20), (MICRO, 24): (24, 28)}
"""Record headers of the same magics: Red Hat 6.1's and Nokia IPSO's, and SuSE 6.3's (Wireshark, wiretap/libpcap.c)."""
ROW = 6
"""Records in a row that are no accident."""


def starts(data: bytes, at: int) -> bool:
    """Does a pcap's magic stand at `at`, in either byte order?"""
    return pieces.u32(data, at, False) in MAGICS or pieces.u32(data, at, True) in MAGICS


class Pcap(Records):
    """The packets of a pcap file."""

    format = "pcap"

    def __init__(self, raw: bytes, notes: Notes) -> None:
        super().__init__(raw, notes)
        if self.size < FILE_HEADER:
            raise CaptureError("a pcap file header that is cut short", self.size)
        self.tick = MICRO
        self.header = 16
        self.swapped = False
        self.unordered = False
        self.before_ns = 0
        self.searched = False
        """Was it looked for records in vain?"""
        self._file_header(0)

    def _file_header(self, at: int) -> None:
        """Take in a file header, of which all bytes are there."""
        self.big = pieces.u32(self.data, at, False) not in MAGICS
        magic = pieces.u32(self.data, at, self.big)
        self.tick, self.header = MAGICS[magic]
        major = pieces.u16(self.data, at + 4, self.big)
        minor = pieces.u16(self.data, at + 6, self.big)
        # The lengths stood the other way round in versions before 2.3 and in DG/UX's, and in 2.3 now so, now so
        # (libpcap, sf-pcap.c).
        self.swapped = (major == 2 and minor < 3) or major == 543
        self.unordered = major == 2 and minor == 3
        self.link_type = pieces.u32(self.data, at + 20, self.big) & 0x03FFFFFF  # FCS bits stand above
        self.pos = min(self.size, at + FILE_HEADER + (4 if magic in IXIA else 0))
        self._record_header()

    def _record_header(self) -> None:
        """Find how long record headers are, where the magic leaves it open: so that records stand in a row.

        Two or three may by chance: of one whose length lost a bit.
        """
        usual = self.header
        for size in (usual, *LONGER.get((self.tick, usual), ())):
            self.header = size
            if self._row(self.pos) == ROW:
                return
        self.header = usual

    def _captured(self, at: int) -> int:
        """How many bytes the record whose header stands here says it has."""
        captured = pieces.u32(self.data, at + 8, self.big)
        if self.swapped or self.unordered:
            other = pieces.u32(self.data, at + 12, self.big)
            if self.swapped or other < captured:
                return other
        return captured

    def _original(self, at: int) -> int:
        """How many bytes the packet had, whose record's header stands here."""
        original = pieces.u32(self.data, at + 12, self.big)
        if self.swapped or self.unordered:
            other = pieces.u32(self.data, at + 8, self.big)
            if self.swapped or other > original:
                return other
        return original

    def advance(self) -> bool:
        """Go to the next packet; False at the end."""
        while True:
            left = self.size - self.pos
            if left < self.header:
                if left > 0:
                    self._cut("record header", left)
                return False
            seconds = pieces.u32(self.data, self.pos, self.big)
            fraction = pieces.u32(self.data, self.pos + 4, self.big)
            captured = self._captured(self.pos)
            original = self._original(self.pos)
            if captured == 0 and original == 0 and self._another():
                continue
            start = self.pos + self.header
            strange = captured > original or original > codes.MAX_CAPTURED or fraction >= 1_000_000_000 // self.tick
            if (
                strange
                and not self.searched
                and captured <= self.size - start
                and self._is_lost(start + captured, seconds)
            ):
                found = self._find()
                if found >= 0 and self._row(found) >= ROW:
                    self._resume(found, "record", "a record that no others follow")
                    continue
                self.searched = True  # once is enough: what is there is read as it stands
            if captured > codes.MAX_CAPTURED:
                if not self._resume(self._find(), "record", f"a record claims {captured} captured bytes"):
                    return False
                continue
            if captured > self.size - start:
                found = self._find()
                if found < 0:
                    self._cut("packet", self.size - start)
                    return False
                self._resume(found, "record", f"a record claims {captured} captured bytes, more than there are")
                continue
            self.frame += 1
            self.offset = start
            self.captured = captured
            self.original = original if original > captured else captured
            self.before_ns = self.time_ns
            self.time_ns = seconds * 1_000_000_000 + fraction * self.tick
            self.pos = start + captured
            pieces.ahead(self.data, self.pos)
            return True

    def _another(self) -> bool:
        """Does the header of another capture stand here, in place of a record? Files are laid one behind the other."""
        if self.size - self.pos < FILE_HEADER or not starts(self.data, self.pos):
            return False
        self.notes.add("joined", "another capture begins here: files were laid one behind the other", offset=self.pos)
        self._file_header(self.pos)
        return True

    def _row(self, at: int) -> int:
        """How many records stand in a row, as far as their lengths tell; ROW where they reach the end of the file."""
        count = 0
        while count < ROW:
            if at == self.size:
                return ROW if count else 0
            if at + self.header > self.size:
                break
            captured = self._captured(at)
            if captured > codes.MAX_CAPTURED:
                break
            if captured > self.size - at - self.header:
                return ROW if count >= 2 else count  # the last one is cut
            at += self.header + captured
            count += 1
        return count

    def _is_lost(self, follow: int, seconds: int) -> bool:
        """Is a record whose own numbers are strange none, as what stands behind it shows?

        One strange number is a file's manner: fractions of another unit, lengths that were not kept, days between
        packets. Two in the next record too, beside this one's or the last one's time, are none.
        """
        last = self.time_ns // 1_000_000_000
        return self._odd(follow, seconds) >= 2 or (self._odd(self.pos, last) >= 2 and self._odd(follow, last) >= 2)

    def _odd(self, at: int, reference: int) -> int:
        """How many numbers of what would be a record here are strange."""
        if at + self.header > self.size:
            return 0 if at == self.size else 2
        captured = self._captured(at)
        original = self._original(at)
        apart = pieces.u32(self.data, at, self.big) - reference
        odd = 2 if captured > codes.MAX_CAPTURED else 0
        if captured > original or original > codes.MAX_CAPTURED:
            odd += 1
        if pieces.u32(self.data, at + 4, self.big) >= 1_000_000_000 // self.tick:
            odd += 1
        if reference and not -codes.DAY <= apart <= codes.DAY:
            odd += 1
        return odd

    def _plausible(self, at: int, reference: int) -> bool:
        """Can a record start here? Lengths make sense and its second lies within a day of another's."""
        if at + self.header > self.size:
            return at == self.size
        seconds = pieces.u32(self.data, at, self.big)
        captured = self._captured(at)
        return (
            0 < captured <= codes.MAX_CAPTURED
            and captured <= self._original(at) <= codes.MAX_CAPTURED
            and pieces.u32(self.data, at + 4, self.big) < 1_000_000_000 // self.tick
            and (reference == 0 or -codes.DAY <= seconds - reference <= codes.DAY)
        )

    def _find(self) -> int:
        """Where the next two records in a row are, in time with one of the last two that were read; -1 for nowhere."""
        reference = self.time_ns // 1_000_000_000
        other = (self.before_ns or self.time_ns) // 1_000_000_000
        stop = self.size - self.header
        at = self.pos + 1
        while at < stop:
            captured = self._captured(at)
            if 0 < captured <= codes.MAX_CAPTURED and (self._plausible(at, reference) or self._plausible(at, other)):
                follow = at + self.header + captured
                if follow <= self.size and self._plausible(follow, pieces.u32(self.data, at, self.big)):
                    return at
            at += 1
        return -1
