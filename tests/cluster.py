"""A Dask cluster of this machine for a test: prints its address and its workers' process numbers, until input ends."""

from __future__ import annotations

import json
import sys

from distributed import Client, LocalCluster


def main() -> None:
    with (
        LocalCluster(n_workers=3, threads_per_worker=1, dashboard_address=None, host="127.0.0.1") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        pids = list(client.run(__import__("os").getpid).values())
        print(json.dumps({"address": cluster.scheduler_address, "workers": pids}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
