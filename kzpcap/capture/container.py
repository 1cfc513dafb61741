"""Which format a capture file is in: pcap (every magic), pcapng, snoop.

Formats: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng, RFC 1761 (snoop).
"""

from __future__ import annotations

from kzpcap.capture import pcap, snoop
from kzpcap.capture.health import Notes
from kzpcap.capture.pcap import Pcap
from kzpcap.capture.pcapng import SHB, Pcapng
from kzpcap.capture.records import Records
from kzpcap.capture.snoop import Snoop
from kzpcap.errors import NotACapture


def open_records(raw: bytes, notes: Notes) -> Records:
    """A cursor before the first packet of a capture, its format told by its first bytes.

    Raises NotACapture where they are those of no format, CaptureError where the header of the file is cut or wrong.
    """
    head = bytes(raw[:64])
    if len(head) >= 4 and pcap.starts(head, 0):
        return Pcap(raw, notes)
    if head[:4] == SHB.to_bytes(4, "big"):
        return Pcapng(raw, notes)
    if head[:8] == snoop.MAGIC:
        return Snoop(raw, notes)
    raise NotACapture(f"not a capture: {looks_like(head)}")


def looks_like(head: bytes) -> str:
    """In plain words, what a file that is no capture looks like from its first bytes."""
    if not head:
        return "an empty file"
    for magic, what in (
        (b"age-encryption.org/", "sealed with age: `kzpcap case import` opens it with its identity"),
        (b"-----BEGIN AGE ENCRYPTED", "sealed with age: `kzpcap case import` opens it with its identity"),
        (b"\x7fELF", "an ELF program"),
        (b"MZ", "a Windows program"),
        (b"%PDF", "a PDF document"),
        (b"\x89PNG", "a PNG picture"),
        (b"\xff\xd8\xff", "a JPEG picture"),
        (b"SQLite format 3", "an SQLite database"),
        (b"<?xml", "XML text"),
        (b"<!DOCTYPE html", "an HTML page"),
        (b"<html", "an HTML page"),
    ):
        if head.startswith(magic):
            return what
    if head[:1] in (b"{", b"["):
        return "JSON text"
    if sum(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head) >= len(head) * 0.95:
        return "plain text"
    return "bytes that start with " + head[:8].hex(" ")
