"""Every distinct chain of the corpus, judged by OpenSSL with the bundle of its day: the same ones are public."""

from __future__ import annotations

import os
import re
import shutil
import ssl
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from kzpcap import analyze, reference
from kzpcap.certificates.public_trust import PublicTrust
from kzpcap.errors import CaptureError
from tests.conftest import corpus_files

REFERENCE = reference.load()
TRUST = PublicTrust(REFERENCE.folder / "public_trust")
DATES = ("certificate has expired", "certificate is not yet valid")


def pem(certificates):
    return "".join(ssl.DER_cert_to_PEM_cert(certificate.der) for certificate in certificates)


def verify(job):
    """(ours, what OpenSSL says) of one chain."""
    folder, bundle, chain, others, facts, seconds = job
    leaf, rest = folder / "leaf.pem", folder / "rest.pem"
    folder.mkdir()
    leaf.write_text(pem(chain[:1]))
    rest.write_text(pem([*chain[1:], *REFERENCE.intermediates, *others]))
    command = ["openssl", "verify", "-auth_level", "0", "-no-CApath", "-no-CAstore", "-purpose", "sslserver"]
    command += ["-CAfile", str(bundle), "-untrusted", str(rest), "-attime", str(seconds), str(leaf)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = re.search(r"depth lookup: (.*)", done.stdout + done.stderr)
    dates = facts.within_dates(seconds * 1_000_000_000)
    ours = "public" if facts.trusted and dates == "valid" else dates if facts.trusted else "not public"
    return ours, "public" if done.returncode == 0 else said[1] if said else "unreadable"


def jobs(tmp_path):
    """Every distinct chain that is whole, with the bundle of its day and the CAs of its capture."""
    bundles, seen, found = {}, set(), []
    for path in corpus_files():
        try:
            report = analyze(str(path), REFERENCE, want_digest=False)
        except CaptureError:
            continue
        certificates = report.surroundings.certificates
        for connection in report.connections():
            observation = connection.observation
            if not observation.chain_complete or observation.chain in seen or not observation.time_ns:
                continue
            facts = report.surroundings.chain_facts(observation)
            if report.surroundings.clock.contradicted or facts is None:
                continue
            seen.add(observation.chain)
            release = TRUST.release_at(observation.time_ns)
            if release not in bundles:
                listed = [any(a <= release <= b for a, b in root["in"]) for root in TRUST.roots]
                bundles[release] = tmp_path / f"{release}.pem"
                bundles[release].write_text(pem(TRUST._root(n) for n, there in enumerate(listed) if there))
            chain = [certificates[name] for name in observation.chain]
            others = [certificate for certificate in certificates.values() if certificate.is_ca]
            folder = tmp_path / str(len(found))
            found.append((folder, bundles[release], chain, others, facts, observation.time_ns // 1_000_000_000))
        report.close()
    return found


def test_openssl_finds_the_same_chains_public(tmp_path):
    if shutil.which("openssl") is None:
        if os.environ.get("CI"):
            pytest.fail("openssl is not installed, and in CI every witness must be")
        pytest.skip("openssl is not installed (Debian: apt install openssl)")
    with ThreadPoolExecutor(4) as pool:
        outcomes = Counter(pool.map(verify, jobs(tmp_path)))
    print(dict(outcomes))
    assert sum(outcomes.values()) > 200
    for (ours, theirs), _ in outcomes.items():
        if ours == "public" or theirs == "public":
            assert ours == theirs
        elif ours in ("expired", "not_yet"):
            assert theirs in DATES
        else:
            assert ours == "not public"
            assert theirs not in DATES
