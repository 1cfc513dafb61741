# cython: annotation_typing=False, language_level=3, boundscheck=True, wraparound=False
"""Records of a capture file: pcap (every magic), pcapng (every block), snoop.

`Records` walks a buffer; `advance()` moves to the next packet and sets the fields below. It never trusts a length:
a damaged record becomes a note with its offset, and the walk goes on at the next place that can be a record.

Formats: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng, RFC 1761 (snoop). The file runs as it is; container.pxd
gives the compiled form its types.
"""

from __future__ import annotations

from kzpcap.capture import codes, pieces
from kzpcap.capture.health import Notes
from kzpcap.errors import CaptureError, NotACapture

FORMAT_NAMES = {codes.PCAP: "pcap", codes.PCAPNG: "pcapng", codes.SNOOP: "snoop"}

MAX_SECONDS = 1 << 33
MAX_INTERFACES = 65_536
ROW = 6
"""Records in a row that are no accident."""
MAX_SECRETS = 16 << 20

MICRO, NANO = 1_000, 1

SNOOP_LINK_TYPES = {0: 1, 2: 6, 4: 1, 8: 10, 9: 1}
"""RFC 1761 datalink types that have a LINKTYPE_ (Ethernet, token ring, Ethernet, FDDI)."""

# magic as read little-endian -> (big-endian, nanoseconds a tick, record header size)
PCAP_MAGICS = {
    0xA1B2C3D4: (False, MICRO, 16),
    0xD4C3B2A1: (True, MICRO, 16),
    0xA1B23C4D: (False, NANO, 16),
    0x4D3CB2A1: (True, NANO, 16),
    0xA1B2CD34: (False, MICRO, 24),  # Kuznetzov's patch: interface index, protocol and packet type follow
    0x34CDB2A1: (True, MICRO, 24),
}
LONGER = {(MICRO, 16): (16, 24, 20), (MICRO, 24): (24, 28)}
"""Record headers of the same magics: Red Hat 6.1's and Nokia IPSO's, and SuSE 6.3's (Wireshark, wiretap/libpcap.c)."""
COMMENT = 1
"""An option of any block (pcapng section 3.5)."""
SHB = 0x0A0D0D0A


class Interface:
    """One interface of a section: its link type and clock."""

    def __init__(self, link_type: int) -> None:
        self.link_type = link_type
        self.snaplen = 0
        self.binary = False
        self.exponent = 6
        self.offset_seconds = 0
        self.name = b""


def looks_like(head: bytes) -> str:
    """In plain words, what a file that is no capture looks like from its first bytes."""
    if not head:
        return "an empty file"
    for magic, what in (
        (b"age-encryption.org/", "sealed with age: `kzpcap case import` opens it with its identity"),
        (b"-----BEGIN AGE ENCRYPTED", "sealed with age: `kzpcap case import` opens it with its identity"),
        (b"\x7fELF", "an ELF program"),
        (b"MZ", "a Windows program"),
        (b"%PDF", "a PDF document"),
        (b"\x89PNG", "a PNG picture"),
        (b"\xff\xd8\xff", "a JPEG picture"),
        (b"SQLite format 3", "an SQLite database"),
        (b"<?xml", "XML text"),
        (b"<!DOCTYPE html", "an HTML page"),
        (b"<html", "an HTML page"),
    ):
        if head.startswith(magic):
            return what
    if head[:1] in (b"{", b"["):
        return "JSON text"
    if sum(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head) >= len(head) * 0.95:
        return "plain text"
    return "bytes that start with " + head[:8].hex(" ")


