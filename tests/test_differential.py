"""The interpreted and the compiled form give the same output, on our captures, the laboratory's and the corpus."""

from __future__ import annotations

import pytest

from tests.conftest import CAPTURES, corpus_files, is_compiled, lab_files, run


def same(paths):
    names = [str(path) for path in paths]
    compiled = run("handshakes", *names)
    interpreted = run("handshakes", *names, interpreted=True)
    assert compiled.stdout == interpreted.stdout
    assert compiled.stderr == interpreted.stderr
    assert compiled.returncode == interpreted.returncode
    assert compiled.stdout.count(b'"record":"file"') == len(names)


def test_our_captures():
    if not is_compiled():
        pytest.skip("kzpcap is installed without its compiled modules: nothing to compare")
    same(sorted(CAPTURES.glob("*/capture.pcap*")))


def test_laboratory():
    if not is_compiled():
        pytest.skip("kzpcap is installed without its compiled modules: nothing to compare")
    same(lab_files())


def test_corpus():
    if not is_compiled():
        pytest.skip("kzpcap is installed without its compiled modules: nothing to compare")
    same(corpus_files())
