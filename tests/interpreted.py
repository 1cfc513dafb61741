"""Run kzpcap with every module interpreted: the compiled ones are loaded from their .py files."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "kzpcap"
COMPILED = {f"kzpcap.capture.{name}": PACKAGE / "capture" / f"{name}.py" for name in ("container", "decode", "scan")}


class SourceFirst:
    """Finds the .py file where the usual finder would take the extension module beside it."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name not in COMPILED:
            return None
        loader = importlib.machinery.SourceFileLoader(name, str(COMPILED[name]))
        return importlib.util.spec_from_file_location(name, COMPILED[name], loader=loader)


def install() -> None:
    sys.meta_path.insert(0, SourceFirst)


if __name__ == "__main__":
    sys.path.insert(0, str(PACKAGE.parent))
    install()
    from kzpcap.cli import main

    main()
