"""A link without a link layer between two hosts, as a phone has it: two tun devices, joined by this process.

python -m lab.tunnel HOST INTERFACE OTHER INTERFACE    (host: the name of its namespace)
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import struct
import sys
from pathlib import Path

TUNSETIFF, IFF_TUN, IFF_NO_PI, CLONE_NEWNET = 0x400454CA, 1, 0x1000, 0x40000000


def device(host: str, interface: str) -> int:
    """A tun device in a host's namespace, which this process enters for it."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path(f"/run/netns/{host}").open() as namespace:
        if libc.setns(namespace.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter {host}")
    made = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(made, TUNSETIFF, struct.pack("16sH22x", interface.encode(), IFF_TUN | IFF_NO_PI))
    return made


def main(one: str, first: str, other: str, second: str) -> None:
    ends = device(one, first), device(other, second)
    print("ready", flush=True)
    while True:
        for ready in select.select(ends, [], [])[0]:
            os.write(ends[1] if ready == ends[0] else ends[0], os.read(ready, 65_535))


if __name__ == "__main__":
    main(*sys.argv[1:])
