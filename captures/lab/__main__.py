"""Record captures of real interception: `python -m lab [--out FOLDER] [NAME...]`, as root, on Linux.

Each capture is made in mount, network, process and IPC namespaces of its own. They end with the one process that
holds them, and everything written meanwhile lies in a file system in memory that ends with them too: nothing is left
behind, however a run ends. A capture's folder is replaced only when it is whole.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from pathlib import Path

import catalogue

from lab.network import PACKAGE, environment
from lab.recipes import NEEDS, RECIPES

PACKAGES = {
    "ip": "iproute2",
    "iptables": "iptables",
    "ethtool": "ethtool",
    "tcpdump": "tcpdump",
    "dumpcap": "wireshark-common",
    "curl": "curl",
    "openssl": "openssl",
    "chromium": "chromium",
    "mitmdump": "mitmproxy",
    "sslsplit": "sslsplit",
    "squid": "squid-openssl",
    "unshare": "util-linux",
}
ALWAYS = ("unshare", "setpriv", "ip", "iptables", "ethtool", "tcpdump", "dumpcap")
NO_NAMESPACES = "this machine does not allow namespaces"
MOST_BYTES, MOST_SECONDS = 300_000, 240


def obstacle() -> str | None:
    """Why nothing can be recorded here at all."""
    if sys.platform != "linux":
        return "the laboratory needs Linux"
    if os.geteuid() != 0:
        return "the laboratory needs root: it makes network namespaces"
    lacking = [PACKAGES.get(command, command) for command in ALWAYS if not shutil.which(command)]
    if lacking:
        return f"not installed: {' '.join(lacking)} (Debian: apt install {' '.join(lacking)})"
    probe = ["unshare", "--mount", "--net", "--pid", "--ipc", "--fork", "--mount-proc", "ip", "link", "set", "lo", "up"]
    if subprocess.run(probe, check=False, stderr=subprocess.DEVNULL).returncode:
        return NO_NAMESPACES
    return None


def record(name: str) -> tuple[dict[str, bytes] | None, str]:
    """Make one capture; its files, or None and what went wrong."""
    command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--net", "--pid", "--ipc", "--fork"]
    command += [
        "--kill-child=KILL",
        "--mount-proc",
        "--propagation",
        "private",
        sys.executable,
        "-m",
        "lab.inside",
        name,
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
    try:
        output, errors = process.communicate(timeout=MOST_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return None, f"took longer than {MOST_SECONDS} s"
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if process.returncode:
        return None, errors.decode(errors="replace")
    with tarfile.open(fileobj=io.BytesIO(output)) as archive:
        files = {entry.name: (archive.extractfile(entry) or io.BytesIO()).read() for entry in archive}
    return files, errors.decode(errors="replace")


def replace(folder: Path, files: dict[str, bytes]) -> None:
    """Put a whole folder in the place of the old one."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".lab-") as made:
        new, old = Path(made) / "new", Path(made) / "old"
        new.mkdir()
        for path, content in files.items():
            (new / path).write_bytes(content)
        # Between the two renames there is no folder: nothing may interrupt there.
        held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            if folder.exists():
                folder.rename(old)
            new.rename(folder)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, held)


def row(files: dict[str, bytes]) -> str:
    """What came of it, for the table."""
    truth = json.loads(files["truth.json"])
    happened = Counter(connection["happened"] for connection in truth["connections"])
    what = ", ".join(f"{count} {kind}" for kind, count in happened.most_common())
    ladders = f", {len(truth['ladders'])} ladder{'s' * (len(truth['ladders']) > 1)}" if truth["ladders"] else ""
    return f"{len(files[truth['capture']]):>8,}  {what}{ladders}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="lab", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="captures to record (all of them, without one)")
    parser.add_argument("--out", type=Path, default=PACKAGE, help="folder for the captures")
    parser.add_argument("--list", action="store_true", help="print the names and end")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in RECIPES]
    if unknown:
        parser.error(f"no such capture: {', '.join(unknown)} (--list names them)")
    if given.list:
        print("\n".join(RECIPES))
        return 0
    why = obstacle()
    if why:
        print(f"lab: {why}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for left in given.out.glob(".lab-*"):  # of a run that was killed while it moved a folder
        shutil.rmtree(left)
    try:
        return record_all(given.names or list(RECIPES), given.out)
    except KeyboardInterrupt:
        print("interrupted; nothing was left behind", file=sys.stderr)
        return 130
    finally:
        if given.out.resolve() == PACKAGE:
            catalogue.write()


def record_all(names: list[str], out: Path) -> int:
    """Record one capture after the other, with a line of the table each; the exit status."""
    failed = 0
    print(f"{'CAPTURE':30} {'TIME':>5} {'BYTES':>8}  CONNECTIONS")
    for name in names:
        lacking = [PACKAGES[command] for command in NEEDS.get(name, ()) if not shutil.which(command)]
        if lacking:
            failed += 1
            print(f"{name:30}     -        -  needs {', '.join(lacking)}")
            continue
        began = time.monotonic()
        files, errors = record(name)
        seconds = f"{time.monotonic() - began:4.0f}s"
        if files is None:
            failed += 1
            print(f"{name:30} {seconds:>5}        -  failed:\n{errors}")
            continue
        too_large = max(len(content) for content in files.values()) > MOST_BYTES
        failed += too_large
        replace(out / name, files)
        print(f"{name:30} {seconds:>5} {row(files)}{'  TOO LARGE' if too_large else ''}", flush=True)
    if failed:
        print(f"{failed} could not be recorded", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
