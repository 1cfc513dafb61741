"""Numbers that the reading of packets compares with; codes.pxd has the same as constants of C."""

from __future__ import annotations

MAX_CAPTURED = 1 << 18
"""Above this a record's length is taken for damage (libpcap's MAXIMUM_SNAPLEN)."""
DAY = 86_400
"""Seconds; records that are looked for behind damage lie no further from the last one."""
SNOOP_HEADER = 24
SNOOP_PADDING = 64
"""More than any writer puts behind a packet, which RFC 1761 pads to four bytes."""

# what came of a packet's decoding
OK, NOT_IP, UNKNOWN_LINK, SHORT, MALFORMED, FRAGMENT, OTHER_IP, ENCRYPTED, NESTED, EMPTY, IP = range(11)
"""IP: none of these yet, an IP packet is inside."""
KEEP, LEAVE, GIVE_UP = range(3)
"""What becomes of a packet in its flow; LEAVE is no loss."""
MAX_DEPTH = 12
"""Headers of tunnels and tags that are followed in one packet."""

ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
"""Protocol numbers (IANA, "Protocol Numbers")."""
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
"""TCP's flags (RFC 9293 section 3.1)."""
ENDS = FIN | SYN | RST
"""Flags of segments that begin or end a connection."""

CHANGES, PROTECTS, OLDER, HELLO = 1, 2, 4, 8
"""What TLS records in a packet are, as far as the scanner asks (flow.py): flags."""
