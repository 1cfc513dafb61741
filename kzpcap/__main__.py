"""The command `kzpcap`, and `python -m kzpcap`."""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import sys

gc.set_threshold(1_000_000)
# Before the imports, in which half of all collections would happen. Neither what they make nor what is made for a
# connection has cycles: looking for them finds nothing, and each time goes through all that was made since, which is
# in no cache any more.
atexit.register(gc.freeze)
# Python looks for cycles once more as it ends, in all that is left: 50 ms to free what the process gives back anyway.

import typer  # noqa: E402

from kzpcap.cli import app  # noqa: E402
from kzpcap.cli_common import EXIT_MISSING, EXIT_NOT_WRITTEN, EXIT_PIPE, told  # noqa: E402


def _leave_out(commands: typer.Typer, words: list[str]) -> None:
    """Leave out the commands that are not asked for: typer reads the annotations of each before it runs one."""
    asked = words[0] if words else ""
    alone = [one for one in commands.registered_commands if (one.name or one.callback.__name__) == asked]  # type: ignore[union-attr]
    groups = [one for one in commands.registered_groups if one.name == asked]
    if alone or groups:
        commands.registered_commands, commands.registered_groups = alone, groups
    for group in groups:
        if group.typer_instance is not None:
            _leave_out(group.typer_instance, words[1:])


def main() -> None:
    """Run, with a quiet end where the reader of a pipe has gone, and a line where there is no room to write."""
    _open_closed()
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    out = sys.stdout
    try:
        try:
            _leave_out(app, sys.argv[1:])
            app()
        except SystemExit as end:
            if end.code == 1 and sys.stdout is not out:  # typer puts another in its place: its reader has gone
                raise BrokenPipeError from None
            out.flush()
            raise
    except ModuleNotFoundError as error:
        if error.name != "fcntl":
            raise
        sys.stderr.write("kzpcap: cases and the service need the file locks of POSIX: Linux or macOS\n")
        raise SystemExit(EXIT_MISSING) from None
    except BrokenPipeError:
        _write_no_more()
        raise SystemExit(EXIT_PIPE) from None
    except OSError as error:
        _write_no_more()
        sys.stderr.write(told("cannot write", error) + "\n")
        raise SystemExit(EXIT_NOT_WRITTEN) from None


def _open_closed() -> None:
    """Open what was closed before the start: no file is to get its number, and no answer to be lost unsaid.

    What goes to stderr goes nowhere; what goes to stdout is not written, with the exit status of that.
    """
    for number, name, how in ((1, "stdout", os.O_RDONLY), (2, "stderr", os.O_WRONLY)):
        if getattr(sys, name) is None:
            with contextlib.suppress(OSError):
                opened = os.open(os.devnull, how)
                if opened != number:
                    os.dup2(opened, number)
                    os.close(opened)
            setattr(sys, name, open(number, "w", closefd=False))  # noqa: SIM115 - for good


def _write_no_more() -> None:
    """Python would try once more as it ends, and complain."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


if __name__ == "__main__":
    main()
