"""Signed certificate timestamps: verified with the shipped logs, by real certificates, and parsed from any bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kzpcap import reference
from kzpcap.certificates import transparency
from kzpcap.certificates.certificate import parse
from kzpcap.reference import DATA, read_pem

REFERENCE = reference.load()


def test_timestamps_of_the_genuine_leaf_are_verified_and_none_is_in_the_forged_one():
    leaf = parse(read_pem(DATA / "specimens" / "rcku.kz_genuine_leaf_thawte.pem")[0])
    issuer = parse(read_pem(DATA / "intermediates" / "thawte_ev_rsa_ca_2018.pem")[0])
    logs = REFERENCE.ct_logs
    found = transparency.check(transparency.embedded(leaf), leaf, issuer, transparency.PRECERTIFICATE, logs)
    assert [(one.log, one.verified) for one in found] == [
        ("Google 'Pilot' log", True),
        ("DigiCert Log Server", True),
        ("DigiCert Log Server 2", True),
    ]
    other = transparency.check(transparency.embedded(leaf), leaf, leaf, transparency.PRECERTIFICATE, logs)
    assert [one.verified for one in other] == [False] * 3
    unknown = transparency.check(transparency.embedded(leaf), leaf, issuer, transparency.PRECERTIFICATE, {})
    assert [(one.log, one.verified) for one in unknown] == [(None, None)] * 3
    assert transparency.embedded(parse(read_pem(DATA / "specimens" / "kz2019_injected_leaf_rcku.kz.pem")[0])) == ()


@given(st.binary(max_size=300))
def test_any_bytes_as_timestamps(raw):
    assert len(transparency.timestamps(raw)) <= transparency.MAX_TIMESTAMPS
    assert len(transparency.timestamps(len(raw).to_bytes(2, "big") + raw)) <= transparency.MAX_TIMESTAMPS
