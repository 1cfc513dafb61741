"""Time-stamps of custody: an authority made with openssl stamps a digest; other answers, and altered ones, are told."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.conftest import CAPTURES, judged, run

pytest.importorskip("rfc3161_client")
OPENSSL = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed (Debian: openssl)")
CONFIG = """\
[req]
distinguished_name = name
prompt = no
[name]
CN = A time-stamp authority
[root]
basicConstraints = critical,CA:true
keyUsage = critical,keyCertSign
subjectKeyIdentifier = hash
[signer]
basicConstraints = critical,CA:false
keyUsage = critical,digitalSignature
extendedKeyUsage = critical,timeStamping
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[tsa]
default_tsa = one
[one]
serial = {folder}/serial
signer_cert = {folder}/signer.pem
signer_key = {folder}/signer.key
default_policy = 1.2.3.4
digests = sha256
signer_digest = sha256
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""


class Authority:
    """A root, a signer below it, and its answers."""

    def __init__(self, folder):
        folder.mkdir()
        self.folder, self.root = folder, folder / "root.pem"
        self.config = folder / "config"
        self.config.write_text(CONFIG.format(folder=folder))
        (folder / "serial").write_text("01\n")
        for name in ("root", "signer"):
            self.openssl("genrsa", "-out", folder / f"{name}.key", "2048")
        request = ("req", "-new", "-config", self.config)
        self.openssl(
            *request, "-x509", "-days", "30", "-key", folder / "root.key", "-extensions", "root", "-out", self.root
        )
        self.openssl(*request, "-subj", "/CN=A signer", "-key", folder / "signer.key", "-out", folder / "signer.csr")
        issuer = ("-CA", self.root, "-CAkey", folder / "root.key", "-CAcreateserial", "-days", "30")
        extensions = ("-extfile", self.config, "-extensions", "signer")
        self.openssl("x509", "-req", "-in", folder / "signer.csr", *issuer, *extensions, "-out", folder / "signer.pem")

    def openssl(self, *arguments):
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)

    def answer(self, request, path):
        self.openssl("ts", "-reply", "-config", self.config, "-queryfile", request, "-out", path)
        return path


@OPENSSL
def test_a_digest_is_stamped_kept_and_checked(tmp_path):
    case = tmp_path / "case"
    head = judged(case, CAPTURES / "kz-2019-rcku").head
    made = run("case", "stamp", str(case), "--request", str(tmp_path / "request.tsq"))
    assert made.returncode == 0, made.stderr.decode()
    assert head in made.stdout.decode()
    authority = Authority(tmp_path / "authority")
    answer = authority.answer(tmp_path / "request.tsq", tmp_path / "answer.tsr")
    (tmp_path / "text").write_text(head)
    authority.openssl("ts", "-verify", "-data", tmp_path / "text", "-in", answer, "-CAfile", authority.root)
    taken = run("case", "stamp", str(case), "--token", str(answer))
    assert taken.returncode == 0, taken.stderr.decode()
    assert head in taken.stdout.decode()
    plain = run("case", "verify", str(case))
    assert plain.returncode == 0
    assert "signature not checked: --tsa" in plain.stdout.decode()
    checked = run("case", "verify", str(case), "--tsa", str(authority.root))
    assert checked.returncode == 0, checked.stdout.decode()
    assert "signature checked" in checked.stdout.decode()
    assert max(map(len, checked.stdout.decode().splitlines())) <= 100  # a run's name and its digest

    other = Authority(tmp_path / "other")
    wrong = run("case", "verify", str(case), "--tsa", str(other.root))
    assert wrong.returncode == 7
    assert "the authority's signature does not hold" in wrong.stdout.decode()

    (stamp,) = (case / "stamps").iterdir()
    stamp.write_bytes(stamp.read_bytes()[:-1] + b"x")
    assert run("case", "verify", str(case)).returncode == 7


@OPENSSL
def test_an_answer_for_something_else_is_not_taken(tmp_path):
    judged(tmp_path / "case", CAPTURES / "kz-2019-rcku")
    judged(tmp_path / "another", CAPTURES / "clean-ladder")
    authority = Authority(tmp_path / "authority")
    run("case", "stamp", str(tmp_path / "another"), "--request", str(tmp_path / "request.tsq"))
    answer = authority.answer(tmp_path / "request.tsq", tmp_path / "answer.tsr")
    for path, says in ((answer, "for no digest of this case"), (tmp_path / "request.tsq", "no answer of a time-stamp")):
        done = run("case", "stamp", str(tmp_path / "case"), "--token", str(path))
        assert done.returncode == 6
        assert says in done.stderr.decode()
    assert not (tmp_path / "case" / "stamps").exists()
    assert run("case", "stamp", str(tmp_path / "case")).returncode == 2
