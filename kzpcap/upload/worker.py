"""Analyses, each in a child process: what crashes, hangs or eats memory takes itself down and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

from kzpcap.upload import child
from kzpcap.upload.config import Config
from kzpcap.upload.store import MAX_TRIES, Store, Upload
from kzpcap.upload.sweep import sweep

SWEEP_SECONDS = 600
GRACE_SECONDS = 10
REASONS = {
    child.EXIT_NOT_A_CAPTURE: "not_a_capture",
    child.EXIT_SEVERAL: "several",
    child.EXIT_NO_EVIDENCE: "no_evidence",
    child.EXIT_UNDECIDED: "undecided",
    child.EXIT_UNREAD: "unread",
    child.EXIT_LEAK: "cannot_be_scrubbed",
}
WANT_OF_ROOM_SECONDS = 30
MAX_WANTED = 20
"""How often there may be no room for an upload, each time longer after the last: nearly two hours in all."""


def _advice(folder: Path) -> list[str]:
    """What an analysis that kept nothing says for the next recording; nothing where it did not come so far."""
    try:
        result = json.loads((folder / "result.json").read_text("utf-8"))
        return [str(one) for one in result["advice"] if one != "server"]  # nothing of it stays
    except (OSError, ValueError, KeyError, TypeError):
        return []


class Workers:
    """As many analyses at once as the settings say; woken when an upload has arrived."""

    def __init__(self, store: Store, config: Config) -> None:
        self.store = store
        self.config = config
        self.wake = asyncio.Event()
        self.tasks: list[asyncio.Task[None]] = []
        self.wanted: dict[str, int] = {}
        """How often there was no room for an upload."""
        self.rests: dict[str, float] = {}
        """Until when it is not tried again."""
        self.running: dict[str, asyncio.subprocess.Process] = {}

    def start(self) -> None:
        """Begin with what a crash left, then go on."""
        sweep(self.store, self.config.incoming_hours, self.config.kept_days, starting=True)
        for _ in range(max(1, self.config.max_analyses)):
            self.tasks.append(asyncio.create_task(self._work()))
        self.tasks.append(asyncio.create_task(self._sweep()))

    async def stop(self) -> None:
        """Stop at once: an analysis in the middle is begun again at the next start."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def forget(self, name: str) -> None:
        """Delete an upload, all of it, and end who reads it at the moment: what is open is on the disk still."""
        await asyncio.to_thread(self.store.delete, name)
        process = self.running.get(name)
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            await asyncio.to_thread(self.store.delete, name)  # what it wrote meanwhile

    async def _work(self) -> None:
        while True:
            try:
                upload = await asyncio.to_thread(self.store.next_waiting, self._resting())
            except (OSError, sqlite3.Error):  # a full disk: it may have room again
                await asyncio.sleep(WANT_OF_ROOM_SECONDS)
                continue
            if upload is None:
                self.wake.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.wake.wait(), 2)
                continue
            try:
                await self.analyse(upload)
            except Exception as error:
                # An upload that is deleted in the middle of it, or a disk that is full, must not end all analyses.
                print(f"kzpcap: an analysis broke off: {type(error).__name__}", file=sys.stderr, flush=True)
                await self._give_up(upload)

    def _resting(self) -> list[str]:
        """The uploads that found no room a moment ago: others may need less."""
        now = time.monotonic()
        self.rests = {name: until for name, until in self.rests.items() if until > now}
        return list(self.rests)

    async def _give_up(self, upload: Upload) -> None:
        """An upload whose analysis broke off has failed, as soon as that can be written down."""
        while True:
            try:
                await asyncio.to_thread(self.store.failed, upload.id, "crashed")
                return
            except (OSError, sqlite3.Error):
                await asyncio.sleep(WANT_OF_ROOM_SECONDS)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                await asyncio.to_thread(sweep, self.store, self.config.incoming_hours, self.config.kept_days)
            except (OSError, sqlite3.Error) as error:  # the next one finds what this one left
                print(f"kzpcap: a sweep broke off: {type(error).__name__}", file=sys.stderr, flush=True)

    async def analyse(self, upload: Upload) -> None:
        """Analyse one upload; whatever comes of it, the original is gone afterwards."""
        if upload.tries > MAX_TRIES:  # the server went down with it each time
            await asyncio.to_thread(self.store.failed, upload.id, "crashed")
            return
        await asyncio.to_thread(self.store.mark, upload.id)
        folder = self.store.incoming / f"{upload.id}.work"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        settings = {
            "parent": os.getpid(),
            "memory": self.config.analysis_memory,
            "seconds": self.config.analysis_seconds,
            "roots": self.config.trusted_roots,
            "cas": self.config.interception_cas,
            "originals_to": self.config.age_recipient if self.config.keep_originals else "",
        }
        code = await self._child(upload.id, folder, json.dumps(settings))
        wanted = self.wanted.pop(upload.id, 0) + 1
        if code == child.EXIT_NO_ROOM:
            if wanted > MAX_WANTED:
                await asyncio.to_thread(self.store.failed, upload.id, "no_room")
                return
            self.wanted[upload.id] = wanted
            self.rests[upload.id] = time.monotonic() + WANT_OF_ROOM_SECONDS * wanted
            await asyncio.to_thread(self.store.again, upload.id)
        elif code == 0:
            result = json.loads((folder / "result.json").read_text("utf-8"))
            await self._finish(upload, folder, result)
        else:
            await asyncio.to_thread(self.store.failed, upload.id, REASONS.get(code, "crashed"), _advice(folder))

    async def _finish(self, upload: Upload, folder: Path, result: dict[str, Any]) -> None:
        """Take what was made to its place; where there is no room to say so, as soon as there is."""
        while True:
            try:
                await asyncio.to_thread(self.store.finished, upload.id, folder, result)
                return
            except (OSError, sqlite3.Error):
                await asyncio.sleep(WANT_OF_ROOM_SECONDS)

    async def _child(self, name: str, folder: Path, settings: str) -> int:
        capture = self.store.part(name)
        process = self.running[name] = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "kzpcap.upload.child", str(capture), str(folder), settings,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        try:
            return await asyncio.wait_for(process.wait(), self.config.analysis_seconds + GRACE_SECONDS)
        except TimeoutError:
            return 124
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
            self.running.pop(name, None)
