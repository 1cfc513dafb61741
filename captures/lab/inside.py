"""The laboratory itself, run inside its namespaces by `__main__`: set one scene, give one capture's folder as a tar.

python -m lab.inside NAME    (the tar on standard output)
"""

from __future__ import annotations

import inspect
import io
import json
import os
import platform
import ssl
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path

from lab import journal
from lab.network import WORK, run
from lab.recipes import RECIPES
from lab.scene import Scene
from lab.truth import truth

VERSIONS = {
    "tcpdump": ["tcpdump", "--version"],
    "dumpcap": ["dumpcap", "--version"],
    "curl": ["curl", "--version"],
    "s_client": ["openssl", "version"],
    "chromium": ["chromium", "--version", "--no-sandbox"],
    "mitmproxy": ["mitmdump", "--version"],
    "sslsplit": ["sslsplit", "-V"],
    "squid": ["squid", "-v"],
}


def versions(used: set[str]) -> dict[str, str]:
    found = {"python": f"{platform.python_version()}, {ssl.OPENSSL_VERSION}"}
    for name in sorted(used & set(VERSIONS)):
        done = subprocess.run(VERSIONS[name], capture_output=True, text=True, check=False)
        found[name] = (done.stdout + done.stderr).strip().splitlines()[0].strip()
    return found


def build(name: str) -> dict[str, bytes]:
    """Set the scene and gather the folder's files."""
    recipe = RECIPES[name]
    subject = inspect.cleandoc(inspect.getmodule(recipe).__doc__ or "")  # type: ignore[union-attr]
    scene = Scene()
    try:
        recipe(scene)
    finally:
        scene.network.stop()
        for path in sorted(WORK.glob("*.err")):
            sys.stderr.write(path.read_text())
    broken = [path.name for path in WORK.glob("*.err") if "Traceback" in path.read_text()]
    if broken or any(line["did"] == "failed" for line in journal.read()):
        raise RuntimeError(f"something broke down: {', '.join(broken) or 'a box'}")
    assert scene.capture
    title, _, text = inspect.cleandoc(recipe.__doc__ or "").partition("\n")
    document = truth(scene, title, subject, versions(scene.used))
    count = Counter(known["happened"] for known in document["connections"])
    lacking = {what: least for what, least in scene.must.items() if count[what] < least}
    if lacking:
        raise RuntimeError(f"the recording does not show what it is for: {lacking}, but only {dict(count)}")
    files = {path.name: path.read_bytes() for path in WORK.glob("*.pcap*")} | scene.files
    files["truth.json"] = (json.dumps(document, indent=1) + "\n").encode()
    made = f"Recorded by `make lab NAME={name}` in network namespaces: nothing left the machine, and names and\n"
    made += "addresses are borrowed. Every key was made for this capture alone."
    files["README.md"] = f"# {title}\n\n{text.strip()}\n\n{made}\n".encode()
    return files


def main(name: str) -> None:
    # Whatever is written lies in file systems that end with this process's mount namespace.
    run("mount", "-t", "tmpfs", "-o", "mode=0755", "laboratory", "/run")
    run("mount", "-t", "tmpfs", "-o", "mode=1777", "laboratory", "/dev/shm")
    for path in (WORK, Path("/run/netns"), Path("/run/lock"), WORK / "home"):
        path.mkdir()
    os.environ["HOME"] = os.environ["TMPDIR"] = str(WORK / "home")
    files = build(name)
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as archive:
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))


if __name__ == "__main__":
    main(sys.argv[1])
