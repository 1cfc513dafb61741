"""kzpcap tells HTTPS interception from everything that only looks like it, in packet captures.

    from kzpcap import analyze, reference

    with analyze("capture.pcapng", reference.load()) as report:
        for connection in report.connections():
            print(connection.observation.server_name, connection.verdict.state)

Everything that it raises on purpose is a KzpcapError.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "CaptureError",
    "Connection",
    "Finding",
    "Interceptor",
    "KzpcapError",
    "Observation",
    "Place",
    "ReferenceDataError",
    "Report",
    "State",
    "Verdict",
    "WitnessMissing",
    "__version__",
    "analyze",
    "reference",
]

if TYPE_CHECKING:
    from kzpcap import reference
    from kzpcap.analysis import Connection, Report, analyze
    from kzpcap.errors import CaptureError, KzpcapError, ReferenceDataError, WitnessMissing
    from kzpcap.observations import Observation
    from kzpcap.verdict.judge import Interceptor, Place, Verdict
    from kzpcap.verdict.logic import Finding
    from kzpcap.verdict.rules import State

_HOMES = {
    "CaptureError": "kzpcap.errors",
    "Connection": "kzpcap.analysis",
    "Finding": "kzpcap.verdict.logic",
    "Interceptor": "kzpcap.verdict.judge",
    "KzpcapError": "kzpcap.errors",
    "Observation": "kzpcap.observations",
    "Place": "kzpcap.verdict.judge",
    "ReferenceDataError": "kzpcap.errors",
    "Report": "kzpcap.analysis",
    "WitnessMissing": "kzpcap.errors",
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


def __dir__() -> list[str]:
    return sorted(__all__)
