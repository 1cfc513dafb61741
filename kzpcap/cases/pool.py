"""Worker processes that can be lost: one that dies, or takes too much time or memory, costs its file alone."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import multiprocessing.connection
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from kzpcap.cases.work import Outcome, Settings, Worker
from kzpcap.errors import CaseError

READY, END = "ready", "end"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one capture may cost."""

    seconds: float = 3600.0
    bytes: int = 2 << 30


def serve(
    pipe: Connection,
    folder: str,
    workshop: str,
    settings: Settings,
    memory: int,
    analysis: str,
    vouched: frozenset[str],
) -> None:
    """The life of a worker: a file's name in, an outcome for each of its captures out, until the pipe is closed."""
    gc.set_threshold(1_000_000)  # as __main__.py
    # What a process allocates; mapped captures do not count.
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    worker = Worker(folder, workshop, settings, analysis, vouched)
    try:
        pipe.send(READY)
        while True:
            path = pipe.recv()
            try:
                for outcome in worker.work(path):
                    pipe.send(outcome)
            except MemoryError:
                pipe.send(Outcome("failed", why=f"it needs more than {memory >> 20:,} MB of memory", passing=True))
            pipe.send(END)
    except (EOFError, OSError):
        return


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """What is started here does not hear Ctrl-C, from its first instruction on: that is the parent's to answer."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@dataclass
class Place:
    """A worker and what it is at."""

    process: BaseProcess
    pipe: Connection
    path: str | None = None
    since: float = 0.0
    idle: bool = False
    whole: bool = False
    """It has told all that the file is: one capture, and no archive of several."""


class Pool:
    """Workers, each at one file; `run` gives every outcome as it comes."""

    def __init__(
        self,
        jobs: int,
        folder: str,
        workshop: str,
        settings: Settings,
        limits: Limits,
        analysis: str,
        vouched: frozenset[str] = frozenset(),
    ) -> None:
        self.context = multiprocessing.get_context("spawn")
        self.arguments = (folder, workshop, settings, limits.bytes, analysis, vouched)
        self.limits = limits
        self.places = [self._start() for _ in range(jobs)]

    def _start(self) -> Place:
        ours, theirs = self.context.Pipe()
        process = self.context.Process(target=serve, args=(theirs, *self.arguments), daemon=True)
        with _deaf():
            process.start()
        theirs.close()
        return Place(process, ours, since=time.monotonic())

    def run(self, paths: Iterator[str], tick: Callable[[], Any]) -> Iterator[tuple[str, Outcome | None]]:
        """(file, outcome of one of its captures), and (file, None) when a file is finished."""
        more, again = True, list[str]()
        while True:
            for place in self.places:
                if more and place.idle:
                    path = again.pop() if again else next(paths, None)
                    if path is None:
                        more = False
                        break
                    try:
                        place.pipe.send(path)
                    except OSError:  # it died while it had nothing to do
                        again.append(path)
                        continue
                    place.path, place.idle, place.since, place.whole = path, False, time.monotonic(), False
            busy = [place for place in self.places if place.path is not None]
            if not busy and not more:
                return
            multiprocessing.connection.wait([place.pipe for place in self.places], timeout=0.2)
            tick()
            for number, place in enumerate(self.places):
                yield from self._hear(number, place)

    def _hear(self, number: int, place: Place) -> Iterator[tuple[str, Outcome | None]]:
        """Everything that a worker has said, its death included."""
        try:
            yield from self._said(place)
        except (EOFError, OSError):
            yield from self._lost(number, place, self._epitaph(place))
            return
        if place.path is not None and time.monotonic() - place.since > self.limits.seconds:
            place.process.kill()
            with contextlib.suppress(EOFError, OSError):  # what it had said by then counts
                yield from self._said(place, 5)
            yield from self._lost(number, place, f"it took longer than {self.limits.seconds:,g} s")

    def _said(self, place: Place, wait: float = 0) -> Iterator[tuple[str, Outcome | None]]:
        """What a worker says, until it is silent for so many seconds; EOFError where it has ended."""
        while place.pipe.poll(wait):
            said = place.pipe.recv()
            place.since = time.monotonic()
            if said == READY:
                place.idle = True
            elif said == END and place.path is not None:
                yield place.path, None
                place.path, place.idle = None, True
            elif isinstance(said, Outcome) and place.path is not None:
                place.whole = said.member is None
                yield place.path, said

    def _epitaph(self, place: Place) -> str:
        place.process.join(5)
        code = place.process.exitcode
        if code is not None and code < 0:
            return f"the process that read it was ended by {signal.Signals(-code).name}"
        return f"the process that read it ended with status {code}"

    def _lost(self, number: int, place: Place, why: str) -> Iterator[tuple[str, Outcome | None]]:
        self._end(place)
        if place.path is None and not place.idle:
            raise CaseError(f"a worker did not start: {why}")
        self.places[number] = self._start()
        if place.path is not None:
            if not place.whole:
                yield place.path, Outcome("failed", why=why, passing=True)
            yield place.path, None

    def _end(self, place: Place) -> None:
        place.pipe.close()
        place.process.kill()
        place.process.join()

    def close(self) -> None:
        """End every worker, whatever it is at: what it was writing lies in the workshop."""
        for place in self.places:
            self._end(place)
