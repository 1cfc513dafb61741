"""Run kzpcap with every module interpreted: the compiled ones are loaded from their .py files."""

from __future__ import annotations

import contextlib
import importlib.machinery
import importlib.util
import io
import json
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "kzpcap"
MODULES = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["ext-modules"]
COMPILED = {module["name"]: ROOT / module["sources"][0] for module in MODULES}


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


def each(commands: list[list[str]]) -> list[str]:
    """What each command line prints, run one after the other in this process; SystemExit where one fails."""
    from kzpcap.cli import app

    outputs = []
    for arguments in commands:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            status = app(arguments, standalone_mode=False)
        if status:
            raise SystemExit(f"{arguments}: exit status {status}")
        outputs.append(out.getvalue())
    return outputs


if __name__ == "__main__":
    sys.path.insert(0, str(PACKAGE.parent))
    if "--each" in sys.argv:  # the command lines come as JSON; compiled unless --interpreted is given
        if "--interpreted" in sys.argv:
            install()
        print(json.dumps(each(json.load(sys.stdin))))
    else:
        install()
        from kzpcap.__main__ import main

        main()
