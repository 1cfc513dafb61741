"""The capture's clock: what is signed bounds it, what several sources tell anchors or contradicts it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kzpcap.clock import Bound, Point, Points, http_date, judge_clock, ntp_time
from kzpcap.reference.targets import DAY_NS, day

NOW = day("2019-07-20") + 9 * 3_600_000_000_000


def points(*offsets, kind="NTP"):
    found = Points()
    for number, offset in enumerate(offsets):
        found.add(Point(kind, f"192.0.2.{number}", NOW + offset, NOW, number + 1))
    return found


def test_nothing_confirms_it():
    assert judge_clock((), Points()).status == "unanchored"
    older = Bound("the certificate of x", day("2019-04-25"), NOW, 8)
    found = judge_clock([older], points(5))
    assert (found.status, found.not_before) == ("unanchored", day("2019-04-25"))


def test_what_was_signed_later_contradicts_it():
    found = judge_clock([Bound("an SCT", NOW + 2 * DAY_NS, NOW, 8)], points(0, 0))
    assert found.contradicted
    assert found.reasons[0].says == "an SCT was made on 2019-07-22, after the capture's 2019-07-20"
    assert found.reasons[0].frames == (8,)
    assert not judge_clock([Bound("an SCT", NOW + DAY_NS // 2, NOW, 8)], Points()).contradicted


def test_a_fresh_signed_response_anchors_it():
    staple = Bound("an OCSP response", NOW - 3 * DAY_NS, NOW, 8, NOW + 4 * DAY_NS)
    assert judge_clock([staple], Points()).status == "anchored"
    stale = Bound("an OCSP response", NOW - 30 * DAY_NS, NOW, 8, NOW - 23 * DAY_NS)
    assert judge_clock([stale], Points()).status == "unanchored"


def test_two_sources_of_the_same_day_anchor_it_and_one_does_not():
    assert judge_clock((), points(10, -2_000)).status == "anchored"
    assert judge_clock((), points(10)).status == "unanchored"


def test_three_servers_that_agree_on_another_time_contradict_it():
    """Servers that proved their keys; NTP and HTTP anyone may send, or have cached."""
    year = 365 * DAY_NS
    assert judge_clock((), points(year, year + 5, year + 60_000_000_000, kind="ServerHello")).contradicted
    assert not judge_clock((), points(year, year + 5, year + 60_000_000_000, kind="NTP")).contradicted
    assert not judge_clock((), points(year, year + 5, year + 60_000_000_000, kind="HTTP Date")).contradicted
    assert not judge_clock((), points(year, year + 5, kind="ServerHello")).contradicted
    assert not judge_clock((), points(year, year + DAY_NS, -year, kind="ServerHello")).contradicted


def test_one_source_is_one_however_often_it_speaks():
    found = Points()
    for frame in range(1, 10):
        found.add(Point("ServerHello", "192.0.2.1", NOW, NOW, frame))
    assert judge_clock((), found).status == "unanchored"


def test_random_bytes_in_the_place_of_a_time_show_nothing():
    """Most servers fill gmt_unix_time with random bytes: they agree with nobody."""
    offsets = [(index * 2_654_435_761 % (1 << 32)) * 1_000_000_000 - NOW for index in range(1, 400)]
    assert judge_clock((), points(*offsets, kind="ServerHello")).status in ("unanchored", "anchored")
    assert not judge_clock((), points(*offsets, kind="ServerHello")).contradicted


def test_ntp():
    body = bytearray(48)
    body[0], body[1] = 0x24, 2
    body[40:44] = (NOW // 1_000_000_000 + 2_208_988_800).to_bytes(4, "big")
    assert ntp_time(bytes(body)) == NOW
    body[0] = 0x23  # a client's question
    assert ntp_time(bytes(body)) is None
    assert ntp_time(b"\x24\x02") is None


def test_http_date():
    head = b"HTTP/1.1 200 OK\r\nServer: x\r\nDATE:  Sat, 20 Jul 2019 09:00:00 GMT\r\n\r\nDate: no"
    assert http_date(head) == NOW
    assert http_date(b"HTTP/1.1 200 OK\r\n\r\nDate: Sat, 20 Jul 2019 09:00:00 GMT\r\n") is None
    assert http_date(b"GET / HTTP/1.1\r\nDate: Sat, 20 Jul 2019 09:00:00 GMT\r\n\r\n") is None


@given(st.binary(max_size=200))
def test_any_bytes(raw):
    for told in (ntp_time(raw), ntp_time(b"\x24\x02" + raw), http_date(b"HTTP/1.1 200 OK\r\nDate:" + raw)):
        assert told is None or isinstance(told, int)


def test_one_certificate_that_is_not_yet_valid_contradicts_nothing():
    """notBefore may lie ahead of the making: one post-dated leaf is the server's business, two are the clock's."""
    later = [Bound(f"the certificate of {name}", NOW + 3 * DAY_NS, NOW, 8, stamped=False) for name in "ab"]
    assert not judge_clock(later[:1], Points()).contradicted
    assert judge_clock(later, Points()).contradicted
    assert "is valid from 2019-07-23" in judge_clock(later, Points()).reasons[0].says
