"""Many uploads at once: do all arrive whole, how much memory does the service take, does its page still answer?

`python benchmarks/uploads.py --count 100 --megabytes 20` starts a service on the loopback, sends so many captures of
such a size at the same moment, asks for the page meanwhile, waits until each is analysed, and prints what was measured;
exit status 1 where an upload is lost, the service took over 500 MB, or the page took over a second.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import http.client
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.traffic import write
from kzpcap.upload.store import DONE, FAILED, Store

PORT = 8_391
MAX_MEMORY, MAX_WAIT = 500, 1.0
TARGET = Path(__file__).parent.parent / "captures" / "kz-2019-rcku" / "capture.pcapng"
BOUNDARY = "kzpcap-load"


def send(path: Path) -> str:
    """Upload one file as a form, in pieces; gives its receipt."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'.encode()
    tail = f"\r\n--{BOUNDARY}--\r\n".encode()
    link = http.client.HTTPConnection("127.0.0.1", PORT, timeout=600)
    link.putrequest("POST", "/upload")
    link.putheader("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")
    link.putheader("Content-Length", str(len(head) + path.stat().st_size + len(tail)))
    link.endheaders()
    link.send(head)
    with path.open("rb") as file:
        while piece := file.read(1 << 18):
            link.send(piece)
    link.send(tail)
    answer = link.getresponse()
    answer.read()
    link.close()
    if answer.status != 303:
        return f"refused with {answer.status}"
    return (answer.getheader("location") or "").split("/r/")[1].split("?")[0]


def page() -> float:
    """Seconds until the page was there."""
    started = time.perf_counter()
    link = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
    link.request("GET", "/")
    link.getresponse().read()
    link.close()
    return time.perf_counter() - started


def peak(process: subprocess.Popen[bytes]) -> int:
    """The most memory that the service's own process held, in MB."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) // 1024  # type: ignore[index]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--megabytes", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        capture = folder / "capture.pcap"
        write(capture, options.megabytes, 16)
        config = folder / "config.toml"
        config.write_text(f"max_uploads = {options.count + 8}\nmax_analyses = 2\nmin_free = 1\n")
        command = [sys.executable, "-m", "kzpcap", "serve", "--data", str(folder / "data"), "--config", str(config)]
        service = subprocess.Popen([*command, "--listen", f"127.0.0.1:{PORT}"], stdout=subprocess.DEVNULL)
        try:
            return measure(service, folder, capture, options.count)
        finally:
            service.terminate()
            service.wait()


def measure(service: subprocess.Popen[bytes], folder: Path, capture: Path, count: int) -> int:
    for _ in range(200):
        try:
            page()
            break
        except OSError:
            time.sleep(0.05)
    waits: list[float] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            waits.append(page())
            time.sleep(0.1)

    asking = threading.Thread(target=ask)
    asking.start()
    started = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        receipts = list(pool.map(send, [capture] * count))
    arrived = time.perf_counter() - started
    store = Store(folder / "data")
    while store.count("waiting", "analysing", "receiving"):
        time.sleep(0.5)
    took = time.perf_counter() - started
    over.set()
    asking.join()
    found = [store.by_receipt(receipt) for receipt in receipts]
    whole = sum(one is not None and one.size == capture.stat().st_size for one in found)
    ended = sum(one is not None and one.state in (DONE, FAILED) for one in found)
    memory, slowest = peak(service), max(waits)
    print(f"{count} uploads of {capture.stat().st_size / 1e6:.0f} MB: {whole} arrived whole in {arrived:.1f} s")
    print(f"{ended} analysed after {took:.1f} s; left in incoming: {len(list(store.incoming.iterdir()))}")
    print(f"the service took {memory} MB at most; the page {slowest * 1000:.0f} ms at most, asked {len(waits)} times")
    return 0 if whole == ended == count and memory < MAX_MEMORY and slowest < MAX_WAIT else 1


if __name__ == "__main__":
    sys.exit(main())