class Records:
    """A cursor over the packets of one capture; the fields describe the packet reached by `advance()`."""

    def __init__(self, raw: bytes, notes: Notes) -> None:
        self.raw = raw
        self.data = raw
        self.size = len(raw)
        self.notes = notes
        self.pos = 0
        self.big = False
        self.tick = MICRO
        self.header = 16
        self.swap_lengths = False
        self.frame = 0
        self.offset = 0
        self.captured = 0
        self.original = 0
        self.time_ns = 0
        self.before_ns = 0
        self.searched = False
        """Was it looked for records in vain?"""
        self.link_type = -1
        self.truncated = False
        self.skipped_bytes = 0
        self.sections = 0
        self.interfaces: list[Interface] = []
        self.snaplen = 0
        self.secrets: list[bytes] = []
        self.secret_bytes = 0
        self.comments = 0
        self.private_blocks = 0
        self.format = self._open()

    def _open(self) -> int:
        if self.size < 4:
            raise NotACapture(f"not a capture: {looks_like(bytes(self.raw[:64]))}")
        magic = pieces.u32(self.data, 0, False)
        if magic in PCAP_MAGICS:
            if self.size < 24:
                raise CaptureError("a pcap file header that is cut short", self.size)
            self._pcap_header(0)
            return codes.PCAP
        if magic == SHB:
            if self.size < 28:
                raise CaptureError("a pcapng section header that is cut short", self.size)
            return codes.PCAPNG
        if bytes(self.raw[:8]) == b"snoop\0\0\0":
            if self.size < 16:
                raise CaptureError("a snoop file header that is cut short", self.size)
            self.big = True
            kind = pieces.u32(self.data, 12, True)
            self.link_type = SNOOP_LINK_TYPES.get(kind, -1 - kind)
            self.pos = 16
            return codes.SNOOP
        raise NotACapture(f"not a capture: {looks_like(bytes(self.raw[:64]))}")

    def _pcap_header(self, at: int) -> None:
        """Take in the file header of a pcap, of which all 24 bytes are there."""
        self.big, self.tick, self.header = PCAP_MAGICS[pieces.u32(self.data, at, False)]
        minor = pieces.u16(self.data, at + 6, self.big)
        # Version 2.3 and before wrote the two lengths the other way round (libpcap, sf-pcap.c: lengths_swapped).
        self.swap_lengths = pieces.u16(self.data, at + 4, self.big) == 2 and minor < 3
        self.snaplen = pieces.u32(self.data, at + 16, self.big)
        self.link_type = pieces.u32(self.data, at + 20, self.big) & 0x03FFFFFF  # FCS bits stand above
        self.pos = at + 24
        self.header = self._record_header()

    def _record_header(self) -> int:
        """How long record headers are, where the magic leaves it open: so that records stand in a row.

        Two or three may by chance: of one whose length lost a bit.
        """
        usual = self.header
        for size in (usual, *LONGER.get((self.tick, usual), ())):
            self.header = size
            if self._row(self.pos) == ROW:
                return size
        return usual

    def _row(self, at: int) -> int:
        """How many records stand in a row, as far as their lengths tell; ROW where they reach the end of the file."""
        count = 0
        while count < ROW:
            if at == self.size:
                return ROW if count else 0
            if at + self.header > self.size:
                break
            captured = pieces.u32(self.data, at + 8, self.big)
            if self.swap_lengths:
                captured = pieces.u32(self.data, at + 12, self.big)
            if captured > codes.MAX_CAPTURED:
                break
            if captured > self.size - at - self.header:
                return ROW if count >= 2 else count  # the last one is cut
            at += self.header + captured
            count += 1
        return count

    def shorten(self, size: int) -> None:
        """Read no further than `size`: the file has lost what lay behind."""
        if size < self.size:
            self.notes.add("cut-short", f"the file lost {self.size - size} bytes while it was read", offset=size)
            self.truncated = True
            self.size = size

    def advance(self) -> bool:
        """Go to the next packet; False at the end."""
        if self.format == codes.PCAP:
            return self._next_pcap()
        if self.format == codes.PCAPNG:
            return self._next_block()
        return self._next_snoop()

    # pcap

    def _next_pcap(self) -> bool:
        while True:
            left = self.size - self.pos
            if left < self.header:
                if left > 0:
                    self._cut("record header", left)
                return False
            seconds = pieces.u32(self.data, self.pos, self.big)
            fraction = pieces.u32(self.data, self.pos + 4, self.big)
            captured = pieces.u32(self.data, self.pos + 8, self.big)
            original = pieces.u32(self.data, self.pos + 12, self.big)
            if self.swap_lengths:
                captured, original = original, captured
            if captured == 0 and original == 0 and self._another_pcap():
                continue
            start = self.pos + self.header
            strange = captured > original or original > codes.MAX_CAPTURED or fraction >= 1_000_000_000 // self.tick
            if (
                strange
                and not self.searched
                and captured <= self.size - start
                and self._is_lost(start + captured, seconds)
            ):
                found = self._find_pcap()
                if found >= 0 and self._row(found) >= ROW:
                    self._go_on(self.pos, found, "a record that no others follow")
                    continue
                self.searched = True  # once is enough: what is there is read as it stands
            if captured > codes.MAX_CAPTURED:
                if not self._resynchronise_pcap(f"a record claims {captured} captured bytes"):
                    return False
                continue
            if captured > self.size - start:
                found = self._find_pcap()
                if found < 0:
                    self._cut("packet", self.size - start)
                    return False
                self._go_on(self.pos, found, f"a record claims {captured} captured bytes, more than there are")
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

    def _another_pcap(self) -> bool:
        """Does the header of another capture stand here, in place of a record? Files are laid one behind the other."""
        if self.size - self.pos < 24 or pieces.u32(self.data, self.pos, False) not in PCAP_MAGICS:
            return False
        self.notes.add("joined", "another capture begins here: files were laid one behind the other", offset=self.pos)
        self._pcap_header(self.pos)
        return True

    def _cut(self, what: str, there: int) -> None:
        self.truncated = True
        self.notes.add("cut-short", f"the file ends inside a {what} ({there} bytes of it are there)", offset=self.pos)

    def _plausible_pcap(self, at: int, reference: int) -> bool:
        """Can a record start here? Lengths make sense and its second lies within a day of another's."""
        if at + self.header > self.size:
            return at == self.size
        seconds = pieces.u32(self.data, at, self.big)
        captured = pieces.u32(self.data, at + 8, self.big)
        original = pieces.u32(self.data, at + 12, self.big)
        ticks = pieces.u32(self.data, at + 4, self.big)
        return (
            0 < captured <= codes.MAX_CAPTURED
            and captured <= original <= codes.MAX_CAPTURED
            and ticks < (1_000_000_000 // self.tick)
            and (reference == 0 or abs(seconds - reference) <= 86_400)
        )

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
        captured = pieces.u32(self.data, at + 8, self.big)
        original = pieces.u32(self.data, at + 12, self.big)
        apart = pieces.u32(self.data, at, self.big) - reference
        odd = 2 if captured > codes.MAX_CAPTURED else 0
        if captured > original or original > codes.MAX_CAPTURED:
            odd += 1
        if pieces.u32(self.data, at + 4, self.big) >= 1_000_000_000 // self.tick:
            odd += 1
        if reference and not -86_400 <= apart <= 86_400:
            odd += 1
        return odd

    def _find_pcap(self) -> int:
        """Where the next two records in a row are, in time with one of the last two that were read; -1 for nowhere."""
        reference = self.time_ns // 1_000_000_000
        other = (self.before_ns or self.time_ns) // 1_000_000_000
        stop = self.size - self.header
        at = self.pos + 1
        while at < stop:
            captured = pieces.u32(self.data, at + 8, self.big)
            if 0 < captured <= codes.MAX_CAPTURED and (
                self._plausible_pcap(at, reference) or self._plausible_pcap(at, other)
            ):
                follow = at + self.header + captured
                if follow <= self.size and self._plausible_pcap(follow, pieces.u32(self.data, at, self.big)):
                    return at
            at += 1
        return -1

    def _resynchronise_pcap(self, why: str) -> bool:
        start = self.pos
        found = self._find_pcap()
        if found >= 0:
            return self._go_on(start, found, why)
        self.skipped_bytes += self.size - start
        self.notes.add("damaged", f"{why}; no later record was found, {self.size - start} bytes left", offset=start)
        self.pos = self.size
        return False

    # snoop

    def _next_snoop(self) -> bool:
        left = self.size - self.pos
        if left < 24:
            if left > 0:
                self._cut("record header", left)
            return False
        original = pieces.u32(self.data, self.pos, True)
        captured = pieces.u32(self.data, self.pos + 4, True)
        length = pieces.u32(self.data, self.pos + 8, True)
        start = self.pos + 24
        if captured > codes.MAX_CAPTURED or length < 24 + captured:
            self.skipped_bytes += left
            self.notes.add("damaged", f"a snoop record claims {captured} of {length} bytes", offset=self.pos)
            self.pos = self.size
            return False
        if captured > self.size - start:
            self._cut("packet", self.size - start)
            return False
        self.frame += 1
        self.time_ns = (
            pieces.u32(self.data, self.pos + 16, True) * 1_000_000_000
            + pieces.u32(self.data, self.pos + 20, True) * 1_000
        )
        self.offset = start
        self.captured = captured
        self.original = original if original > captured else captured
        self.pos = min(self.size, self.pos + length)
        return True

    # pcapng

    def _next_block(self) -> bool:
        while True:
            left = self.size - self.pos
            if left < 12:
                if left > 0:
                    self._cut("block", left)
                return False
            kind = pieces.u32(self.data, self.pos, self.big)
            if kind == SHB:
                if not self._section():
                    return False
                continue
            length = pieces.u32(self.data, self.pos + 4, self.big)
            if length < 12 or length > left:
                if left < length and self._is_cut(kind, length, left):
                    self._cut("packet block", left)
                    self.pos = self.size
                    return False
                if not self._resynchronise_block(
                    f"block type {kind:#x} claims {length} of {left} bytes", length > left
                ):
                    return False
                continue
            start = self.pos
            if pieces.u32(self.data, start + length - 4, self.big) != length and self._lies(start, length):
                continue
            self.pos += length + (-length & 3)
            pieces.ahead(self.data, self.pos)
            if kind == 6 or kind == 2 or kind == 3:
                if self._packet(kind, start, length):
                    return True
            else:
                self._other_block(kind, start, length)

    def _is_cut(self, kind: int, length: int, left: int) -> bool:
        """Is a packet block that claims more than there is the last one, its end lost? Or is its length wrong?

        Where its own numbers agree it is cut: what lies in it belongs to the packet, whatever it looks like.
        """
        if kind not in (6, 2, 3) or length > codes.MAX_CAPTURED + 65_536 or left >= 65_536:
            return False
        if kind == 3 and left >= 12:
            original = pieces.u32(self.data, self.pos + 8, self.big)
            captured = original
            if self.interfaces and 0 < self.interfaces[0].snaplen < captured:
                captured = self.interfaces[0].snaplen
            if length == 16 + captured + (-captured & 3):
                return True
        elif left >= 24:
            captured = pieces.u32(self.data, self.pos + 20, self.big)
            options = 28 + captured + (-captured & 3)
            if length == options + 4 and left < length - 4:
                return True
            if length > options + 4 and (options > left or self._options_run_out(self.pos + options)):
                return True
        return self._find_block(self.pos, self.size - 12) < 0

    def _options_run_out(self, at: int) -> bool:
        """Do options begin here that go on to the end of what is there? Not where a block's end stands, or theirs."""
        if self.size - at < 8 or pieces.u32(self.data, at, self.big) == at + 4 - self.pos:
            return self.size - at < 4
        while self.size - at >= 4:
            code = pieces.u16(self.data, at, self.big)
            length = pieces.u16(self.data, at + 2, self.big)
            if code == 0:
                return False
            at += 4 + length + (-length & 3)
        return True

    def _packet(self, kind: int, start: int, length: int) -> bool:
        """An Enhanced, obsolete or Simple Packet Block; `length` is what is there of it."""
        limit = start + length
        if kind == 3:
            body = start + 12
            index = 0
            if limit < body:
                return self._short(kind, start)
            original = pieces.u32(self.data, start + 8, self.big)
            captured = original
            if self.interfaces and 0 < self.interfaces[0].snaplen < captured:
                captured = self.interfaces[0].snaplen
            if captured > limit - 4 - body:
                captured = limit - 4 - body
            ticks_high = ticks_low = 0
        else:
            body = start + 28
            if limit < body:
                return self._short(kind, start)
            index = (
                pieces.u32(self.data, start + 8, self.big) if kind == 6 else pieces.u16(self.data, start + 8, self.big)
            )
            ticks_high = pieces.u32(self.data, start + 12, self.big)
            ticks_low = pieces.u32(self.data, start + 16, self.big)
            captured = pieces.u32(self.data, start + 20, self.big)
            original = pieces.u32(self.data, start + 24, self.big)
        self.frame += 1
        if kind == 6 and limit - 4 >= body:
            limit -= 4  # the block's length stands again at its end
        if captured > limit - body or captured < 0:
            self.notes.add("damaged", f"a packet block claims {captured} captured bytes", self.frame, start)
            captured = limit - body if limit > body else 0
        if captured > codes.MAX_CAPTURED:
            self.notes.add("damaged", f"a packet of {captured} bytes is over the limit", self.frame, start)
            captured = 0
        if index >= len(self.interfaces):
            self.notes.add("damaged", f"a packet of interface {index}, which was never described", self.frame, start)
            self.link_type = -1
            self.time_ns = 0
        else:
            interface = self.interfaces[index]
            self.link_type = interface.link_type
            self.time_ns = 0 if kind == 3 else self._time(interface, ticks_high, ticks_low)
        self.offset = body
        self.captured = captured
        self.original = original if original > captured else captured
        if kind == 6:
            options = body + captured + (-captured & 3)
            if limit - options > 4:
                self._count_comments(options, limit)
        return True

    def _short(self, kind: int, start: int) -> bool:
        self.notes.add("damaged", f"block type {kind:#x} is too short for its own header", offset=start)
        return False

    def _count_comments(self, at: int, limit: int) -> None:
        """Comments are private: they are counted, and no more."""
        self.comments += sum(code == COMMENT for code, _ in self._options(at, limit))

    def _time(self, interface: Interface, high: int, low: int) -> int:
        """Nanoseconds since 1970; 0 with a note where the clock says something impossible."""
        ticks = high << 32 | low
        if not interface.binary and interface.exponent == 6:
            seconds = ticks // 1_000_000
            ns = (ticks - seconds * 1_000_000) * 1_000
        elif not interface.binary and interface.exponent == 9:
            seconds = ticks // 1_000_000_000
            ns = ticks - seconds * 1_000_000_000
        else:
            seconds, ns = self._scale(interface, high, low)
        seconds += interface.offset_seconds
        if seconds < 0 or seconds >= MAX_SECONDS:
            self.notes.add("clock", "a packet's time is outside of any calendar", self.frame, self.pos)
            return 0
        return seconds * 1_000_000_000 + ns

    def _scale(self, interface: Interface, high: object, low: object) -> tuple[int, int]:
        ticks = int(high) << 32 | int(low)  # type: ignore[call-overload]
        unit = 2**interface.exponent if interface.binary else 10**interface.exponent
        seconds, rest = divmod(ticks, unit)
        if seconds >= MAX_SECONDS:
            return MAX_SECONDS, 0
        return seconds, rest * 1_000_000_000 // unit

    def _section(self) -> bool:
        if self.size - self.pos < 28:
            self._cut("section header", self.size - self.pos)
            return False
        order = pieces.u32(self.data, self.pos + 8, False)
        if order == 0x1A2B3C4D:
            self.big = False
        elif order == 0x4D3C2B1A:
            self.big = True
        elif self.sections == 0:
            raise CaptureError("a pcapng section header without a byte-order magic", self.pos + 8)
        else:
            return self._resynchronise_block("a section header without a byte-order magic", False)
        length = pieces.u32(self.data, self.pos + 4, self.big)
        if length < 28 or length > self.size - self.pos:
            if self.sections == 0 and length < 28:
                raise CaptureError(f"a pcapng section header that claims {length} bytes", self.pos + 4)
            return self._resynchronise_block(f"a section header claims {length} bytes", False)
        major = pieces.u16(self.data, self.pos + 12, self.big)
        if major != 1:
            self.notes.add(
                "unknown-version", f"a section of pcapng version {major}, read as version 1", offset=self.pos
            )
        self.sections += 1
        self.interfaces = []
        self._count_comments(self.pos + 24, self.pos + length - 4)
        self.pos += length + (-length & 3)
        return True

    def _options(self, at: int, limit: int) -> list[tuple[int, bytes]]:
        found: list[tuple[int, bytes]] = []
        while limit - at >= 4 and len(found) < 256:
            code = pieces.u16(self.data, at, self.big)
            length = pieces.u16(self.data, at + 2, self.big)
            at += 4
            if code == 0 or length > limit - at:
                break
            found.append((code, bytes(self.raw[at : at + length])))
            at += length + (-length & 3)
        return found

    def _other_block(self, kind: int, start: int, length: int) -> None:
        if kind == 1:
            if length < 20:
                self._short(kind, start)
                return
            if len(self.interfaces) >= MAX_INTERFACES:
                self.notes.add("limit", "more interfaces than kzpcap keeps", offset=start)
                return
            interface = Interface(pieces.u16(self.data, start + 8, self.big))
            interface.snaplen = pieces.u32(self.data, start + 12, self.big)
            for code, value in self._options(start + 16, start + length - 4):
                if code == 9 and value:
                    interface.binary = value[0] >= 128
                    interface.exponent = value[0] & 0x7F
                elif code == 14 and len(value) == 8:
                    offset = int.from_bytes(value, "big" if self.big else "little", signed=True)
                    interface.offset_seconds = max(-MAX_SECONDS, min(MAX_SECONDS, offset))
                elif code == 2:
                    interface.name = value[:256]
                elif code == COMMENT:
                    self.comments += 1
            self.interfaces.append(interface)
        elif kind == 10:
            if length < 20:
                self._short(kind, start)
                return
            secret = pieces.u32(self.data, start + 12, self.big)
            if secret > length - 20:
                self.notes.add("damaged", f"a secrets block claims {secret} bytes", offset=start)
                secret = length - 20
            self.secret_bytes += secret
            if self.secret_bytes > MAX_SECRETS:
                self.notes.add("limit", "more decryption secrets than kzpcap keeps", offset=start)
            elif pieces.u32(self.data, start + 8, self.big) == 0x544C534B:  # "TLSK"
                self.secrets.append(bytes(self.raw[start + 16 : start + 16 + secret]))
        elif kind == 4:
            self.private_blocks += 1  # name resolution: private, and never used

    def _lies(self, start: int, length: int) -> bool:
        """Of a block whose two lengths differ: do others whose lengths agree begin inside of it? Then they are read."""
        why = f"a block claims {length} bytes, and other ones at its end"
        found = self._find_block(start, start + length - 12)
        if found >= 0:
            return self._go_on(start, found, why)
        self.notes.add("damaged", why, offset=start)
        return False

    def _find_block(self, start: int, stop: int) -> int:
        """Where the next block is whose two lengths agree, or a section header; -1 where none begins by `stop`."""
        at = start + 1  # bytes that were lost, or put in, need not be four
        while at <= stop:
            kind = pieces.u32(self.data, at, self.big)
            length = pieces.u32(self.data, at + 4, self.big)
            if (
                kind == SHB
                and self.size - at >= 28
                and pieces.u32(self.data, at + 8, False) in (0x1A2B3C4D, 0x4D3C2B1A)
            ):
                return at
            if kind in (1, 2, 3, 4, 5, 6, 10) and 12 <= length <= self.size - at and length & 3 == 0:
                if pieces.u32(self.data, at + length - 4, self.big) == length:
                    return at
            at += 1
        return -1

    def _resynchronise_block(self, why: str, tail: bool) -> bool:
        """Go on at the next block whose two lengths agree, a section header first of all."""
        start = self.pos
        found = self._find_block(start, self.size - 12)
        if found >= 0:
            return self._go_on(start, found, why)
        self.skipped_bytes += self.size - start
        self.truncated = self.truncated or tail
        self.notes.add("damaged", f"{why}; no later block was found, {self.size - start} bytes left", offset=start)
        self.pos = self.size
        return False

    def _go_on(self, start: int, at: int, why: str) -> bool:
        self.skipped_bytes += at - start
        self.notes.add("damaged", f"{why}; reading goes on {at - start} bytes later", offset=start)
        self.pos = at
        return True
