"""The packets of a capture as scapy reads them: whatever link types it knows."""

from __future__ import annotations

import ipaddress
import logging
import warnings
from collections.abc import Iterator

from kzpcap.capture.witnesses import PacketSeen
from kzpcap.errors import CaptureError

logging.getLogger("scapy").setLevel(logging.ERROR)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from scapy.error import Scapy_Exception
    from scapy.layers.inet import IP, TCP, UDP
    from scapy.layers.inet6 import IPv6
    from scapy.packet import NoPayload, Padding, Raw
    from scapy.utils import PcapReader


def packets(path: str) -> Iterator[PacketSeen]:
    """Every TCP and UDP packet of the innermost IP header that scapy dissects."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            opened = PcapReader(path)
        except (Scapy_Exception, EOFError) as error:
            raise CaptureError(f"scapy cannot read it: {error}") from error
        with opened as reader:
            for frame, packet in enumerate(reader, 1):
                ip = None
                layer = packet
                while not isinstance(layer, NoPayload):
                    if type(layer) in (IP, IPv6):  # not their subclasses, which are what an ICMP error quotes
                        ip = layer
                    layer = layer.payload
                if ip is None or (isinstance(ip, IP) and (ip.frag or "MF" in str(ip.flags))):
                    continue
                upper = ip.payload
                if not isinstance(upper, TCP | UDP):
                    continue
                body = upper.payload
                size = 0 if isinstance(body, Padding | NoPayload) else len(body.original or bytes(body))
                if isinstance(body, Raw) and isinstance(body.payload, Padding):
                    size = len(body.load)
                yield PacketSeen(
                    frame,
                    str(ipaddress.ip_address(ip.src)),
                    str(ipaddress.ip_address(ip.dst)),
                    ip.ttl if isinstance(ip, IP) else ip.hlim,
                    6 if isinstance(upper, TCP) else 17,
                    upper.sport,
                    upper.dport,
                    upper.seq if isinstance(upper, TCP) else 0,
                    size,
                )
