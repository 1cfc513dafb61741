"""The packets of a capture as dpkt reads them: Ethernet, Linux cooked and raw IP."""

from __future__ import annotations

import socket
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import dpkt

from kzpcap.capture.witnesses import PacketSeen
from kzpcap.errors import CaptureError


def packets(path: str) -> Iterator[PacketSeen]:
    """Every TCP and UDP packet that dpkt decodes; it ends where dpkt gives up."""
    with Path(path).open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ng = file.read(4) == b"\n\r\r\n"
        file.seek(0)
        try:
            reader: Any = dpkt.pcapng.Reader(file) if ng else dpkt.pcap.Reader(file)
        except (ValueError, dpkt.UnpackError) as error:
            raise CaptureError(f"dpkt cannot read it: {error}") from error
        link = reader.datalink()
        frame = 0
        rows = iter(reader)
        while True:
            try:
                raw = next(rows)[1]
            except (StopIteration, dpkt.UnpackError):
                return
            frame += 1
            found = _packet(frame, raw, link)
            if found is not None:
                yield found


def _packet(frame: int, raw: bytes, link: int) -> PacketSeen | None:
    try:
        if link == 1:
            layer = dpkt.ethernet.Ethernet(raw).data
        elif link == 113:
            layer = dpkt.sll.SLL(raw).data
        elif link in (12, 14, 101):
            layer = dpkt.ip.IP(raw) if raw[0] >> 4 == 4 else dpkt.ip6.IP6(raw)
        else:
            return None
    except (dpkt.UnpackError, IndexError, ValueError):
        return None
    if isinstance(layer, dpkt.ip.IP):
        family, ttl = socket.AF_INET, layer.ttl
        if layer.offset or layer.mf:
            return None
    elif isinstance(layer, dpkt.ip6.IP6):
        family, ttl = socket.AF_INET6, layer.hlim
    else:
        return None
    upper = layer.data
    if not isinstance(upper, dpkt.tcp.TCP | dpkt.udp.UDP):
        return None
    return PacketSeen(
        frame,
        socket.inet_ntop(family, layer.src),
        socket.inet_ntop(family, layer.dst),
        ttl,
        6 if isinstance(upper, dpkt.tcp.TCP) else 17,
        upper.sport,
        upper.dport,
        upper.seq if isinstance(upper, dpkt.tcp.TCP) else 0,
        len(bytes(upper.data)),
    )
