"""What each server and box did, one line of JSON for each connection: truth is made of these."""

from __future__ import annotations

import fcntl
import json
import time
from pathlib import Path
from typing import Any

JOURNAL = Path("/run/lab/journal.jsonl")


def note(who: str, did: str, client: tuple[str, int], server: tuple[str, int], **more: Any) -> None:
    """Append one line; several processes write."""
    line = {"t": time.time(), "who": who, "did": did, "client": list(client[:2]), "server": list(server[:2]), **more}
    with JOURNAL.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(json.dumps(line) + "\n")


def read() -> list[dict[str, Any]]:
    return [json.loads(line) for line in JOURNAL.read_text().splitlines()] if JOURNAL.exists() else []
