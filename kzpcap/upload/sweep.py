"""What is past its time goes: unfinished uploads after hours, others after days; at the start what a crash left too."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from kzpcap.upload.clock import Clock
from kzpcap.upload.store import ANALYSING, DONE, FAILED, RECEIVING, WAITING, Store, days_ago, today

ROUNDED = "((size + 1048575) / 1048576 * 1048576)"
"""The size of what was destroyed, once its day's sum is over: to the byte it would tell one upload from another."""
AWAY_DAYS = 30
"""Days without a sweep, by the clock, after which it must go right for a day before anything is deleted by it."""
AHEAD_SECONDS = 3_600
"""Bytes written so far in the future came while the clock was ahead: how long ago is not known."""


def sweep(store: Store, incoming_hours: int, kept_days: int, starting: bool = False) -> None:
    """Delete what is past its time: bytes that are not scrubbed, so many hours after the last came."""
    parts, places = list(store.incoming.iterdir()), list(store.kept.iterdir())
    # Before the rows are read: what comes meanwhile has its row before it has a file, and would belong to none.
    if starting:
        with store.database() as database:
            database.execute("UPDATE uploads SET state = ? WHERE state = ?", (WAITING, ANALYSING))
    with store.database() as database:
        sound = _sound_clock(store.clock, database)
        if sound:
            database.execute("DELETE FROM accesses WHERE day < ?", (days_ago(kept_days),))
        database.execute(
            f"UPDATE uploads SET size = {ROUNDED}, length = NULL WHERE day < ? AND state IN (?, ?)",
            (today(), DONE, FAILED),
        )
        rows = database.execute("SELECT id, state, day FROM uploads").fetchall()
    states = {name: state for name, state, _ in rows}
    late = {name for name, _, day in rows if day < days_ago(incoming_hours // 24 + 1)}
    old = _incoming(store, parts, states, late, incoming_hours, starting)
    for name, state, day in rows:
        if sound and day < days_ago(kept_days):
            old.add(name)
        elif state == RECEIVING and (starting or day < today()) and not store.part(name).exists():
            old.add(name)  # of this day's, the first byte may be just about to be written
        elif states[name] == WAITING and not store.part(name).exists():
            store.failed(name, "lost")
    for name in sorted(old):
        store.delete(name)
    for path in places:
        if path.name not in states:
            shutil.rmtree(path, ignore_errors=True)


def _incoming(
    store: Store, parts: Iterable[Path], states: dict[str, str], late: set[str], hours: int, starting: bool
) -> set[str]:
    """Unlink bytes that have lain for too long, or are no upload's; the unfinished uploads whose they were."""
    now = datetime.now(UTC).timestamp()
    unfinished = set()
    for path in parts:
        name = path.name.partition(".")[0]
        state = states.get(name)
        if path.is_dir():
            if starting or state is None:
                shutil.rmtree(path, ignore_errors=True)
        elif state not in (RECEIVING, WAITING, ANALYSING):
            path.unlink(missing_ok=True)
        elif name in late or not now - hours * 3_600 <= _time(path, now) <= now + AHEAD_SECONDS:
            if state == RECEIVING:
                path.unlink(missing_ok=True)
                unfinished.add(name)
            else:
                states[name] = FAILED
                store.failed(name, "crashed")
    return unfinished


def _sound_clock(clock: Clock, database: sqlite3.Connection) -> bool:
    """May the clock tell what is past its time? What was kept cannot be had back.

    Not in the day after it was set, nor in the one after a start at which it is before the last sweep or long after it.
    """
    last = database.execute("SELECT max(day) FROM swept").fetchone()[0] or today()
    sound = clock.settled(odd=not days_ago(AWAY_DAYS) <= last <= today())
    if sound:
        database.execute("DELETE FROM swept")
        database.execute("INSERT INTO swept VALUES (?)", (today(),))
    return sound


def _time(path: Path, now: float) -> float:
    """When a file was last written to; now, where it is gone meanwhile."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return now
