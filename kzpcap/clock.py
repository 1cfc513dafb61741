"""The capture's clock, held against what is signed, or independent of it, in the same capture.

Every judgement by a day rests on that clock. Lower bounds are signed: nothing can show a certificate, an SCT or an OCSP
response before it was made. Points are not: ServerHello's time (RFC 5246 section 7.4.1.2, where a server still sends
one), HTTP's Date and NTP are told by whoever answers, so only several sources that agree count, and the last two, which
anyone may send or have cached, can anchor the clock but not contradict it. Times are nanoseconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from kzpcap.reference.targets import DAY_NS

SECOND_NS = 1_000_000_000
AGREE_NS = 120 * SECOND_NS
"""Sources whose offsets are no further apart tell the same time."""
PROVED = "ServerHello"
"""The only points that may contradict: taken from servers that proved their key. NTP and HTTP anyone can send."""
SOURCES_AGAINST = 3
LEAVES_AGAINST = 2
SOURCES_FOR = 2
MAX_POINTS = 512
NTP_EPOCH = 2_208_988_800


class Bound(NamedTuple):
    """Something signed at `value`, seen when the capture's clock said `time_ns`: the true time was not earlier."""

    what: str
    value: int
    time_ns: int
    frame: int
    until: int | None = None
    """Where the signer said how long it is fresh (OCSP's nextUpdate)."""
    stamped: bool = True
    """Made at that very time. A certificate's notBefore is not: it may lie ahead of its making."""


class Point(NamedTuple):
    """A source's word on the time, seen when the capture's clock said `time_ns`."""

    what: str
    source: str
    value: int
    time_ns: int
    frame: int

    @property
    def offset(self) -> int:
        """What the source says minus what the capture says."""
        return self.value - self.time_ns


class Reason(NamedTuple):
    """One sentence on the clock, with its frames."""

    says: str
    frames: tuple[int, ...]


class Clock(NamedTuple):
    """anchored, unanchored or contradicted; and the latest of the signed lower bounds."""

    status: str = "unanchored"
    reasons: tuple[Reason, ...] = ()
    not_before: int | None = None

    @property
    def contradicted(self) -> bool:
        """May no judgement rest on it?"""
        return self.status == "contradicted"


@dataclass
class Points:
    """Points as they come, the first of each source and kind; bounded."""

    by_source: dict[tuple[str, str], Point] = field(default_factory=dict)

    def add(self, point: Point) -> None:
        """Keep it, if its source is new."""
        if len(self.by_source) < MAX_POINTS and point.time_ns:
            self.by_source.setdefault((point.what, point.source), point)


def ntp_time(payload: bytes) -> int | None:
    """The transmit timestamp of an NTP server's answer (RFC 5905 section 7.3); None for anything else."""
    if len(payload) < 48 or payload[0] & 7 not in (4, 5) or not 0 < payload[1] < 16:
        return None
    seconds = int.from_bytes(payload[40:44], "big")
    return (seconds - NTP_EPOCH) * SECOND_NS if seconds > NTP_EPOCH else None


def http_date(payload: bytes) -> int | None:
    """The Date of an HTTP/1 response that begins here (RFC 9110 section 6.6.1); None where there is none."""
    if not payload.startswith(b"HTTP/1."):
        return None
    from email.utils import parsedate_to_datetime

    head = payload[:8_192].split(b"\r\n\r\n", 1)[0]
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"date":
            try:
                moment = parsedate_to_datetime(value.decode("ascii").strip())
                return int(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()) * SECOND_NS
            except (ValueError, TypeError, OverflowError):
                return None
    return None


def judge_clock(bounds: Iterable[Bound], points: Points) -> Clock:
    """What the capture shows of its own clock; deterministic in the order of frames."""
    signed = sorted((bound for bound in bounds if bound.time_ns), key=lambda bound: bound.frame)
    told = sorted(points.by_source.values(), key=lambda point: point.frame)
    lowest = max((bound.value for bound in signed), default=None)
    against = _against(signed, told)
    if against:
        return Clock("contradicted", against, lowest)
    return Clock("anchored" if (found := _for(signed, told)) else "unanchored", found, lowest)


def _against(signed: list[Bound], told: list[Point]) -> tuple[Reason, ...]:
    later = [bound for bound in signed if bound.value > bound.time_ns + DAY_NS]
    if not any(bound.stamped for bound in later) and len({bound.what for bound in later}) < LEAVES_AGAINST:
        later = []
    found = []
    for bound in later[:4]:
        made = "was made on" if bound.stamped else "is valid from"
        says = f"{bound.what} {made} {_day(bound.value)}, after the capture's {_day(bound.time_ns)}"
        found.append(Reason(says, (bound.frame,)))
    far = [point for point in told if abs(point.offset) > DAY_NS and point.what == PROVED]
    best: list[Point] = []
    for middle in far:
        near = [point for point in far if abs(point.offset - middle.offset) <= AGREE_NS]
        if len({point.source for point in near}) > len({point.source for point in best}):
            best = near
    if len({point.source for point in best}) >= SOURCES_AGAINST:
        sources = len({point.source for point in best})
        offset = best[0].offset
        words = f"{abs(offset) // DAY_NS:,} days {'later' if offset > 0 else 'earlier'}"
        frames = tuple(point.frame for point in best[:6])
        found.append(Reason(f"{sources} sources agree on a time {words} than the capture's", frames))
    return tuple(found)


def _for(signed: list[Bound], told: list[Point]) -> tuple[Reason, ...]:
    found = []
    for bound in signed:
        if bound.until is not None and bound.value - DAY_NS <= bound.time_ns <= bound.until + DAY_NS:
            says = f"{bound.what}, fresh from {_day(bound.value)} to {_day(bound.until)}, spans the capture's time"
            found.append(Reason(says, (bound.frame,)))
            break
    near = [point for point in told if abs(point.offset) <= DAY_NS]
    sources = {point.source for point in near}
    if len(sources) >= SOURCES_FOR:
        kinds = ", ".join(sorted({point.what for point in near}))
        frames = tuple(point.frame for point in near[:6])
        found.append(Reason(f"{len(sources)} sources tell the capture's day ({kinds})", frames))
    return tuple(found)


def _day(time_ns: int) -> str:
    try:
        return datetime.fromtimestamp(time_ns // SECOND_NS, UTC).strftime("%Y-%m-%d")
    except (OverflowError, ValueError, OSError):
        return "a day out of range"
