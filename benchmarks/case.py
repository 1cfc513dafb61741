"""A case of very many small captures: made by this script, judged, and summed up; time, and memory of the parent.

    python benchmarks/case.py --captures 100000 [--jobs 2] [--keep DIR]

Each capture is `captures/kz-2019-rcku` with times and ports of its own, so that no two have one digest.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "captures" / "kz-2019-rcku" / "capture.pcapng"
PER_FOLDER = 1000
STEP = 1_200


def packets() -> list[tuple[float, bytes]]:
    import dpkt

    with SOURCE.open("rb") as file:
        return [(float(stamp), bytes(frame)) for stamp, frame in dpkt.pcapng.Reader(file)]


def write(path: Path, frames: list[tuple[float, bytes]], number: int) -> None:
    """A pcap of these frames, a few seconds later for each number."""
    out = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 1)]
    for stamp, frame in frames:
        moment = stamp + number % STEP
        out.append(struct.pack("<IIII", int(moment), int(moment % 1 * 1e6), len(frame), len(frame)))
        changed = bytearray(frame)
        changed[18:20] = struct.pack(">H", number & 0xFFFF)  # the IP identification
        changed[4:6] = struct.pack(">H", number >> 16)  # of the destination's hardware address
        out.append(bytes(changed))
    path.write_bytes(b"".join(out))


def measured(*command: str) -> tuple[float, float, int]:
    """(wall seconds, CPU seconds of it and its children, peak memory in bytes of the process itself)."""
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen([sys.executable, "-m", "kzpcap", *command], stdout=subprocess.PIPE, cwd=ROOT)
    peak = 0
    while process.poll() is None:
        peak = max(peak, peak_of(process.pid))
        time.sleep(0.05)
    assert process.stdout is not None
    output = process.stdout.read().decode()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        raise SystemExit(f"{command}: exit status {process.returncode}\n{output}")
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - began, spent, peak


def peak_of(pid: int) -> int:
    """VmHWM of a process (Linux)."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captures", type=int, default=10_000)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--keep", type=Path, help="keep captures and case in this folder")
    options = parser.parse_args()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="kzpcap-case-"))
    frames = packets()
    for number in range(options.captures):
        place = folder / "disk" / f"{number // PER_FOLDER:04}"
        if number % PER_FOLDER == 0:
            place.mkdir(parents=True, exist_ok=True)
        write(place / f"{number}.pcap", frames, number)
    case = str(folder / "case")
    print(f"{options.captures:,} captures of {len(frames)} packets, {options.jobs} jobs")
    print(f"{'':<26}{'wall s':>9}{'CPU s':>9}{'captures/s':>12}{'parent MB':>11}")
    for title, command in (
        ("batch", ("batch", str(folder / "disk"), "--case", case, "--jobs", str(options.jobs))),
        ("batch again", ("batch", str(folder / "disk"), "--case", case, "--jobs", str(options.jobs))),
        ("case summary", ("case", "summary", case)),
        ("case verify", ("case", "verify", case)),
    ):
        wall, spent, peak = measured(*command)
        print(f"{title:<26}{wall:>9.1f}{spent:>9.1f}{options.captures / wall:>12,.0f}{peak / 1e6:>11.0f}", flush=True)
    if not options.keep:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
