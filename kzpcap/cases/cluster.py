"""A run's workers as tasks of a Dask cluster: the same work on each file, on machines that see the same folders.

Every machine must reach the captures and the case under the same paths (a shared file system). A lost worker's file is
given to another by Dask; what it had begun lies in the workshop, which the run drops at its end. A capture's limits are
the cluster's own: Dask ends a worker that takes more memory than it was given.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

from kzpcap.cases.work import Outcome, Settings, Worker
from kzpcap.errors import CaseError, WitnessMissing

RETRIES = 2
AHEAD = 3
"""Files waiting for each thread of the cluster, so that none is idle."""
SECONDS = 30
_local = threading.local()


def judge(
    path: str, folder: str, workshop: str, settings: Settings, analysis: str, vouched: frozenset[str]
) -> list[Outcome]:
    """The outcome of each capture of a file; the reference data is loaded once in each thread of a worker."""
    key = folder, workshop, settings, analysis
    if getattr(_local, "key", None) != key:
        _local.worker, _local.key = Worker(folder, workshop, settings, analysis, vouched), key
    return list(_local.worker.work(path))


class Cluster:
    """A Dask cluster in place of worker processes; `run` gives every outcome as it comes."""

    def __init__(
        self, address: str, folder: str, workshop: str, settings: Settings, analysis: str, vouched: frozenset[str]
    ) -> None:
        """CaseError where the scheduler does not answer, WitnessMissing where Dask is not installed."""
        try:
            from distributed import Client
        except ImportError as error:
            raise WitnessMissing("--dask needs Dask: pip install 'kzpcap[cluster]'") from error
        try:
            self.client: Any = Client(address, timeout=SECONDS)
            self.client.wait_for_workers(1, timeout=SECONDS)
        except (OSError, ValueError, TimeoutError) as error:
            raise CaseError(f"no Dask cluster with workers at {address}: {error}") from error
        self.arguments = (folder, workshop, settings, analysis)
        (self.vouched,) = self.client.scatter([vouched], broadcast=True)

    def run(self, paths: Iterator[str], tick: Callable[[], Any]) -> Iterator[tuple[str, Outcome | None]]:
        """(file, outcome of one of its captures), and (file, None) when a file is finished."""
        from distributed import wait

        waiting: dict[Any, str] = {}
        more = True
        while True:
            room = AHEAD * max(1, sum(self.client.nthreads().values()))
            while more and len(waiting) < room:
                path = next(paths, None)
                if path is None:
                    more = False
                    break
                task = self.client.submit(judge, path, *self.arguments, self.vouched, retries=RETRIES, pure=False)
                waiting[task] = path
            if not waiting:
                return
            try:
                done = wait(list(waiting), timeout=0.2, return_when="FIRST_COMPLETED").done
            except TimeoutError:
                done = set()
            tick()
            for task in done:
                path = waiting.pop(task)
                try:
                    outcomes = task.result()
                except Exception as error:  # whatever the worker raised, or Dask in its place
                    why = f"the cluster did not get through with it: {type(error).__name__}: {error}"[:500]
                    outcomes = [Outcome("failed", why=why, passing=True)]
                for outcome in outcomes:
                    yield path, outcome
                yield path, None

    def close(self) -> None:
        """Leave the cluster; what is still waiting there is dropped."""
        self.client.close()
