"""JSON as it is written: the fast library says what the standard one does, and what it refuses is still written."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kzpcap.report.json import text
from kzpcap.report.text import UNSEEN, safe

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(-1e12, 1e12).map(lambda value: round(value, 3))
    | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec=None)), inner) | st.tuples(inner),
)


@given(VALUES)
def test_text_is_the_standard_librarys_with_what_cannot_be_seen_escaped(value):
    written = text(value)
    assert json.loads(written) == json.loads(json.dumps(value))
    plain = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    assert written == plain or UNSEEN.search(plain)
    assert not any(sign in written for sign in "\x1b\x7f\x9b\u200b\u202e\u2066\ufeff")


@pytest.mark.parametrize("sign", "\x9b\u00ad\u034f\u115f\u200d\u202e\u2066\u3164\ufe0f\ufeff\uffa0\U000e0041\U000e0100")
def test_nothing_is_hidden_in_a_name(sign):
    name = f"vk{sign}.com"
    assert json.loads(text(name)) == name
    assert text(name).isascii()
    assert safe(name).isascii()
    assert safe(name) != "vk.com"


def test_letters_stay_as_they_are():
    for name in ("қазақстан.қаз", "пример.рф", "例え.jp", "ni\u00f1o.es", "a b"):
        assert text(name) == f'"{name}"'
        assert safe(name) == name


def test_what_the_fast_library_refuses_is_written_by_the_other():
    nested = []
    for _ in range(400):
        nested = [nested]
    assert text({"exponent": 1 << 2048}) == f'{{"exponent":{1 << 2048}}}'
    assert text("\udc80") == '"\udc80"'
    assert text(nested) == "[" * 401 + "]" * 401
