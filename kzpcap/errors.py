"""What kzpcap raises: KzpcapError > CaptureError > NotACapture, and ReferenceDataError, WitnessMissing, CaseError.

Bad bytes inside a capture are data, not errors: they become notes. An exception means that the work asked for
cannot be done at all, and the command line turns each into one exit status.
"""


class KzpcapError(Exception):
    """The root of every error that kzpcap raises on purpose."""


class CaptureError(KzpcapError):
    """The input cannot be read as a capture at all; `offset` is where that became clear, None where at no byte."""

    def __init__(self, message: str, offset: int | None = None) -> None:
        super().__init__(message)
        self.offset = offset


class NotACapture(CaptureError):
    """Nothing in the input says that it is a capture."""


class SeveralCaptures(CaptureError):
    """An archive of several, where one is asked for."""


class ReferenceDataError(KzpcapError):
    """Reference data (targets, certificates, tables) is missing or malformed."""


class WitnessMissing(KzpcapError):
    """What was asked for needs a program or a package that is not installed: a second reader, DuckDB, age."""


class CaseError(KzpcapError):
    """A folder cannot be used as a case."""
