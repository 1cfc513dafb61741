"""What the pages say, in English, Russian and Kazakh: words/*.toml, every key in every language."""

from __future__ import annotations

import tomllib
from pathlib import Path

NAMES = {"en": "English", "ru": "Русский", "kk": "Қазақша"}
WORDS: dict[str, dict[str, str]] = {
    code: tomllib.loads((Path(__file__).parent / "words" / f"{code}.toml").read_text("utf-8")) for code in NAMES
}
