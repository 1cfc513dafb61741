"""Names and addresses from DNS answers (RFC 1035; the hints of HTTPS records, RFC 9460), over CNAMEs; none is asked."""

from __future__ import annotations

from kzpcap.paths.icmp import address
from kzpcap.wire import Reader, ShortRead

MAX_RECORDS = 64
MAX_LABELS = 32
MAX_LABEL, MAX_NAME = 63, 255


def answers(payload: bytes) -> tuple[str, tuple[str, ...]] | None:
    """(name asked, addresses) of a response; None for anything else."""
    reader = Reader(payload)
    try:
        reader.uint(2)
        flags = reader.uint(2)
        questions, records = reader.uint(2), reader.uint(2)
        reader.take(4)
        if not flags & 0x8000 or questions != 1 or not records:
            return None
        asked = _name(payload, reader)
        reader.take(4)
        found: list[str] = []
        for _ in range(min(records, MAX_RECORDS)):
            _name(payload, reader)
            kind = reader.uint(2)
            reader.take(6)
            data = reader.vector(2)
            if (kind == 1 and len(data) == 4) or (kind == 28 and len(data) == 16):
                found.append(address(data))
            elif kind in (64, 65):
                found += _hints(data)
    except (ShortRead, ValueError):
        return None
    return (asked, tuple(found)) if asked and found else None


def _hints(data: bytes) -> list[str]:
    """The addresses that an SVCB or HTTPS record gives beside its name (RFC 9460 sections 2.2 and 7.3)."""
    found: list[str] = []
    reader = Reader(data)
    try:
        reader.uint(2)
        for _ in range(MAX_LABELS):
            if not reader.vector(1):
                break
        while reader.left():
            key, value = reader.uint(2), reader.vector(2)
            size = {4: 4, 6: 16}.get(key)
            if size and len(value) % size == 0:
                found += [address(value[at : at + size]) for at in range(0, len(value), size)]
    except ShortRead:
        pass
    return found[:MAX_RECORDS]


def _name(payload: bytes, reader: Reader) -> str:
    """A domain name within RFC 1035's limits (section 2.3.4); a pointer goes to before all that was read of it
    (section 4.1.4), ValueError where one does not."""
    labels: list[str] = []
    current, begin, jumped, size = reader, reader.pos, False, 0
    while True:
        length = current.uint(1)
        if length >= 0xC0:
            target = (length & 0x3F) << 8 | current.uint(1)
            if not jumped:
                reader.pos = current.pos
            jumped = True
            if target >= begin:
                raise ValueError("a pointer that goes forward, or round")
            current, begin = Reader(payload, target), target
            continue
        if length == 0:
            break
        size += length + 1
        if length > MAX_LABEL or size >= MAX_NAME:
            raise ValueError("a label or a name that is too long")
        labels.append(current.take(length).decode("ascii", "backslashreplace").lower())
    return ".".join(labels)
