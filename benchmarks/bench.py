"""kzpcap beside other tools on one capture: CPU, wall time, memory, and each tool's ratio to ssldump round by round.

`make bench` builds the capture (about 1 GB) and prints a table in Markdown, then the share of each stage of kzpcap.
Every tool runs once a round, one after the other, as a process of its own; the medians are told. Times depend on the
machine; the ratios are the result. What is not installed is named, with its package. `--sizes 100 1000 10000` prints
kzpcap's peak memory on captures of so many megabytes instead; `--cores 16`, how much faster a folder of so many
captures is judged by a worker on each core than by one.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

BASE = "ssldump"
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
"""As a user has it: Python keeps what it compiled, and buffers what it prints."""
INTERPRETED = str(Path(__file__).parent.parent / "tests" / "interpreted.py")
DPKT = """
import sys, dpkt
with open(sys.argv[1], "rb") as file:
    for _, raw in dpkt.pcap.Reader(file):
        dpkt.ethernet.Ethernet(raw)
"""
NFSTREAM = """
import sys, nfstream
for flow in nfstream.NFStreamer(source=sys.argv[1]):
    flow.requested_server_name
"""


@dataclass
class Tool:
    """One contestant; `module` where it is a Python package, else `command[0]` must be on the path."""

    name: str
    does: str
    package: str
    command: list[str]
    module: str = ""
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)

    @property
    def there(self) -> bool:
        if self.module:
            return importlib.util.find_spec(self.module) is not None
        return shutil.which(self.command[0]) is not None


def tools(path: str) -> list[Tool]:
    python = sys.executable
    return [
        Tool("cat", "reads the bytes", "coreutils", ["cat", path]),
        Tool("capinfos -c", "walks the record headers", "wireshark-common", ["capinfos", "-c", path]),
        Tool("tcpdump", "a SYN filter", "tcpdump", ["tcpdump", "-n", "-r", path, "tcp[13] & 2 != 0"]),
        Tool("ssldump", "handshakes and JA3 as JSON", "ssldump", ["ssldump", "-jn", "-r", path]),
        Tool("ndpiReader", "flow classification", "libndpi-bin", ["ndpiReader", "-q", "-i", path]),
        Tool("nfstream", "flows, SNI", "nfstream (PyPI)", [python, "-c", NFSTREAM, path], "nfstream"),
        Tool("dpkt", "Ethernet decoding only", "dpkt (PyPI)", [python, "-c", DPKT, path], "dpkt"),
        Tool(
            "tshark",
            "SNI of each ClientHello",
            "tshark",
            ["tshark", "-n", "-r", path, "-Y", "tls.handshake.type==1", "-T", "fields", "-e",
             "tls.handshake.extensions_server_name"],
        ),
        Tool("kzpcap", "everything, without the file's SHA-256", "", [python, "-m", "kzpcap", "analyze", "--json",
                                                                     "--no-digest", path], "kzpcap"),
        Tool("kzpcap with SHA-256", "everything", "", [python, "-m", "kzpcap", "analyze", "--json", path], "kzpcap"),
        Tool("kzpcap, not compiled", "everything, without the file's SHA-256", "",
             [python, INTERPRETED, "analyze", "--json", "--no-digest", path], "kzpcap"),
    ]  # fmt: skip


def run(tool: Tool) -> None:
    """One round of one tool."""
    started = time.perf_counter()
    with Path(os.devnull).open("w") as nowhere:
        process = subprocess.Popen(tool.command, stdout=nowhere, stderr=nowhere, env=ENVIRONMENT)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    tool.wall.append(time.perf_counter() - started)
    tool.cpu.append(used.ru_utime + used.ru_stime)
    tool.memory.append(used.ru_maxrss)


def table(found: list[Tool]) -> str:
    """Markdown; the ratio is the median of the ratios round by round."""
    floor = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 5 // 4  # a child is counted with what this process had
    base = next((tool for tool in found if tool.name == BASE and tool.cpu), None)
    lines = [
        f"| tool | what it does there | CPU seconds | of {BASE} | wall seconds | MB |",
        "|---|---|---|---|---|---|",
    ]
    for tool in found:
        if not tool.cpu:
            lines.append(f"| {tool.name} | {tool.does} | not installed: {tool.package} | | | |")
            continue
        ratio = ""
        if base:
            pairs = zip(tool.cpu, base.cpu, strict=True)
            ratio = f"{statistics.median(ours / theirs for ours, theirs in pairs):.2f}"
        cpu, wall = statistics.median(tool.cpu), statistics.median(tool.wall)
        memory = f"{max(tool.memory) // 1024}" if max(tool.memory) > floor else f"< {floor // 1024}"
        lines.append(f"| {tool.name} | {tool.does} | {cpu:.2f} | {ratio} | {wall:.2f} | {memory} |")
    return "\n".join(lines)


STAGES = """
import gc, io, json, sys, time
from kzpcap.analysis import Reading, analyze
from kzpcap.capture.container import open_records
from kzpcap.capture.health import Notes
from kzpcap.capture.scan import Scanner
from kzpcap.capture.source import open_source
from kzpcap.observer import Observer
from kzpcap.reference import load
from kzpcap.report.json import write

gc.set_threshold(1_000_000)  # as the command line does
path, upto = sys.argv[1], sys.argv[2]
started = time.process_time()
notes = Notes()
if upto == "container":
    records = open_records(open_source(path, notes, False).raw, notes)
    while records.advance():
        pass
elif upto == "scan":
    scanner = Scanner(open_records(open_source(path, notes, False).raw, notes), notes)
    while not scanner.done:
        scanner.read(65_536)
elif upto in ("handshakes", "observations"):
    observer = Observer(load().target_lists)
    for flow, handshake in Reading(path, False).flows():
        if upto == "observations":
            observer.observe(flow, handshake)
