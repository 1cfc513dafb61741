"""Each of the seventeen published certificates, shown as a server's in a built handshake: nobody is wrongly accused."""

from __future__ import annotations

import random
import sys

import pytest

from kzpcap import analyze, reference
from kzpcap.reference import DATA, read_pem
from tests.conftest import CAPTURES

sys.path.insert(0, str(CAPTURES))
from recipes.packets import JULY_2019, Capture, Connection
from recipes.tls import rsa_handshake

SELF_SIGNED = ("undetermined", "self-signed", None)
NATIONAL = ("undetermined", "signed-by-national-ca", None)
EXPECTED = {
    "cn2020_github_mitm_leaf.pem": ("suspected", "shows-known-interception-leaf", "unknown"),
    "kz2016_root_Qaznet_Trust_Network.pem": SELF_SIGNED,
    "kz2019_injected_leaf_rcku.kz.pem": (
        "intercepted",
        "signed-by-known-interception-ca",
        "known_generation:kz-2019-qaznet",
    ),
    "kz2019_intermediate_Security_Certificate.pem": ("undetermined", "private-root", None),
    "kz2021_root_ISCA_NurSultan_0230a604.pem": SELF_SIGNED,
    "rcku.kz_genuine_leaf_thawte.pem": ("genuine", "publicly-trusted", None),
    "ru2022_root_Russian_Trusted_Root_CA.pem": NATIONAL,
    "ru2022_sub_Russian_Trusted_Sub_CA.pem": NATIONAL,
    "thawte_ev_rsa_ca_2018.pem": ("undetermined", "other-name", None),
}
PATHS = sorted(
    path for folder in ("interception_cas", "specimens", "intermediates") for path in (DATA / folder).glob("*.pem")
)


def test_there_are_seventeen():
    assert len(PATHS) == 17


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_alone_in_a_handshake(path, tmp_path):
    capture = Capture(JULY_2019)
    rsa_handshake(Connection(capture, 50_001), "rcku.kz", read_pem(path), random.Random(1))
    capture.write(tmp_path / "capture.pcapng")
    report = analyze(str(tmp_path / "capture.pcapng"), reference.load())
    (connection,) = report.connections()
    report.close()
    verdict = connection.verdict
    identity = verdict.interceptor.identity if verdict.interceptor else None
    assert (verdict.state, verdict.rule.id, identity) == EXPECTED.get(path.name, SELF_SIGNED)
