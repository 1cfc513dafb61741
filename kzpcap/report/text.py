"""Text from captures is hostile: what goes to a terminal or a page is cleaned here, and nowhere else."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from datetime import UTC, datetime
from functools import lru_cache

WIDTH = 80
HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
UNSEEN = re.compile(
    "[\x7f-\x9f\u2028\u2029\u202a-\u202e\ufff9-\ufffb"
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff"
    "\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""What a terminal may act on, and what a reader cannot see: controls and separators, then Unicode's
Default_Ignorable_Code_Point (DerivedCoreProperties.txt)."""


def decode(raw: bytes) -> str:
    """UTF-8, other bytes as \\xNN."""
    return raw.decode("utf-8", "backslashreplace")


def safe(text: str) -> str:
    """The text with every control, format and bidirectional character made visible."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_visible(char) for char in text)


def _visible(char: str) -> str:
    if unicodedata.category(char) not in HIDDEN and not UNSEEN.match(char):
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65_536 else f"\\U{code:08x}"


FORMULA = frozenset("=+-@\t\r")
FIRST, LAST = -62_135_596_800, 253_402_300_799
"""The first and the last second that RFC 3339 can write: what lies beyond is told as that."""


def cell(value: object) -> object:
    """A value for a table that a spreadsheet opens: text cleaned, and none that it would take for a formula."""
    if not isinstance(value, str):
        return value
    return f"'{safe(value)}" if value[:1] in FORMULA else safe(value)


def rfc3339(time_ns: int) -> str:
    """A time in UTC, with as many digits as it has: seconds, micro- or nanoseconds."""
    seconds, rest = divmod(time_ns, 1_000_000_000)
    text = _to_the_second(seconds)
    if not rest:
        return text + "Z"
    return f"{text}.{rest // 1000:06d}Z" if rest % 1000 == 0 else f"{text}.{rest:09d}Z"


@lru_cache(maxsize=256)
def _to_the_second(seconds: int) -> str:
    return datetime.fromtimestamp(min(max(seconds, FIRST), LAST), UTC).isoformat()[:19]  # strftime pads no year


def day_and_time(time_ns: int) -> str:
    """A time in UTC for reading, to the second."""
    return _to_the_second(time_ns // 1_000_000_000).replace("T", " ")


def wrap(text: str, indent: int, hang: int | None = None) -> str:
    """Fold a sentence into the width."""
    return "\n".join(
        textwrap.wrap(
            text,
            WIDTH,
            initial_indent=" " * indent,
            subsequent_indent=" " * (indent if hang is None else hang),
            break_on_hyphens=False,
        )
    )


def cut(text: str, width: int) -> str:
    """Text in a column, cut with a mark where it is too long."""
    return text if len(text) <= width else text[: width - 1] + "~"