else:
    report = analyze(path, load(), want_digest=False)
    if upto == "report":
        write(report, io.StringIO().write)
print(json.dumps(time.process_time() - started))
"""


def stages(path: str) -> str:
    """CPU of each stage: the pipeline run as far as that stage, less the run before it."""
    lines = ["| stage | CPU seconds | share |", "|---|---|---|"]
    names = {
        "container": "walk the records",
        "scan": "decode, flows, choose packets",
        "handshakes": "reassembly and TLS",
        "observations": "observations, certificates parsed",
        "judged": "spill, indexes, ladders, signatures",
        "report": "rules and JSON",
    }
    spent = []
    for stage in names:
        command = [sys.executable, "-c", STAGES, path, stage]
        spent.append(
            statistics.median(float(subprocess.check_output(command, text=True, env=ENVIRONMENT)) for _ in range(3))
        )
    for (_, words), before, after in zip(names.items(), [0.0, *spent], spent, strict=False):
        lines.append(f"| {words} | {max(0.0, after - before):.2f} | {max(0.0, after - before) / spent[-1]:.0%} |")
    return "\n".join(lines)


def build(megabytes: int, chains: int) -> tuple[Path, str]:
    """A capture, and what is in it in words."""
    path = Path("build") / "bench" / f"traffic-{megabytes}-{chains}.pcap"
    path.parent.mkdir(parents=True, exist_ok=True)
    script = Path(__file__).with_name("traffic.py")
    command = [sys.executable, str(script), str(path), "--megabytes", str(megabytes), "--chains", str(chains)]
    return path, subprocess.check_output(command, text=True).split(": ", 1)[1].strip()


def compete(contestants: list[Tool], rounds: int) -> None:
    """Let every tool that is there run once a round."""
    for _ in range(rounds):
        for tool in contestants:
            if tool.there:
                run(tool)


def many_chains(megabytes: int, chains: int, rounds: int) -> str:
    """The row of kzpcap on a capture in which nearly every chain is another."""
    path, _ = build(megabytes, chains)
    some = {tool.name: tool for tool in tools(str(path)) if tool.name in (BASE, "kzpcap")}
    compete(list(some.values()), rounds)
    path.unlink()
    some["kzpcap"].does = f"the same, with {chains:,} distinct chains"
    return table(list(some.values())).splitlines()[-1]


def sizes(wanted: list[int]) -> None:
    """Peak memory by size of capture."""
    print("| MB of capture | TLS connections | CPU seconds | peak MB |\n|---|---|---|---|")
    for megabytes in wanted:
        path, words = build(megabytes, 500)
        tool = next(tool for tool in tools(str(path)) if tool.name == "kzpcap")
        run(tool)
        path.unlink()
        connections = words.split(" packets, ")[1].split()[0]
        print(f"| {megabytes:,} | {connections} | {tool.cpu[0]:.2f} | {tool.memory[0] // 1024} |", flush=True)


def cores(files: int, megabytes: int, chains: int, rounds: int) -> None:
    """`kzpcap batch` over a folder of captures with one worker and with one for each core, in turn."""
    path, _ = build(megabytes, chains)
    folder, case = path.parent / "folder", path.parent / "case"
    folder.mkdir(exist_ok=True)
    for number in range(files):
        with Path(shutil.copy(path, folder / f"{number}.pcap")).open("r+b") as file:
            file.seek(24 + 16 + 6)  # the first sender's Ethernet address: no two have one digest
            file.write(bytes([2, 0, 0, 0, 0, number]))
    workers = {1: [], os.cpu_count() or 1: []}
    loops = []
    for _ in range(rounds):
        for jobs, taken in workers.items():
            shutil.rmtree(case, ignore_errors=True)
            command = [sys.executable, "-m", "kzpcap", "batch", str(folder), "--case", str(case), "--jobs", str(jobs)]
            taken.append(elapsed([command]))
        loop = [sys.executable, "-c", "sum(n * n for n in range(10_000_000))"]
        loops.append(elapsed([loop]) * max(workers) / elapsed([loop] * max(workers)))
    for each in (folder, case):
        shutil.rmtree(each)
    path.unlink()
    print("| workers | seconds | rate |\n|---|---|---|")
    for jobs, taken in workers.items():
        rate = statistics.median(one / other for one, other in zip(workers[1], taken, strict=True))
        print(f"| {jobs} | {statistics.median(taken):.1f} | {rate:.2f} |")
    print(f"\n{files} captures of {megabytes} MB. Plain Python loops, as many as cores: {statistics.median(loops):.2f}")


def elapsed(commands: list[list[str]]) -> float:
    """Wall seconds of commands side by side; SystemExit where one fails."""
    started = time.perf_counter()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    running = [subprocess.Popen(command, env=ENVIRONMENT, **quiet) for command in commands]
    if any(process.wait() for process in running):
        raise SystemExit(f"failed: {commands[0]}")
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1_000)
    parser.add_argument("--chains", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", metavar="MEGABYTES")
    parser.add_argument("--cores", type=int, metavar="FILES")
    options = parser.parse_args()
    if options.sizes:
        sizes(options.sizes)
        return
    if options.cores:
        cores(options.cores, options.megabytes, options.chains, options.rounds)
        return
    path, counted = build(options.megabytes, options.chains)
    print(f"{counted}, {options.chains} distinct chains; {options.rounds} rounds, medians\n", flush=True)
    contestants = tools(str(path))
    compete(contestants, options.rounds)
    print(table(contestants), flush=True)
    print(many_chains(options.megabytes, options.chains * 9, options.rounds) + "\n", flush=True)
    print(stages(str(path)))
    path.unlink()


if __name__ == "__main__":
    main()
