"""What settles that a certificate was re-signed, and what only fits it: each condition by itself."""

from __future__ import annotations

import pytest

from kzpcap.certificates.resigned import DAY, HOUR, LONG_SERIAL, MAX_SHIFT, NEAR_SERIAL, Comparison, compare
from tests.test_overstated import lawful

COPY = Comparison(
    same_subject=True, same_names=True, same_key=False, same_issuer=False, shift=-6 * HOUR, whole_hours=False,
    whole_minutes=False, midnight=False, serial_difference=None, dropped=(), added=(), changed_criticality=(),
    keys=("RSA-2048", "RSA-2048"), exponents=(3, 65537), stripped=False,
)  # fmt: skip


@pytest.mark.parametrize(
    ("change", "seen", "copy"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"same_subject": False}, True, False),
        ({"same_names": False}, True, False),
        ({"same_key": True}, True, False),
        ({"same_issuer": True}, True, True),
        ({"shift": None}, True, False),
        ({"shift": HOUR + 1}, True, False),
        ({"shift": MAX_SHIFT}, True, True),
        ({"shift": -MAX_SHIFT - HOUR}, True, False),
        ({"whole_minutes": True}, True, False),
        ({"shift": None, "serial_difference": 1 - NEAR_SERIAL}, True, True),
        ({"shift": None, "serial_difference": NEAR_SERIAL}, True, False),
        ({"serial_difference": 5}, False, False),
        ({"serial_difference": 5, "stripped": True}, False, True),
        ({"serial_difference": 5, "stripped": True, "same_issuer": True}, False, False),
    ],
)
def test_what_settles_a_copy(change, seen, copy):
    """A false one accuses an honest second certificate of a site."""
    assert COPY._replace(**change).is_copy(seen) is copy


@pytest.mark.parametrize(
    ("change", "seen", "fits"),
    [
        ({}, False, True),
        ({"same_names": False}, False, False),
        ({"same_key": True}, False, False),
        ({"same_issuer": True}, False, False),
        ({"shift": None}, False, False),
        ({"shift": None, "serial_difference": 5}, False, True),
        ({"shift": HOUR + 1}, False, False),
        ({"shift": 2 * DAY}, False, True),
        ({"shift": 2 * DAY, "whole_hours": True}, False, False),
        ({"shift": DAY, "whole_hours": True}, False, False),
        ({"shift": DAY - HOUR, "whole_hours": True}, False, True),
        ({"whole_hours": True, "midnight": True}, False, False),
        ({"whole_hours": True, "midnight": True}, True, True),
    ],
)
def test_what_fits_a_copy(change, seen, fits):
    """Dates of a timetable are shared by honest certificates: those of one midnight, and those of days apart."""
    assert bool(COPY._replace(**change).resembles(seen)) is fits


def test_what_is_compared():
    """Without a subject, with other names or addresses, or by short serials, nothing was copied."""
    leaf, _ = lawful("www.facebook.com")
    other = leaf._replace(spki_sha256="another", serial=leaf.serial[:-1] + ("0" if leaf.serial[-1] != "0" else "1"))
    assert compare(other, leaf).same_subject
    assert compare(other, leaf).same_names
    assert not compare(other._replace(subject_der=b""), leaf._replace(subject_der=b"")).same_subject
    assert not compare(other._replace(subject_der=b"x"), leaf).same_subject
    assert not compare(other._replace(dns_names=("www.facebook.com", "x.example")), leaf).same_names
    assert not compare(other._replace(ip_addresses=("192.0.2.1",)), leaf).same_names
    long, short = "a" * LONG_SERIAL, "a" * (LONG_SERIAL - 1)
    assert compare(other._replace(serial=long), leaf._replace(serial=long)).serial_difference == 0
    assert compare(other._replace(serial=short), leaf._replace(serial=short)).serial_difference is None
    assert compare(other._replace(serial=long + "a"), leaf._replace(serial=long)).serial_difference is None
