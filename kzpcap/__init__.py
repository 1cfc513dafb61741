"""kzpcap tells HTTPS interception from everything that only looks like it, in packet captures."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["CaptureError", "KzpcapError", "Report", "State", "Verdict", "__version__", "analyze", "reference"]

if TYPE_CHECKING:
    from kzpcap import reference
    from kzpcap.analysis import Report, analyze
    from kzpcap.errors import CaptureError, KzpcapError
    from kzpcap.verdict.judge import Verdict
    from kzpcap.verdict.rules import State

_HOMES = {
    "CaptureError": "kzpcap.errors",
    "KzpcapError": "kzpcap.errors",
    "Report": "kzpcap.analysis",
    "analyze": "kzpcap.analysis",
    "Verdict": "kzpcap.verdict.judge",
    "State": "kzpcap.verdict.rules",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "reference":
        return import_module("kzpcap.reference")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
