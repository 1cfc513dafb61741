"""The counts of a report: one pass over the judged connections, in memory that does not grow with them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from kzpcap.observations import Observation
from kzpcap.verdict.judge import Verdict
from kzpcap.verdict.rules import State


@dataclass
class Summary:
    """States over all connections and over exact targets, rules, lists, absent certificates."""

    states: Counter[str] = field(default_factory=Counter)
    target_states: Counter[str] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)
    lists: dict[str, Counter[str]] = field(default_factory=dict)
    in_force: Counter[str] = field(default_factory=Counter)
    out_of_force: Counter[str] = field(default_factory=Counter)
    absent: Counter[str] = field(default_factory=Counter)
    identities: Counter[str] = field(default_factory=Counter)
    subdomains: int = 0
    connections: int = 0

    def add(self, observation: Observation, verdict: Verdict) -> None:
        """Count one connection; only an exact match counts as a target."""
        self.connections += 1
        state = verdict.state.value
        self.states[state] += 1
        self.rules[verdict.rule.id] += 1
        if observation.absent and not observation.chain:
            self.absent[observation.absent.value] += 1
        if verdict.interceptor:
            self.identities[verdict.interceptor.identity] += 1
        target = observation.target
        if target is None:
            return
        if not target.exact:
            self.subdomains += 1
            return
        self.target_states[state] += 1
        self.lists.setdefault(target.list_id, Counter())[state] += 1
        if target.in_force:
            self.in_force[target.list_id] += 1
        elif target.in_force is False:
            self.out_of_force[target.list_id] += 1

    @property
    def intercepted(self) -> int:
        """Connections, target or not, that are intercepted."""
        return self.states[State.INTERCEPTED.value]

    def document(self, certificates: int) -> dict[str, Any]:
        """The `summary` part of the report."""
        targets = sum(self.target_states.values())
        return {
            "connections": self.connections,
            "states": dict(sorted(self.states.items())),
            "rules": dict(sorted(self.rules.items())),
            "targets": {
                "connections": targets,
                "subdomain_matches": self.subdomains,
                "states": dict(sorted(self.target_states.items())),
                "lists": {
                    name: {
                        "connections": sum(counts.values()),
                        "in_force": self.in_force[name],
                        "states": dict(sorted(counts.items())),
                    }
                    for name, counts in sorted(self.lists.items())
                },
            },
            "others": self.connections - targets,
            "certificate_absent": dict(sorted(self.absent.items())),
            "interceptors": dict(sorted(self.identities.items())),
            "certificates": certificates,
        }
