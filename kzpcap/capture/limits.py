"""What the scanner keeps at most; limits.pxd has the same as constants of C."""

from __future__ import annotations

PLAIN = 16_384
"""Payload bytes kept of each direction while nothing looks like TLS (an upgrade protocol may come first)."""
TLS = 131_072
"""Payload bytes kept of each direction once a TLS record was seen."""
DATA = 32_768
"""Of these, bytes kept of a direction from its first encrypted record on, once both sides have sent one."""
BEHIND = 8_192
"""The same once both have sent records of application data, as which TLS 1.3 also sends what ends its handshake."""
PACKETS = 4_096
"""Packets kept of each direction, whatever their size."""
DATAGRAMS = 1_024
"""UDP packets kept of each direction: a client may keep one socket for many connections."""
SHORT = 16
"""Of these so many that are neither DTLS nor QUIC with a long header: they tell Google QUIC."""
FLOWS = 73_728
"""Live flows."""
BUFFERED = 32 << 20
"""Bytes of kept packets over all live flows; above it closed flows are ended, then those that were quiet longest."""
PACKET_COST = 400
"""Bytes that a kept packet is counted with, beside its payload."""
RECENT = 6
"""Packets of a flow that a new one is compared with: the same one captured twice?"""
DUPLICATE_NS = 1_000_000
"""How far apart these may be."""
QUEUED_NS = 50_000_000
"""The same with a router between the two points that holds its queue."""
