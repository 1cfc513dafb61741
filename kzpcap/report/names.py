"""What of a connection may be told to others: the listed name, and none that its client sent beside it; its day."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kzpcap.verdict.identity import UNKNOWN


def listed_name(connection: dict[str, Any]) -> str | None:
    """The very name on a list of targets that a connection of a report went to, by one of its hellos."""
    target = connection["target"]
    return str(target["name"]) if target and target["match"] == "exact" else None


def asked_for_it_alone(connection: dict[str, Any]) -> bool:
    """Is the listed name the one that counts, so that what was answered is an answer to that?"""
    return connection["server_name"] is not None and connection["server_name"] == listed_name(connection)


NO_TIME = "no time"


def day_of(connection: dict[str, Any]) -> str:
    """The day of a connection of a report, in UTC; NO_TIME where its packets have none."""
    return str(connection["time"])[:10] if connection["time"] else NO_TIME


def span(days: Iterable[str]) -> str:
    """From which day to which, in words."""
    known = sorted(set(days) - {NO_TIME})
    if not known:
        return NO_TIME
    return f"{known[0]} to {known[-1]}" if len(known) > 1 else known[0]


def replayable(connection: dict[str, Any]) -> bool:
    """Does it show a published certificate, and nobody is shown to hold the key? Anybody can replay that."""
    return bool(connection.get("specimen")) and connection["possession"] != "proved"


def two_senders(says: str) -> bool:
    """Does a remark tell that two machines sent in one name?"""
    return ": two senders" in says


def identity_of(connection: dict[str, Any]) -> str:
    """By whom, as far as a verified key or a product's names tell."""
    return connection["interceptor"]["identity"] if connection["interceptor"] else UNKNOWN
