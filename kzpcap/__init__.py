"""kzpcap tells HTTPS interception from everything that only looks like it, in packet captures."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Report", "State", "Verdict", "__version__", "analyze"]

if TYPE_CHECKING:
    from kzpcap.analysis import Report, analyze
    from kzpcap.verdict.judge import Verdict
    from kzpcap.verdict.rules import State

_HOMES = {
    "Report": "kzpcap.analysis",
    "analyze": "kzpcap.analysis",
    "Verdict": "kzpcap.verdict.judge",
    "State": "kzpcap.verdict.rules",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
