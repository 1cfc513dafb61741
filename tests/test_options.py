"""TCP options, and what IP IDs and timestamps show of one counter and one clock."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from kzpcap.paths.stack import Options, one_clock, options, shared_clocks, stamps, steps_like_a_counter

SYN_OPTIONS = bytes.fromhex("020405b40402080a000003e80000000001030307")


def test_options_are_read_in_order():
    found = options(SYN_OPTIONS)
    assert found == Options(("mss", "sack", "ts", "nop", "ws"), 1460, 7, (1000, 0))
    assert stamps(bytes.fromhex("0101080a0000000500000006")) == (5, 6)
    assert stamps(b"") is None


@given(st.binary(max_size=60))
def test_hostile_options_are_read_without_harm(raw):
    found = options(raw)
    assert len(found.layout) <= 40
    assert stamps(raw) is None or len(raw) >= 10


@given(st.integers(0, 19))
def test_cut_options_lose_only_their_tail(cut):
    whole, part = options(SYN_OPTIONS), options(SYN_OPTIONS[:cut])
    assert whole.layout[: len(part.layout)] == part.layout


@given(st.integers(0, 0xFFFFFFFF), st.integers(0, 3_600 * 10**9), st.sampled_from([1, 10, 100, 250, 1_000, 1_000_000]))
def test_every_usual_clock_is_one_clock(first, passed, hertz):
    second = (first + passed * hertz // 10**9) & 0xFFFFFFFF
    if passed * hertz // 10**9 < 1 << 31:
        assert one_clock(first, 0, second, passed)


@given(st.integers(0, 65_535), st.integers(1, 100))
def test_a_counter_wraps(first, step):
    assert steps_like_a_counter(first, (first + step) & 0xFFFF)
    assert not steps_like_a_counter(first, (first + step + 200) & 0xFFFF)


def test_chance_is_no_shared_clock():
    rng = random.Random(7)
    answers = [(f"198.51.100.{number % 250}", rng.getrandbits(32), number * 10**8) for number in range(2_000)]
    assert shared_clocks(answers, 3, 10**9) == []
