"""A certificate laid beside its genuine twin, field by field: what was kept, shifted, changed and dropped.

FACTS of July 2019 (Raman et al., IMC 2020, and the one published pair): subject and names are copied, both dates are
shifted by one constant, the serial differs in its last bytes, extensions that name the issuer's services are dropped.
Other boxes of that family (sslsplit) share some of these: a copy settles that it was re-signed, never by whom.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from kzpcap.certificates.certificate import Certificate

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
MAX_SHIFT = 7 * DAY
NEAR_SERIAL = 1 << 33
LONG_SERIAL = 14
"""Hex digits from which on a near serial means something: shorter ones are near by chance."""

STRIPPED = frozenset({"1.3.6.1.5.5.7.1.1", "1.3.6.1.4.1.11129.2.4.2", "2.5.29.31", "2.5.29.32"})
"""Extensions that name services of the genuine issuer: two certificates of one CA both have them."""
EXTENSION_NAMES = {
    "1.3.6.1.5.5.7.1.1": "authority information access",
    "1.3.6.1.4.1.11129.2.4.2": "SCT list",
    "2.5.29.14": "subject key id",
    "2.5.29.15": "key usage",
    "2.5.29.17": "subject alternative names",
    "2.5.29.19": "basic constraints",
    "2.5.29.31": "CRL distribution points",
    "2.5.29.32": "certificate policies",
    "2.5.29.35": "authority key id",
    "2.5.29.37": "extended key usage",
}


class Comparison(NamedTuple):
    """A suspect certificate beside a genuine one; times in nanoseconds, None where there is no such value."""

    same_subject: bool
    same_names: bool
    same_key: bool
    same_issuer: bool
    """By name."""
    shift: int | None
    """Suspect minus genuine, where both dates differ by the same amount."""
    whole_hours: bool
    """The genuine one begins at a whole hour."""
    whole_minutes: bool
    """It begins at second 0."""
    midnight: bool
    """It begins with a day, in UTC."""
    serial_difference: int | None
    """Suspect minus genuine, where the serials have the same length and are long."""
    dropped: tuple[str, ...]
    added: tuple[str, ...]
    changed_criticality: tuple[str, ...]
    keys: tuple[str, str]
    exponents: tuple[int | None, int | None]
    stripped: bool
    """What names services of the genuine issuer is gone."""

    @property
    def near_serial(self) -> bool:
        """Serials of the same length that differ in their last bytes only: of two CAs, no two honest ones do."""
        return self.serial_difference is not None and abs(self.serial_difference) < NEAR_SERIAL

    def is_copy(self, issuer_seen: bool) -> bool:
        """Subject and names equal, another key and issuer, and the serial near or both dates shifted by whole hours.

        `issuer_seen`: a signature shows that the issuer, who was seen, is no public one. Without it a CA may number two
        honest certificates of a site one after the other, so a near serial speaks only where extensions were stripped;
        the same issuer's name over another key is a damaged capture as well as a copy. Honest certificates of one name
        and lifetime are shifted by a constant too: by days or a time zone where their CAs begin them at midnight, by
        whole hours where a timetable asks for both. So dates speak only where they are equal to a second that nobody
        chose: 0 is chosen.
        """
        if not self._alike or (self.same_issuer and not issuer_seen):
            return False
        if self.near_serial and (issuer_seen or self.stripped):
            return True
        return issuer_seen and self._shifted and not self.whole_minutes

    def resembles(self, issuer_seen: bool) -> bool:
        """Does it fit a copy, and an honest second certificate as well?

        Dates of one midnight fit where a signature shows another CA: a public one gives a site several of one day.
        """
        if not self._alike or self.same_issuer:
            return False
        same_day = self._same_day and (issuer_seen or not self.midnight)
        return self.near_serial or (self._shifted and (same_day or not self.whole_hours))

    @property
    def _alike(self) -> bool:
        return self.same_subject and self.same_names and not self.same_key

    @property
    def _shifted(self) -> bool:
        return self.shift is not None and abs(self.shift) <= MAX_SHIFT and self.shift % HOUR == 0

    @property
    def _same_day(self) -> bool:
        return self.shift is not None and abs(self.shift) < DAY

    def document(self) -> dict[str, Any]:
        """The comparison for the report; the shift in seconds."""
        return {
            "same_subject": self.same_subject,
            "same_names": self.same_names,
            "same_key": self.same_key,
            "shift_seconds": None if self.shift is None else self.shift // SECOND,
            "serial_difference": None if self.serial_difference is None else f"{self.serial_difference:#x}",
            "extensions_dropped": list(self.dropped),
            "extensions_added": list(self.added),
            "extensions_with_other_criticality": list(self.changed_criticality),
            "keys": list(self.keys),
            "exponents": list(self.exponents),
        }

    def sentences(self) -> list[str]:
        """The differences in words, each for itself."""
        said = ["same subject and names, another key"]
        if self.shift is not None:
            said.append("same dates" if not self.shift else f"both dates {_span(self.shift)}")
        if self.near_serial and self.serial_difference is not None:
            sign = "+" if self.serial_difference >= 0 else "-"
            said.append(f"serial {sign} {abs(self.serial_difference):#x}")
        if self.dropped:
            said.append(f"gone: {', '.join(self.dropped)}")
        if self.added:
            said.append(f"new: {', '.join(self.added)}")
        if self.changed_criticality:
            said.append(f"other criticality: {', '.join(self.changed_criticality)}")
        if self.keys[0] != self.keys[1] or self.exponents[0] != self.exponents[1]:
            said.append(
                f"key {_key(self.keys[0], self.exponents[0])} instead of {_key(self.keys[1], self.exponents[1])}"
            )
        return said


def _key(name: str, exponent: int | None) -> str:
    return f"{name} e={exponent}" if exponent is not None else name


def _span(shift: int) -> str:
    seconds = abs(shift) // SECOND
    text = f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return f"{text} {'earlier' if shift < 0 else 'later'}"


def compare(suspect: Certificate, genuine: Certificate) -> Comparison:
    """Lay one certificate beside another."""
    begin = suspect.not_before - genuine.not_before
    end = suspect.not_after - genuine.not_after
    ours, theirs = dict(suspect.extensions), dict(genuine.extensions)
    difference = None
    if len(suspect.serial) == len(genuine.serial) >= LONG_SERIAL:
        difference = int(suspect.serial, 16) - int(genuine.serial, 16)
    return Comparison(
        bool(suspect.subject_der) and suspect.subject_der == genuine.subject_der,
        sorted(suspect.dns_names) == sorted(genuine.dns_names) and suspect.ip_addresses == genuine.ip_addresses,
        suspect.spki_sha256 == genuine.spki_sha256,
        suspect.issuer_key == genuine.issuer_key,
        begin if begin == end else None,
        genuine.not_before % HOUR == 0,
        genuine.not_before % MINUTE == 0,
        genuine.not_before % DAY == 0,
        difference,
        tuple(_name(oid) for oid in theirs if oid not in ours),
        tuple(_name(oid) for oid in ours if oid not in theirs),
        tuple(_name(oid) for oid in ours if oid in theirs and ours[oid] != theirs[oid]),
        (suspect.key, genuine.key),
        (suspect.exponent, genuine.exponent),
        any(oid in STRIPPED and oid not in ours for oid in theirs),
    )


def _name(oid: str) -> str:
    return EXTENSION_NAMES.get(oid, oid)
