"""What each server and box did, one line of JSON for each connection: truth is made of these."""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import json
import time
from pathlib import Path
from typing import Any

JOURNAL = Path("/run/lab/journal.jsonl")


def note(who: str, did: str, client: tuple[str, int], server: tuple[str, int], **more: Any) -> None:
    """Append one line; several processes write."""
    ends = {"client": _end(client), "server": _end(server)}
    line = {"t": time.time(), "who": who, "did": did, **ends, **more}
    with JOURNAL.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(json.dumps(line) + "\n")


def _end(end: tuple[str, int]) -> list[Any]:
    """An address in its one spelling, with its port."""
    with contextlib.suppress(ValueError):
        return [str(ipaddress.ip_address(end[0])), end[1]]
    return [end[0], end[1]]


def read() -> list[dict[str, Any]]:
    return [json.loads(line) for line in JOURNAL.read_text().splitlines()] if JOURNAL.exists() else []
