# cython: annotation_typing=False, language_level=3, boundscheck=True, wraparound=False
"""Records of a pcapng file, every block of it: draft-ietf-opsawg-pcapng."""

from __future__ import annotations

from kzpcap.capture import codes, pieces
from kzpcap.capture.health import Notes
from kzpcap.capture.records import Interface, Records
from kzpcap.errors import CaptureError

SHB = 0x0A0D0D0A
COMMENT = 1
"""An option of any block (pcapng section 3.5)."""
FILTER = 11
"""if_filter, of an interface (section 4.2)."""
MAX_SECONDS = 1 << 33
MAX_INTERFACES = 65_536
MAX_SECRETS = 16 << 20


class Pcapng(Records):
    """The packets of a pcapng file."""

    format = "pcapng"

    def __init__(self, raw: bytes, notes: Notes) -> None:
        super().__init__(raw, notes)
        if self.size < 28:
            raise CaptureError("a pcapng section header that is cut short", self.size)
        self.sections = 0
        self.secret_bytes = 0

    def advance(self) -> bool:
        """Go to the next packet; False at the end."""
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
                if not self._resynchronise(f"block type {kind:#x} claims {length} of {left} bytes", length > left):
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
            return self._resynchronise("a section header without a byte-order magic", False)
        length = pieces.u32(self.data, self.pos + 4, self.big)
        if length < 28 or length > self.size - self.pos:
            if self.sections == 0 and length < 28:
                raise CaptureError(f"a pcapng section header that claims {length} bytes", self.pos + 4)
            return self._resynchronise(f"a section header claims {length} bytes", False)
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
                elif code == FILTER and value[1:].strip(b" \0"):
                    self.filtered = True
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
            return self._resume(found, "block", why)
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

    def _resynchronise(self, why: str, tail: bool) -> bool:
        """Go on at the next block whose two lengths agree, a section header first of all."""
        found = self._find_block(self.pos, self.size - 12)
        self.truncated = self.truncated or (tail and found < 0)
        return self._resume(found, "block", why)
