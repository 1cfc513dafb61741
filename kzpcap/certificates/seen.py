"""The certificates of a capture, each once: in memory up to a bound, the others in a temporary file of our own."""

from __future__ import annotations

import hashlib
import marshal
import tempfile
from array import array
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import IO

from kzpcap.certificates.certificate import Certificate, parse

KEPT = 4_096
"""Parsed certificates in memory, some 4 kB each; the half that came first makes room."""
MAX_AUTHORITIES = 4_096
MAX_WEIGHT = 32 << 20
"""Bytes, about, of those in memory: hostile ones are large."""
MAX_FRAMES = 8
SIZE = 32


class Digests:
    """SHA-256 digests numbered from 0 in the order of adding, in some 40 bytes each: a hash table of numbers."""

    def __init__(self) -> None:
        self.all = bytearray()
        self.slots = array("I", bytes(4 * 16))
        """A power of two of them: a number and one, or 0 where there is none."""

    def __len__(self) -> int:
        return len(self.all) // SIZE

    def __iter__(self) -> Iterator[bytes]:
        return (bytes(self.all[at : at + SIZE]) for at in range(0, len(self.all), SIZE))

    def __contains__(self, digest: bytes) -> bool:
        return self.find(digest) >= 0

    def find(self, digest: bytes) -> int:
        """The number of a digest; -1 where it was not added."""
        return self.slots[self._slot(digest)] - 1

    def add(self, digest: bytes) -> None:
        """Add one that is not there."""
        self.all += digest
        self.slots[self._slot(digest)] = len(self)
        if 2 * len(self) > len(self.slots):
            self.slots = array("I", bytes(8 * len(self.slots)))
            for number, one in enumerate(self, 1):
                self.slots[self._slot(one)] = number

    def _slot(self, digest: bytes) -> int:
        """Where it is, or would be; found by Python's own hash, whose collisions nobody can make."""
        mask = len(self.slots) - 1
        at = hash(digest) & mask
        while number := self.slots[at]:
            if self.all[SIZE * number - SIZE : SIZE * number] == digest:
                break
            at = (at + 1) & mask
        return at


class SeenCertificates(Mapping[str, Certificate]):
    """Certificates by SHA-256 (hex), in the order in which they were first seen.

    `authorities` are those of CAs; how many of these were too many is in `authorities_left_out`.
    """

    def __init__(self) -> None:
        self.parsed: dict[str, Certificate] = {}
        self.by_bytes: dict[bytes, Certificate] = {}
        self.numbers = Digests()
        self.offsets = array("q")
        """Where each lies in the file; -1 where it was never written."""
        self.sizes = array("I")
        self.first_frames = array("Q")
        self.more_frames: dict[int, list[int]] = {}
        self.authorities: list[Certificate] = []
        self.authorities_left_out = 0
        self.weight = self.of_authorities = 0
        """Bytes, about, of those in memory, and of `authorities`."""
        self.file: IO[bytes] | None = None
        self.end = 0

    def add(self, der: bytes) -> Certificate:
        """The certificate of these bytes, parsed once while it is in memory."""
        found = self.by_bytes.get(der)
        if found is not None:
            return found
        number = self.numbers.find(hashlib.sha256(der).digest())
        return self._keep(parse(der) if number < 0 else self._read(number))

    def seen(self, name: str, frame: int) -> None:
        """A certificate was seen in this frame; the first few are kept."""
        number = self._number(name)
        if not self.first_frames[number]:
            self.first_frames[number] = frame
            return
        more = self.more_frames.setdefault(number, [])
        if len(more) < MAX_FRAMES - 1:
            more.append(frame)

    def frames_of(self, name: str) -> list[int]:
        """The first frames in which a certificate was seen."""
        number = self._number(name)
        first = self.first_frames[number]
        return [first, *self.more_frames.get(number, [])] if first else []

    def __getitem__(self, name: str) -> Certificate:
        found = self.parsed.get(name)
        if found is not None:
            return found
        return self._keep(self._read(self._number(name)))

    def _number(self, name: str) -> int:
        number = self.numbers.find(_digest(name))
        if number < 0:
            raise KeyError(name)
        return number

    def _read(self, number: int) -> Certificate:
        """One from the file: only what is there, as plain values, made room."""
        assert self.file is not None
        self.file.seek(self.offsets[number])
        return Certificate._make(marshal.loads(self.file.read(self.sizes[number])))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and _digest(name) in self.numbers

    def __iter__(self) -> Iterator[str]:
        return (digest.hex() for digest in self.numbers)

    def __len__(self) -> int:
        return len(self.numbers)

    def _keep(self, certificate: Certificate) -> Certificate:
        if certificate.sha256 not in self:
            self.numbers.add(_digest(certificate.sha256))
            self.offsets.append(-1)
            self.sizes.append(0)
            self.first_frames.append(0)
            if certificate.is_ca and len(self.authorities) < MAX_AUTHORITIES and self.of_authorities < MAX_WEIGHT:
                self.authorities.append(certificate)
                self.of_authorities += certificate.weight
            elif certificate.is_ca:
                self.authorities_left_out += 1
        if len(self.parsed) >= KEPT or self.weight + certificate.weight > MAX_WEIGHT:
            self._make_room()
        self.parsed[certificate.sha256] = self.by_bytes[certificate.der] = certificate
        self.weight += certificate.weight
        return certificate

    def _make_room(self) -> None:
        if self.file is None:
            self.file = tempfile.TemporaryFile(prefix="kzpcap-")  # noqa: SIM115 - closed by close()
        self.file.seek(self.end)
        for name in list(islice(self.parsed, len(self.parsed) // 2 + 1)):
            certificate = self.parsed.pop(name)
            self.weight -= certificate.weight
            self.by_bytes.pop(certificate.der, None)
            number = self._number(name)
            if self.offsets[number] < 0:
                self.offsets[number] = self.end
                self.sizes[number] = self.file.write(marshal.dumps(tuple(certificate)))
                self.end += self.sizes[number]

    def close(self) -> None:
        """Drop the temporary file."""
        if self.file is not None:
            self.file.close()


def _digest(name: str) -> bytes:
    """The bytes of a hex digest; none for what is no digest."""
    try:
        return bytes.fromhex(name)
    except ValueError:
        return b""
