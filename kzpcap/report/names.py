"""Which name of a connection may be told to others: the listed one, and no other that its client sent beside it."""

from __future__ import annotations

from typing import Any


def listed_name(connection: dict[str, Any]) -> str | None:
    """The very name on a list of targets that a connection of a report went to, by one of its hellos."""
    target = connection["target"]
    return str(target["name"]) if target and target["match"] == "exact" else None


def asked_for_it_alone(connection: dict[str, Any]) -> bool:
    """Is the listed name the one that counts, so that what was answered is an answer to that?"""
    return connection["server_name"] is not None and connection["server_name"] == listed_name(connection)
