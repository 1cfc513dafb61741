"""Was the machine's clock set? What is deleted by its day cannot be had back."""

from __future__ import annotations

import time

JUMP_SECONDS, SETTLED_SECONDS = 3_600, 86_400


class Clock:
    """The clock of the machine, and beside it the seconds that passed, which nobody can set."""

    def __init__(self) -> None:
        self.last = self._now()
        self.set_at: float | None = None
        self.asked = False

    def settled(self, odd: bool) -> bool:
        """Has it gone as time does for a day, or since the service began? `odd`: it began with an unlikely day."""
        wall, own = now = self._now()
        jumped = abs((wall - self.last[0]) - (own - self.last[1])) > JUMP_SECONDS
        if jumped or (odd and not self.asked):
            self.set_at = own
        self.last, self.asked = now, True
        return self.set_at is None or own - self.set_at > SETTLED_SECONDS

    def _now(self) -> tuple[float, float]:
        # Linux counts the time in which it slept as well; a sleep elsewhere looks like a clock that was set.
        return time.time(), time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
