"""What TCP itself shows of who answered: options (RFC 9293 section 3.2), timestamps (RFC 7323), acknowledgements.

Facts of packets only. Every one is weak alone: load balancers, offloading and busy hosts do most of these things too.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from kzpcap.capture import codes
from kzpcap.capture.packet import Packet
from kzpcap.flows import distance

NAMES = {0: "eol", 1: "nop", 2: "mss", 3: "ws", 4: "sack", 5: "sackblocks", 8: "ts", 34: "fastopen", 30: "mptcp"}
ALIGNED_STAMPS = b"\x01\x01\x08\x0a"
"""Two NOPs, then timestamps of ten bytes: how nearly every segment with data carries them (RFC 7323 appendix A)."""
MAX_OPTIONS = 40
MAX_SCALE = 14
"""The widest scale of a window (RFC 7323 section 2.3)."""
COUNTER_STEP = 100
"""Consecutive packets of one stack seldom differ by more in IP ID (SIGCOMM 2023, section 4)."""
FASTEST_HZ = 1_000_000
"""Ticks a second of the fastest timestamp clocks in use (Linux with tcp_usec_ts)."""
SLACK_TICKS = 100_000
CLOCKS_HZ = (1_000, 250, 100)
"""Timestamp clocks that are common enough to look for one machine behind several addresses."""
SAME_CLOCK_NS = 20_000_000


class Options(NamedTuple):
    """The options of one segment: their order by name, and the values that tell stacks apart."""

    layout: tuple[str, ...] = ()
    mss: int | None = None
    scale: int | None = None
    stamps: tuple[int, int] | None = None
    """TSval and TSecr."""


@lru_cache(maxsize=1_024)
def options(raw: bytes) -> Options:
    """Read the options of a segment; what is cut or malformed ends the reading."""
    layout: list[str] = []
    mss = scale = None
    found: tuple[int, int] | None = None
    at = 0
    while at < len(raw) and len(layout) < MAX_OPTIONS:
        kind = raw[at]
        if kind == 0:
            layout.append("eol")
            break
        if kind == 1:
            layout.append("nop")
            at += 1
            continue
        if at + 2 > len(raw) or raw[at + 1] < 2 or at + raw[at + 1] > len(raw):
            break
        body = raw[at + 2 : at + raw[at + 1]]
        layout.append(NAMES.get(kind, str(kind)))
        if kind == 2 and len(body) == 2:
            mss = int.from_bytes(body, "big")
        elif kind == 3 and len(body) == 1:
            scale = body[0]
        elif kind == 8 and len(body) == 8:
            found = int.from_bytes(body[:4], "big"), int.from_bytes(body[4:], "big")
        at += raw[at + 1]
    return Options(tuple(layout), mss, scale, found)


def stamps(raw: bytes) -> tuple[int, int] | None:
    """TSval and TSecr of a segment; None where it carries no timestamps."""
    if raw[:4] == ALIGNED_STAMPS and len(raw) >= 12:
        return int.from_bytes(raw[4:8], "big"), int.from_bytes(raw[8:12], "big")
    return options(raw).stamps if raw else None


@lru_cache(maxsize=4_096)
def signature(window: int, sent: Options) -> str:
    """What a SYN-ACK shows of its stack, as plain values: window, order of options, MSS and window scale."""
    return f"window {window}, options {' '.join(sent.layout) or 'none'}, MSS {sent.mss}, scale {sent.scale}"


def steps_like_a_counter(first: int, second: int, between: int = 0) -> bool:
    """Can two IP IDs follow each other in one counter, with so many packets between, or in a stack that sends zero?"""
    return first == second == 0 or 0 < (second - first) & 0xFFFF <= COUNTER_STEP + between


def one_clock(first: int, first_ns: int, second: int, second_ns: int) -> bool:
    """Can two TSvals be of one clock? It may not run backwards, nor faster than the fastest in use."""
    ticks = distance(second, first)
    passed = max(0, second_ns - first_ns) * FASTEST_HZ // 1_000_000_000
    if passed >= (1 << 31) - 2 * SLACK_TICKS:
        return True  # the fastest clocks may have gone round: nothing can be told
    return -SLACK_TICKS // 10 <= ticks <= passed + passed // 10 + SLACK_TICKS


def shared_clocks(answers: Sequence[tuple[str, int, int]], hosts: int, span_ns: int) -> list[frozenset[int]]:
    """Groups of (host, TSval, time in ns), by position, whose TSvals lie on one line of a usual clock.

    A group takes that many different hosts and that long a time: two hosts meet by chance, many do not.
    """
    found: list[frozenset[int]] = []
    for hertz in CLOCKS_HZ:
        lines = sorted(
            ((value * 1_000_000_000 // hertz - time_ns), number) for number, (_, value, time_ns) in enumerate(answers)
        )
        group: list[int] = []
        last = None
        for offset, number in [*lines, (None, -1)]:
            if offset is not None and (last is None or offset - last <= SAME_CLOCK_NS):
                group.append(number)
            else:
                times = [answers[one][2] for one in group]
                if len({answers[one][0] for one in group}) >= hosts and max(times) - min(times) >= span_ns:
                    found.append(frozenset(group))
                group = [number]
            last = offset
    return found


def ignored_resets(packets: list[Packet]) -> set[int]:
    """Frames of resets outside of the window that their receiver had open: it drops them (RFC 9293 section 3.10.7.4).

    `packets` are those of both directions as they were captured. The receiver may have got less than what was captured
    before, or more than it is seen to acknowledge: only what it drops in either case is told. A window that was scaled
    by a SYN which is not there counts as the widest.
    """
    sent: list[int | None] = [None, None]
    acknowledged: list[int | None] = [None, None]
    windows = [0, 0]
    scales = [MAX_SCALE, MAX_SCALE]
    found: set[int] = set()
    for packet in packets:
        ours, theirs = packet.direction, 1 - packet.direction
        begins, behind = acknowledged[theirs], sent[ours]
        if packet.flags & codes.RST:
            if begins is None:
                continue
            end = begins if behind is None or distance(behind, begins) < 0 else behind
            if distance(packet.seq, begins) < 0 or distance(packet.seq, end) >= max(windows[theirs], 1):
                found.add(packet.frame)
            continue
        other = sent[theirs]
        if packet.flags & codes.ACK and other is not None and distance(packet.ack, other) <= 0:
            before = acknowledged[ours]
            if before is None or distance(packet.ack, before) > 0:
                acknowledged[ours] = packet.ack
        if packet.flags & codes.SYN:
            scales[ours] = min(options(packet.options).scale or 0, MAX_SCALE)
            windows[ours] = max(windows[ours], packet.window)
        else:
            windows[ours] = max(windows[ours], packet.window << scales[ours])
        end = packet.seq + packet.length + bool(packet.flags & codes.SYN) + bool(packet.flags & codes.FIN)
        if behind is None or distance(end, behind) > 0:
            sent[ours] = end & 0xFFFFFFFF
    return found
