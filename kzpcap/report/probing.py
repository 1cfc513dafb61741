"""Which connections of a report are a ladder's probes, and which stand for themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

UNANSWERED = "probe-unanswered"


def standing_alone(ladders: Iterable[dict[str, Any]]) -> Callable[[dict[str, Any]], bool]:
    """Asks of a connection: is it one of its own? Not a probe of these ladders, nor a lone one that nobody answered."""
    probed = {(ladder["client"], ladder["server"]["address"], ladder["server"]["port"]) for ladder in ladders}

    def ask(one: dict[str, Any]) -> bool:
        if one["probe_ttl"] is None:
            return True
        ends = one["client"]["address"], one["server"]["address"], one["server"]["port"]
        return ends not in probed and one["rule_id"] != UNANSWERED

    return ask
