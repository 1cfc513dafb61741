"""The guide: the same chapters in three languages, within the width, and right about this very tool."""

from __future__ import annotations

import re

import pytest

from kzpcap.guide import LANGUAGES, PLATFORMS, guide
from tests.conftest import run


def commands(text):
    return re.findall(r"^ +((?:curl|sudo tcpdump|tcpdump|traceroute|kzpcap) .*?)(?: +\(.*)?$", text, re.MULTILINE)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_the_same_chapters_and_commands(language):
    text, english = guide(language), guide("en")
    assert text.count("\n## ") == english.count("\n## ") == 9
    assert commands(text) == commands(english) != []
    assert [line[:2] for line in text.splitlines() if re.match(r"\d\. ", line)] == ["1.", "2.", "3.", "4.", "5.", "6."]
    for platform in PLATFORMS:
        assert f"\n## {platform}\n" in text.lower()
    assert max(map(len, text.splitlines())) <= 80
    warned = text.split("\n## ")[-1]
    assert warned.count("\n- ") == english.split("\n## ")[-1].count("\n- ") == 5


@pytest.mark.parametrize("language", LANGUAGES)
def test_one_system_alone(language):
    text = guide(language, "android")
    assert "PCAPdroid" in text
    assert "Npcap" not in text
    assert text.count("\n## ") == 5


def test_the_control_it_names_may_keep_its_name():
    from kzpcap import reference

    named = re.findall(r"https://(www\.wikipedia\.org)", guide("en"))
    assert named
    assert set(named) <= reference.load().harmless_controls


def test_the_command():
    done = run("guide", "linux", "--lang", "ru")
    assert done.returncode == 0
    assert done.stdout.decode() == guide("ru", "linux")
    assert run("guide", "amiga").returncode == 2
    assert run("guide", "--lang", "xx").returncode == 2
    for option in ("scrub", "guide"):
        assert option in run("--help").stdout.decode()
