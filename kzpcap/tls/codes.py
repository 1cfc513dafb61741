"""Numbers that the reading of TLS records compares with; codes.pxd has the same as constants of C."""

from __future__ import annotations

CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, APPLICATION_DATA, HEARTBEAT = 20, 21, 22, 23, 24
"""Content types (IANA, "TLS ContentType")."""

MAX_RECORD = 16_384 + 2_048
MAX_MESSAGE = 1 << 18
MAX_MESSAGES = 256
MAX_ALERTS = 64
MAX_ORDER = 1_024
"""Steps of one side's history that are kept: told are a hundred of both."""
MAX_ENCRYPTED = 8_192
"""Encrypted records of one side that are kept: a flight of 8 kB, a byte in each."""
