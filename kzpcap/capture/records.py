# cython: annotation_typing=False, language_level=3, boundscheck=True, wraparound=False
"""A cursor over the packets of a capture: what every format of files has in common.

The file runs as it is; records.pxd gives the compiled form its types.
"""

from __future__ import annotations

from kzpcap.capture.health import Notes


class Interface:
    """One interface of a pcapng section: its link type and clock."""

    def __init__(self, link_type: int) -> None:
        self.link_type = link_type
        self.snaplen = 0
        self.binary = False
        self.exponent = 6
        self.offset_seconds = 0
        self.name = b""


class Records:
    """A cursor over the packets of one capture; the fields describe the packet reached by `advance()`.

    No length is trusted: a damaged record becomes a note with its offset, and the walk goes on at the next place
    that can be a record.
    """

    format = ""
    """The name of the format."""

    def __init__(self, raw: bytes, notes: Notes) -> None:
        self.raw = raw
        self.data = raw
        self.size = len(raw)
        self.notes = notes
        self.pos = 0
        self.big = False
        self.frame = 0
        self.offset = 0
        self.captured = 0
        self.original = 0
        self.time_ns = 0
        self.link_type = -1
        self.truncated = False
        self.skipped_bytes = 0
        self.interfaces: list[Interface] = []
        self.secrets: list[bytes] = []
        self.comments = 0
        self.private_blocks = 0
        self.filtered = False
        """Does any interface say that it was recorded through a capture filter?"""

    def advance(self) -> bool:
        """Go to the next packet; False at the end."""
        raise NotImplementedError

    def shorten(self, size: int) -> None:
        """Read no further than `size`: the file has lost what lay behind."""
        if size < self.size:
            self.notes.add("cut-short", f"the file lost {self.size - size} bytes while it was read", offset=size)
            self.truncated = True
            self.size = size

    def _cut(self, what: str, there: int) -> None:
        """Note that the file ends inside of something, of which `there` bytes are left."""
        self.truncated = True
        self.notes.add("cut-short", f"the file ends inside a {what} ({there} bytes of it are there)", offset=self.pos)

    def _resume(self, found: int, what: str, why: str) -> bool:
        """Go on at `found`, behind damage; where that is -1 nothing is left to read, and False is returned."""
        start = self.pos
        if found < 0:
            self.skipped_bytes += self.size - start
            left = self.size - start
            self.notes.add("damaged", f"{why}; no later {what} was found, {left} bytes left", offset=start)
            self.pos = self.size
            return False
        self.skipped_bytes += found - start
        self.notes.add("damaged", f"{why}; reading goes on {found - start} bytes later", offset=start)
        self.pos = found
        return True
