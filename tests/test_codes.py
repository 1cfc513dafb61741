"""The constants of C beside the Python ones: the same names, the same numbers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kzpcap.capture import codes, limits


@pytest.mark.parametrize("module", [codes, limits], ids=["codes", "limits"])
def test_the_c_form_says_what_the_python_form_says(module):
    _, _, body = Path(module.__file__).with_suffix(".pxd").read_text().partition("cdef enum:")
    declared = {}
    following = 0
    for name, value in re.findall(r"(\w+)(?: = (\d+))?(?:,|\n)", body):
        declared[name] = int(value) if value else following
        following = declared[name] + 1
    assert declared == {name: value for name, value in vars(module).items() if name.isupper()}
