"""The catalogue of this folder, README.md, from the truth of each capture."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent

HEAD = """# The captures, and what is true of each

Each folder holds one capture, its `truth.json` and a README of a few lines; most also hold the trust anchors that its
analysis needs (`root.pem` for `--trusted-root`, `interception.pem` for `--interception-ca`, `keys.log` for `--keylog`).
Read one like this:

    kzpcap analyze --trusted-root captures/lab-kz-take-over/root.pem \\
        --interception-ca captures/lab-kz-take-over/interception.pem captures/lab-kz-take-over/capture.pcap

Two kinds stand here.

- **Recorded** (`lab-*`, but for `lab-interception`): hosts in network namespaces, real TLS stacks, real products or an
  interceptor rebuilt after what is published, routers that count TTLs down, recorded as a volunteer would have.
  `make lab` records them anew (root, Linux), `make lab NAME=lab-kz-take-over` one of them. Truth comes from the
  journals of servers, boxes and clients, and from the topology; never from what kzpcap says. `happened` is what took
  place, `state` the verdicts that *this* capture allows, the best first.
- **Built** (all others): written packet by packet with dpkt, around published certificates or OpenSSL's handshakes.
  `make captures` builds them anew.

Names and addresses of real sites are borrowed, the keys are thrown away: no packet of a real network is in here.

Where to begin: `lab-clean` (nothing on the path), `lab-kz-take-over` and `lab-kz-terminate` (the two builds of an
interceptor, and why only one of them can be placed exactly), `lab-accelerator` (a terminator too, with nobody reading along),
`lab-sslsplit` (a forged certificate that is not the state's), `lab-tls13` (what cannot be seen), `lab-reset-in-path` and
`lab-refusing-server` (a reset by somebody, a refusal by the server), `lab-antivirus-and-box` (two interceptors at once).
"""

BUILT = "Built packet by packet."


def states(truth: dict[str, Any]) -> str:
    """How many connections of each verdict (the best, where several are allowed), and the ladders."""
    best = Counter(
        known["state"][0] if isinstance(known["state"], list) else known["state"] for known in truth["connections"]
    )
    order = ("intercepted", "suspected", "interfered", "genuine", "undetermined")
    text = ", ".join(f"{best[state]} {state}" for state in order if best[state])
    count = len(truth["ladders"])
    return text + (f"; {count} ladder{'s' if count > 1 else ''}" if count else "")


def text() -> str:
    """The whole README."""
    groups: dict[str, list[str]] = {}
    for path in sorted(HERE.glob("*/truth.json")):
        truth = json.loads(path.read_text())
        subject = truth.get("laboratory", {}).get("subject", BUILT)
        name = path.parent.name
        groups.setdefault(subject, []).append(f"| [{name}]({name}/) | {truth['title']} | {states(truth)} |")
    parts = [HEAD]
    for subject in sorted(groups, key=lambda subject: (subject == BUILT, -len(groups[subject]))):
        parts.append(f"## {subject.rstrip('.')}\n\n| capture | what it is | verdicts that it allows |\n|---|---|---|\n")
        parts[-1] += "\n".join(groups[subject]) + "\n"
    return "\n".join(parts)


def write() -> None:
    (HERE / "README.md").write_text(text())


if __name__ == "__main__":
    write()
