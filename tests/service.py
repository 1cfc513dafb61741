"""The service for volunteers in a process of its own, for the tests that speak to it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

from kzpcap.upload.store import DONE, FAILED, SEALED, Store
from tests.conftest import CAPTURES, ROOT

LADDER = CAPTURES / "kz-2019-ladder" / "capture.pcapng"
RCKU = CAPTURES / "kz-2019-rcku" / "capture.pcapng"
KILLS = int(os.environ.get("SOAK_KILLS", "3"))
SEED = int(os.environ.get("SOAK_SEED", "20190720"))


class Server:
    """A service in a process of its own, over a data folder."""

    scheme = "http"

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder
        self.data = folder / "data"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.config = folder / "config.toml"
        self.config.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items()))
        self.token = ""
        self.start()

    def start(self) -> None:
        self.log = (self.folder / "log").open("ab")
        command = [
            sys.executable,
            "-u",
            "-m",
            "kzpcap",
            "serve",
            "--data",
            str(self.data),
            "--config",
            str(self.config),
        ]
        command += ["--listen", f"127.0.0.1:{self.port}"]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, cwd=ROOT)
        for _ in range(200):
            with contextlib.suppress(httpx.TransportError):
                httpx.get(self.url + "/static/style.css", verify=False)
                break
            time.sleep(0.05)
        found = re.search(r"shown only now: ([0-9a-f]{64})", (self.folder / "log").read_text())
        self.token = found[1] if found else self.token

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def stop(self, how: int = signal.SIGTERM) -> None:
        self.process.send_signal(how)
        self.process.wait(20)
        self.log.close()

    def send(self, body: bytes, name: str = "c.pcap", lang: str = "en", **fields: str) -> httpx.Response:
        files = {"file": (name, body)}
        return httpx.post(f"{self.url}/upload?lang={lang}", files=files, data=fields, timeout=60)

    def receipt(self, answer: httpx.Response) -> str:
        assert answer.status_code == 303, answer.text
        return answer.headers["location"].split("/r/")[1].split("?")[0]

    def wait(self, receipt: str, *states: str, seconds: int = 30) -> object:
        store = Store(self.data)
        for _ in range(seconds * 20):
            upload = store.by_receipt(receipt)
            if upload is None or upload.state in (states or (DONE, FAILED, SEALED)):
                return upload
            time.sleep(0.05)
        raise AssertionError(upload)

    def api(self, path: str, token: str | None = None, method: str = "GET") -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token if token is None else token}"}
        return httpx.request(method, self.url + path, headers=headers)


def everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
