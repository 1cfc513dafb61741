"""Distance: packets that this router forwards wait so many milliseconds (the kernel's netem is not everywhere).

python -m lab.delay MILLISECONDS
"""

from __future__ import annotations

import collections
import select
import sys
import time

from lab.nfqueue import ACCEPT, Queue, Queued


def main(seconds: float) -> None:
    queue = Queue(2)
    waiting: collections.deque[tuple[float, Queued]] = collections.deque()
    print("ready", flush=True)
    while True:
        left = max(waiting[0][0] - time.monotonic(), 0) if waiting else None
        if select.select([queue], [], [], left)[0]:
            waiting.extend((time.monotonic() + seconds, packet) for packet in queue.packets())
        while waiting and waiting[0][0] <= time.monotonic():
            queue.verdict(waiting.popleft()[1], ACCEPT)


if __name__ == "__main__":
    main(float(sys.argv[1]) / 1000)
