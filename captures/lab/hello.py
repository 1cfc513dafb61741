"""The few fields of a ClientHello by which servers and boxes choose (RFC 8446 section 4.1.2)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

TLS_12, TLS_13 = 0x0303, 0x0304


@dataclass
class Hello:
    """What a ClientHello asks for."""

    server_name: str | None
    versions: list[int]

    def common(self, highest: int) -> str:
        """The version that a server which knows up to `highest` settles on, as OpenSSL names it."""
        best = max((version for version in self.versions if version <= highest), default=TLS_12)
        return {TLS_13: "TLSv1.3", TLS_12: "TLSv1.2"}.get(best, "TLSv1.1")


def complete(data: bytes) -> bool | None:
    """Whether a whole ClientHello lies at the head of a stream; None: these bytes are no ClientHello."""
    if data[:1] and data[0] != 22:
        return None
    if len(data) >= 6 and data[5] != 1:
        return None
    return len(data) >= 5 and len(data) >= 5 + struct.unpack_from(">H", data, 3)[0]


def parse(data: bytes) -> Hello:
    """Read a ClientHello that lies in one record."""
    at = 5 + 4 + 2 + 32
    at += 1 + data[at]
    at += 2 + struct.unpack_from(">H", data, at)[0]
    at += 1 + data[at]
    hello = Hello(None, [struct.unpack_from(">H", data, 9)[0]])
    if at + 2 > len(data):
        return hello
    end = at + 2 + struct.unpack_from(">H", data, at)[0]
    at += 2
    while at + 4 <= end:
        kind, size = struct.unpack_from(">HH", data, at)
        body = data[at + 4 : at + 4 + size]
        if kind == 0 and len(body) > 5:
            hello.server_name = body[5 : 5 + struct.unpack_from(">H", body, 3)[0]].decode("ascii", "replace")
        if kind == 43:
            hello.versions = [v for (v,) in struct.iter_unpack(">H", body[1:]) if v & 0x0F0F != 0x0A0A]
        at += 4 + size
    return hello
