"""The service for volunteers: what comes is scrubbed, the rest is gone, nobody is known, and attacks end in a word."""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import io
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import httpx
import pytest

from kzpcap.upload.config import Config, ConfigError, load
from kzpcap.upload.language import NAMES, WORDS
from kzpcap.upload.store import DONE, FAILED, SEALED, WAITING, Store, digest
from kzpcap.upload.web import RECEIPT
from tests.conftest import CAPTURES, CHROMIUM, NO_BROWSER, ROOT, run

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


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    found = Server(tmp_path_factory.mktemp("service"), max_file=8 << 20)
    yield found
    found.stop()


def everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


# the volunteer's way


def test_without_scripts_from_the_form_to_the_verdict_and_away(server):
    page = httpx.get(server.url + "/?lang=kk")
    assert WORDS["kk"]["risk"] in page.text
    assert page.text.index(WORDS["kk"]["risk"]) < page.text.index("<form"), "the risk stands before the form"
    receipt = server.receipt(server.send(LADDER.read_bytes(), "my-own-name.pcapng", "kk", isp="Beeline", city="Almaty"))
    assert RECEIPT.fullmatch(receipt)
    upload = server.wait(receipt)
    assert upload.state == DONE
    assert not list(server.data.joinpath("incoming").iterdir()), "the original is destroyed"
    shown = httpx.get(f"{server.url}/r/{receipt}?lang=kk").text
    assert WORDS["kk"]["state_done"] in shown
    assert '<td class="number">6</td>' in shown
    assert "Qaznet Trust Network, Kazakhstan 2016-2019" in shown
    assert WORDS["kk"]["place_exact"] in shown
    kept = server.data / "kept" / upload.id
    reports = {"manifest.json", "report.json", "report.html", "result.json"}
    assert {path.name for path in kept.iterdir()} == {"scrubbed.pcapng", *reports}
    assert b"my-own-name" not in everything(server.data)
    assert b"192.0.2.10" not in everything(kept)
    assert receipt.encode() not in everything(server.data), "a receipt is known by its digest alone"
    gone = httpx.post(f"{server.url}/r/{receipt}/delete?lang=kk")
    assert WORDS["kk"]["deleted"] in gone.text
    assert not kept.exists()
    assert httpx.get(f"{server.url}/r/{receipt}").status_code == 404


def test_a_typed_receipt_finds_its_page(server):
    receipt = server.receipt(server.send(RCKU.read_bytes()))
    typed = receipt.replace("-", " ").upper()
    answer = httpx.post(server.url + "/receipt", data={"code": typed})
    assert answer.headers["location"].startswith(f"/r/{receipt}")
    assert httpx.post(server.url + "/receipt", data={"code": "aaaaa"}).status_code == 404
    assert server.wait(receipt).state == DONE


@pytest.mark.parametrize("path", ["/", "/how", "/review", "/nothing", "/static/upload.js"])
def test_nothing_is_loaded_from_elsewhere_and_no_cookie_is_set(server, path):
    answer = httpx.get(server.url + path)
    assert "set-cookie" not in answer.headers
    assert "server" not in answer.headers
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["referrer-policy"] == "no-referrer"
    loaded = re.findall(r"(?:src|href|action)=\"([^\"]+)\"", answer.text)
    assert all(target.startswith(("/", "data:,")) for target in loaded), loaded
    assert "<script>" not in answer.text
    assert " style=" not in answer.text
    assert not re.search(r"\son\w+=", answer.text)


def test_no_log_of_requests(server):
    httpx.get(server.url + "/?secret-marker-in-a-url", headers={"user-agent": "secret-marker-browser"})
    server.send(b"no capture", "secret-marker-file")
    log = (server.folder / "log").read_text()
    assert "secret-marker" not in log
    assert "127.0.0.1 - " not in log
    database = (server.data / "kzpcap.sqlite").read_bytes()
    assert b"secret-marker" not in database
    assert b"127.0.0.1" not in database


# what is no capture, and what attacks


def bomb() -> bytes:
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=9) as file:
        file.write(b"\xd4\xc3\xb2\xa1\x02\0\x04\0" + bytes(16))
        for _ in range(300):
            file.write(bytes(1 << 20))
    return packed.getvalue()


def nested() -> bytes:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.zip", b"PK\x03\x04" + bytes(100))
    return inner.getvalue()


def tricky() -> bytes:
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as archive:
        info = tarfile.TarInfo("../../../../etc/evil")
        info.size = 4
        archive.addfile(info, io.BytesIO(b"evil"))
    return body.getvalue()


@pytest.mark.parametrize(
    ("body", "why"),
    [(b"plain text", "not_a_capture"), (b"\x7fELF" + bytes(100), "not_a_capture"), (bomb(), "not_a_capture"),
     (nested(), "not_a_capture"), (tricky(), "not_a_capture"), (b"\xd4\xc3\xb2\xa1" + bytes(8), "not_a_capture"),
     ((CAPTURES / "mid-connection" / "capture.pcapng").read_bytes()[:200], "no_evidence")],
    ids=["text", "program", "bomb", "nested", "paths", "cut", "nothing in it"],
)  # fmt: skip
def test_what_is_no_evidence_is_told_and_gone(server, body, why):
    receipt = server.receipt(server.send(body))
    upload = server.wait(receipt)
    assert (upload.state, upload.failure) == (FAILED, why)
    assert not (server.data / "incoming" / upload.id).exists()
    assert not (server.data / "kept" / upload.id).exists()
    assert WORDS["ru"][f"why_{why}"] in httpx.get(f"{server.url}/r/{receipt}?lang=ru").text


def test_markup_is_shown_and_never_run(server):
    evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{7*7}}';DROP TABLE uploads;--"
    receipt = server.receipt(server.send(RCKU.read_bytes(), evil, note=evil, isp=evil, city=evil))
    assert server.wait(receipt).state == DONE
    with httpx.Client(base_url=server.url) as browser:
        browser.post("/review", data={"token": server.token})
        page = browser.get("/review").text
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "&lt;script&gt;" in page
    assert "{{7*7}}" in page, "no template is evaluated"
    assert Store(server.data).all(), "no table was dropped"


@pytest.mark.parametrize(
    "path",
    ["/r/abcde-fghij-klmno-pqrst-uvwxy-z", "/r/..%2f..%2fkzpcap.sqlite", "/r/' OR 1=1 --", "/r/" + "a" * 5_000,
     "/static/../../../etc/passwd", "/static/%2e%2e/%2e%2e/web.py", "/files/abcde-fghij-klmno-pqrst-uvwxy-z"],
)  # fmt: skip
def test_nobody_elses_and_no_other_file(server, path):
    answer = httpx.get(server.url + path)
    assert answer.status_code in (404, 405, 414)
    assert "root:" not in answer.text


def test_oversized_headers_and_odd_requests_do_not_hurt(server):
    post, form = b"POST /upload HTTP/1.1\r\nHost: x\r\n", b"Content-Type: multipart/form-data; boundary="
    for raw in (
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
        post + b"Content-Length: -5\r\n\r\n",
        post + form + b"\r\nContent-Length: 3\r\n\r\nabc",
        post + form + b"b\r\nContent-Length: 3\r\n\r\nabc",
        b"\x00" * 4_000,
        b"GET /?lang=%s HTTP/1.1\r\nHost: x\r\n\r\n" % (b"%00" * 100),
    ):
        with socket.create_connection(("127.0.0.1", server.port), 5) as link, contextlib.suppress(OSError):
            link.sendall(raw)
            link.shutdown(socket.SHUT_WR)
            while link.recv(65_536):
                pass
    assert httpx.get(server.url + "/").status_code == 200


def test_a_second_file_in_a_form_goes_nowhere(server):
    files = [("file", ("a.pcap", LADDER.read_bytes())), ("file", ("b.pcap", b"more" * 9_000)), ("note", (None, "n"))]
    upload = server.wait(server.receipt(httpx.post(f"{server.url}/upload", files=files, timeout=60)))
    assert upload.state == DONE
    assert upload.size == LADDER.stat().st_size
    assert upload.told == {"note": "n"}


def test_a_broken_upload_leaves_nothing(server):
    before = set((server.data / "incoming").iterdir())
    head = b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    head += b"Content-Length: 900000\r\n\r\n"
    head += b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n' + bytes(200_000)
    with socket.create_connection(("127.0.0.1", server.port), 5) as link:
        link.sendall(head)
        time.sleep(0.3)
    for _ in range(100):
        if set((server.data / "incoming").iterdir()) <= before:
            break
        time.sleep(0.05)
    assert set((server.data / "incoming").iterdir()) <= before


@pytest.mark.parametrize("lang", list(NAMES))
def test_too_large_is_said_before_it_is_taken(server, lang):
    answer = server.send(bytes(9 << 20), lang=lang)
    assert answer.status_code == 413
    assert WORDS[lang]["too_large"] % 8 in answer.text
    assert not [path for path in (server.data / "incoming").iterdir() if path.stat().st_size > 8 << 20]


def test_a_thousand_slow_connections_do_not_stop_the_page(server):
    links = []
    try:
        for _ in range(1_000):
            link = socket.create_connection(("127.0.0.1", server.port), 5)
            link.sendall(b"POST /upload HTTP/1.1\r\nHost: x\r\n")
            links.append(link)
        started = time.monotonic()
        assert httpx.get(server.url + "/", timeout=10).status_code == 200
        assert time.monotonic() - started < 2
    finally:
        for link in links:
            link.close()


# limits, crashes, time


@pytest.mark.parametrize(
    ("settings", "status", "why"),
    [({"max_day": 1_000}, 507, "full"), ({"max_kept": 1_000}, 507, "full"), ({"min_free": 1 << 60}, 507, "full"),
     ({"max_uploads": 0}, 503, "too_many")],
    ids=["day", "kept", "disk", "at once"],
)  # fmt: skip
def test_limits_are_told_in_the_volunteers_language(settings, status, why, tmp_path):
    server = Server(tmp_path, **settings)
    try:
        answer = server.send(RCKU.read_bytes(), lang="ru")
        assert answer.status_code == status
        assert WORDS["ru"][why] in answer.text
        assert not list((server.data / "incoming").iterdir())
        assert not Store(server.data).all()
        made = httpx.post(server.url + "/files", headers={**TUS, "Upload-Length": "5000"})
        assert made.status_code == status
    finally:
        server.stop()


@pytest.mark.parametrize(
    "settings", [{"analysis_memory": 32 << 20}, {"analysis_seconds": 0}], ids=["out of memory", "out of time"]
)
def test_an_analysis_that_does_not_end_takes_down_nothing(settings, tmp_path):
    server = Server(tmp_path, **settings)
    try:
        receipt = server.receipt(server.send(LADDER.read_bytes()))
        upload = server.wait(receipt)
        assert (upload.state, upload.failure) == (FAILED, "crashed")
        assert not list((server.data / "incoming").iterdir())
        assert httpx.get(server.url + "/").status_code == 200
    finally:
        server.stop()


def test_killed_at_random_moments_nothing_is_lost_or_doubled(tmp_path):
    """SIGKILL in the middle of uploads and analyses: what was accepted is finished after the restart, once."""
    rng = random.Random(SEED)
    server = Server(tmp_path)
    receipts = []
    try:
        for _ in range(KILLS):
            for _ in range(2):
                with contextlib.suppress(httpx.TransportError):
                    receipts.append(server.receipt(server.send(LADDER.read_bytes())))
            time.sleep(rng.random() * 1.5)
            server.stop(signal.SIGKILL)
            server.start()
        for receipt in receipts:  # they are taken in no order of arrival: the first may be the last
            assert server.wait(receipt, seconds=30 + 4 * KILLS).state == DONE
        assert len(receipts) == 2 * KILLS
        ids = {Store(server.data).by_receipt(receipt).id for receipt in receipts}
        assert len(ids) == len(receipts)
        assert {path.name for path in (server.data / "kept").iterdir()} >= ids
        assert not list((server.data / "incoming").iterdir())
        kept = [(server.data / "kept" / name / "report.json").read_bytes() for name in ids]
        assert len(set(kept)) == 1, "each was analysed to the same end"
    finally:
        server.stop()


def test_an_upload_that_a_server_ended_with_waits_behind_the_others(tmp_path):
    store = Store(tmp_path)
    names = sorted(store.create("en", {})[0] for _ in range(3))
    for name in names:
        store.part(name).write_bytes(b"x")
        store.arrived(name, 1)
    taken = []
    for _ in range(6):
        taken.append(store.next_waiting().id)
        store.sweep(24, 365, starting=True)
    assert taken == names + names
    assert {store.by_id(name).tries for name in names} == {2}


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells a child of its parent's end")
def test_an_analysis_ends_with_the_service(tmp_path):
    own = Server(tmp_path)
    try:
        own.send(LADDER.read_bytes())
        mark = str(own.data).encode()

        def analyses():
            found = []
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    line = path.read_bytes()
                    if b"kzpcap.upload.child" in line and mark in line:
                        found.append(path)
            return found

        until = time.monotonic() + 10
        while not analyses() and time.monotonic() < until:
            time.sleep(0.005)
        assert analyses()
        time.sleep(0.2)  # past the child's first lines
        own.stop(signal.SIGKILL)
        until = time.monotonic() + 2
        while analyses() and time.monotonic() < until:
            time.sleep(0.02)
        assert not analyses()
        own.start()
    finally:
        own.stop()


def test_what_is_past_its_time_goes(tmp_path):
    store = Store(tmp_path / "data")
    old, _ = store.create("en", {})
    store.part(old).write_bytes(b"half")
    os.utime(store.part(old), (1, 1))
    young, receipt = store.create("en", {"isp": " x " * 100, "else": "not kept"})
    store.part(young).write_bytes(b"half")
    (store.incoming / "stranger").write_bytes(b"of no upload")
    (store.kept / "stranger").mkdir()
    store.sweep(24, 365)
    assert {path.name for path in store.incoming.iterdir()} == {young}
    assert store.by_id(old) is None
    assert not list(store.kept.iterdir())
    upload = store.by_receipt(receipt)
    assert upload.told == {"isp": ("x  " * 100)[:80].strip()} or set(upload.told) == {"isp"}
    store.arrived(young, 4)
    assert store.next_waiting().id == young
    store.sweep(24, 365, starting=True)
    assert store.by_id(young).state == WAITING, "what a crash left is begun again"
    with store.database() as database:
        database.execute("UPDATE uploads SET day = '2000-01-01'")
    store.sweep(24, 365)
    assert store.all() == []
    assert not list(store.incoming.iterdir())


def test_the_folder_is_its_owners_alone(server):
    for path in [server.data, *server.data.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path


# tus

TUS = {"Tus-Resumable": "1.0.0"}
PIECE = {**TUS, "Content-Type": "application/offset+octet-stream"}


def create(server, length, **fields):
    told = ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in fields.items())
    answer = httpx.post(server.url + "/files", headers={**TUS, "Upload-Length": str(length), "Upload-Metadata": told})
    assert answer.status_code == 201
    return answer.headers["location"]


def offset(server, place):
    return int(httpx.head(server.url + place, headers=TUS).headers["upload-offset"])


def test_a_resumable_upload_goes_on_where_it_broke(server):
    body = LADDER.read_bytes()
    place = create(server, len(body), isp="Tele2", filename="/home/me/secret-name.pcap")
    first = httpx.patch(server.url + place, content=body[:5_000], headers={**PIECE, "Upload-Offset": "0"})
    assert first.status_code == 204
    head = f"PATCH {place} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 5000\r\n"
    head += f"Content-Type: application/offset+octet-stream\r\nContent-Length: {len(body) - 5_000}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), 5) as link:  # a piece that breaks off in the middle
        link.sendall(head.encode() + body[5_000:7_000])
        time.sleep(0.3)
    for _ in range(50):
        at = offset(server, place)
        if at == 7_000:
            break
        time.sleep(0.05)
    assert at == 7_000
    wrong = httpx.patch(server.url + place, content=b"x", headers={**PIECE, "Upload-Offset": "5000"})
    assert wrong.status_code == 409
    done = httpx.patch(server.url + place, content=body[at:], headers={**PIECE, "Upload-Offset": str(at)})
    assert (done.status_code, done.headers["upload-offset"]) == (204, str(len(body)))
    upload = server.wait(place.removeprefix("/files/"))
    assert (upload.state, upload.told) == (DONE, {"isp": "Tele2"})
    assert b"secret-name" not in everything(server.data)


def test_more_than_announced_is_refused(server):
    place = create(server, 10)
    answer = httpx.patch(server.url + place, content=b"x" * 11, headers={**PIECE, "Upload-Offset": "0"})
    assert answer.status_code == 413
    assert offset(server, place) <= 10
    assert httpx.delete(server.url + place, headers=TUS).status_code == 204
    assert httpx.head(server.url + place, headers=TUS).status_code == 404


def test_one_writer_at_a_time(server):
    place = create(server, 100_000)
    with socket.create_connection(("127.0.0.1", server.port), 5) as link:
        head = f"PATCH {place} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n"
        head += "Content-Type: application/offset+octet-stream\r\nContent-Length: 100000\r\n\r\n"
        link.sendall(head.encode() + b"y" * 100)
        time.sleep(0.3)
        second = httpx.patch(server.url + place, content=b"z" * 100, headers={**PIECE, "Upload-Offset": "100"})
        assert second.status_code == 423
    httpx.delete(server.url + place, headers=TUS)


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 412), ({**TUS}, 400), ({**TUS, "Upload-Length": "-1"}, 400), ({**TUS, "Upload-Length": "1e9"}, 400),
     ({**TUS, "Upload-Length": "9" * 30}, 400), ({**TUS, "Upload-Length": "0"}, 400),
     ({**TUS, "Upload-Length": str(1 << 40)}, 413)],
)  # fmt: skip
def test_odd_creations(server, headers, status):
    assert httpx.post(server.url + "/files", headers=headers).status_code == status


def test_what_it_offers(server):
    answer = httpx.options(server.url + "/files")
    assert answer.headers["tus-version"] == "1.0.0"
    assert int(answer.headers["tus-max-size"]) == 8 << 20


def test_sealed_files_are_kept_closed(server):
    pyrage = pytest.importorskip("pyrage")
    identity = pyrage.x25519.Identity.generate()
    sealed = pyrage.encrypt(RCKU.read_bytes(), [identity.to_public()])
    receipt = server.receipt(server.send(sealed))
    upload = server.wait(receipt)
    assert upload.state == SEALED
    assert (server.data / "kept" / upload.id / "sealed.age").read_bytes() == sealed
    assert WORDS["en"]["state_sealed"] in httpx.get(f"{server.url}/r/{receipt}?lang=en").text
    got = server.api(f"/api/uploads/{upload.id}/sealed.age").content
    assert pyrage.decrypt(got, [identity]) == RCKU.read_bytes()


# the researcher's side


def test_the_api_by_token_and_role(server):
    receipt = server.receipt(server.send(LADDER.read_bytes()))
    upload = server.wait(receipt)
    assert httpx.get(server.url + "/api/uploads").status_code == 401
    assert server.api("/api/uploads", "0" * 64).status_code == 401
    rows = server.api("/api/uploads").json()
    assert upload.id in {row["id"] for row in rows}
    assert "receipt" not in json.dumps(rows)
    report = server.api(f"/api/uploads/{upload.id}/report.json").json()
    assert report["ladders"][0]["interceptor_ttl"] == 5
    capture = server.api(f"/api/uploads/{upload.id}/scrubbed.pcapng").content
    assert capture[:4] == b"\n\r\r\n"
    for name in ("result.json", "..%2f..%2fkzpcap.sqlite", "kzpcap.sqlite"):
        assert server.api(f"/api/uploads/{upload.id}/{name}").status_code == 404
    store = Store(server.data)
    reader = store.new_token("reader", "read")
    assert server.api(f"/api/uploads/{upload.id}", reader).status_code == 200
    assert server.api(f"/api/uploads/{upload.id}", reader, "DELETE").status_code == 403
    assert store.revoke(digest(reader)[:12])
    assert server.api("/api/uploads", reader).status_code == 401, "a revoked token"
    assert server.api(f"/api/uploads/{upload.id}", method="DELETE").status_code == 204
    assert server.api(f"/api/uploads/{upload.id}").status_code == 404
    whats = {row["what"] for row in store.accesses()}
    assert {"list", "report.json", "scrubbed.pcapng", "delete"} <= whats, "every access is on record"
    assert reader not in (server.data / "kzpcap.sqlite").read_bytes().decode("latin-1")


def test_the_report_is_a_page_that_can_do_nothing(server):
    upload = server.wait(server.receipt(server.send(LADDER.read_bytes())))
    page = server.api(f"/api/uploads/{upload.id}/report.html")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"] == "default-src 'none'; style-src 'unsafe-inline'; sandbox"
    assert len([1 for name in page.headers if name == "content-security-policy"]) == 1
    assert "between hop 4 (92.47.151.210) and hop 5 (95.56.243.92)" in page.text
    assert "<script" not in page.text


def test_what_is_exported_becomes_a_case(server, tmp_path):
    pyrage = pytest.importorskip("pyrage")
    identity = pyrage.x25519.Identity.generate()
    (tmp_path / "key").write_text(f"{identity}\n")
    sealed = pyrage.encrypt(RCKU.read_bytes(), [identity.to_public()])
    one = server.wait(server.receipt(server.send(LADDER.read_bytes(), isp="Қазақтелеком", note="=1+1<b>")))
    two = server.wait(server.receipt(server.send(sealed)))
    assert httpx.get(server.url + "/api/export.tar").status_code == 401
    got = server.api("/api/export.tar")
    (tmp_path / "export.tar").write_bytes(got.content)
    with tarfile.open(tmp_path / "export.tar") as archive:
        names = archive.getnames()
        assert {f"{one.id}/told.json", f"{one.id}/scrubbed.pcapng", f"{two.id}/sealed.age"} <= set(names)
        assert archive.extractfile(f"{two.id}/sealed.age").read() == sealed
        assert {member.mtime for member in archive} == {0}
    case = str(tmp_path / "case")
    done = run("case", "import", str(tmp_path / "export.tar"), "--case", case, "-i", str(tmp_path / "key"))
    assert done.returncode in (0, 1), done.stderr  # other tests' sealed files are for others
    lines = "".join(path.read_text() for path in (tmp_path / "case" / "custody").iterdir()).splitlines()
    told = [json.loads(line)["sidecar"] for line in lines if '"sidecar"' in line]
    (beside,) = [entry for entry in told if entry.get("upload") == one.id]
    assert beside["isp"] == "Қазақтелеком"
    assert beside["note"] == "=1+1<b>"
    (beside,) = [entry for entry in told if entry.get("upload") == two.id]
    assert beside["sealed_sha256"] == hashlib.sha256(sealed).hexdigest()
    assert run("case", "verify", case).returncode == 0
    assert "export" in {row["what"] for row in Store(server.data).accesses()}


def test_originals_are_kept_sealed_or_not_at_all(tmp_path):
    pyrage = pytest.importorskip("pyrage")
    identity = pyrage.x25519.Identity.generate()
    own = Server(tmp_path, keep_originals=True, age_recipient=str(identity.to_public()))
    try:
        assert WORDS["ru"]["thrown_text_kept"] in httpx.get(own.url + "/?lang=ru").text
        body = RCKU.read_bytes()
        receipt = own.receipt(own.send(body))
        upload = own.wait(receipt)
        assert upload.state == DONE
        kept = own.api(f"/api/uploads/{upload.id}/original.age").content
        assert pyrage.decrypt(kept, [identity]) == body
        assert body not in everything(own.data)
        assert not list((own.data / "incoming").iterdir())
        assert WORDS["en"]["state_done_kept"] in httpx.get(f"{own.url}/r/{receipt}?lang=en").text
        httpx.post(f"{own.url}/r/{receipt}/delete")
        assert not list((own.data / "kept").iterdir())
    finally:
        own.stop()


def test_the_same_bytes_are_found_without_their_digest(server):
    body = LADDER.read_bytes() + b"\0" * 4
    first, second = (server.wait(server.receipt(server.send(body))) for _ in range(2))
    assert first.state == second.state == DONE, "each is analysed as if it were new"
    assert second.id in server.api(f"/api/uploads/{first.id}").json()["same_as"]
    kept = everything(server.data)
    assert hashlib.sha256(body).hexdigest().encode() not in kept
    assert hashlib.sha256(body).digest() not in kept


def test_a_form_of_another_site_does_nothing(server):
    upload = server.wait(server.receipt(server.send(RCKU.read_bytes())))
    with httpx.Client(base_url=server.url) as browser:
        assert browser.post("/review", data={"token": "wrong"}).status_code == 403
        entered = browser.post("/review", data={"token": server.token})
        cookie = entered.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        for forged in ("", "0" * 64):
            browser.post("/review/delete", data={"id": upload.id, "csrf": forged})
            assert Store(server.data).by_id(upload.id)
        browser.delete(f"/api/uploads/{upload.id}")
        assert Store(server.data).by_id(upload.id), "a cookie alone deletes nothing"
        page = browser.get("/review").text
        proof = re.search(r"name=\"csrf\" value=\"([0-9a-f]{64})\"", page)[1]
        assert browser.post("/review/delete", data={"id": upload.id, "csrf": proof}).status_code == 303
        assert Store(server.data).by_id(upload.id) is None
        browser.post("/review/leave", data={"csrf": proof})
        assert "Access token" in browser.get("/review").text


def test_the_description_fits_what_is_answered(server):
    import jsonschema

    described = httpx.get(server.url + "/api/openapi.json").json()
    schema = {**described["components"]["schemas"]["Upload"]}
    for row in server.api("/api/uploads").json():
        jsonschema.validate(row, schema)
    assert set(described["paths"]) == {
        "/api/uploads", "/api/uploads/{id}", "/api/uploads/{id}/{file}", "/api/export.tar",
    }  # fmt: skip


CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


def test_schemathesis_finds_no_server_error_and_nothing_undescribed(server, tmp_path):
    upload = server.wait(server.receipt(server.send(LADDER.read_bytes())))
    described = httpx.get(server.url + "/api/openapi.json").json()
    del described["paths"]["/api/uploads/{id}"]["delete"]  # it would delete what the others are about
    for path in ("/api/uploads/{id}", "/api/uploads/{id}/{file}"):
        described["paths"][path]["parameters"][0]["schema"]["enum"] = [upload.id, "0" * 32, "\u0000", "a b%"]
    (tmp_path / "some.json").write_text(json.dumps(described))
    for schema in (server.url + "/api/openapi.json", str(tmp_path / "some.json")):
        command = [sys.executable, "-m", "schemathesis.cli", "run", schema, "--url", server.url, "--checks", CHECKS]
        command += ["--header", f"Authorization: Bearer {server.token}", "--generation-database", "none"]
        command += ["--max-examples", os.environ.get("SOAK_EXAMPLES", "10"), "--seed", str(SEED), "--no-color"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout[-6_000:] + done.stderr[-2_000:]
        made = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
        assert made, done.stdout[-3_000:]
        assert made[1] == made[2]
        assert int(made[1]) > 100
    assert "report.html" in {row["what"] for row in Store(server.data).accesses(100_000)}, "it got as far as the files"


# words and settings


def test_every_language_says_everything():
    for code, words in WORDS.items():
        assert words.keys() == WORDS["en"].keys(), code
        for key, text in words.items():
            assert text.count("%s") == WORDS["en"][key].count("%s"), (code, key)
            assert text.strip()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("keep_originals = true", "wants age_recipient"),
        ('age_recipient = "age1nonsense"', "not an age recipient"),
    ],
)
def test_originals_need_a_reader(text, why, tmp_path):
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(ConfigError, match=why):
        load(tmp_path / "c.toml")


def test_settings(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text('max_file = 5\nonion = "http://abc.onion"\n')
    assert load(path) == Config(max_file=5, onion="http://abc.onion")
    for wrong in ("max_fil = 5", 'max_file = "5"', "max_file = ", "trusted_roots = [1]"):
        path.write_text(wrong)
        with pytest.raises(ConfigError):
            load(path)


def test_tokens_from_the_command_line(tmp_path):
    from tests.conftest import run

    Store(tmp_path / "data")
    made = run("token", "--data", str(tmp_path / "data"), "--label", "Anna", "--role", "manage").stdout.decode()
    token = re.search(r"[0-9a-f]{64}", made)[0]
    listed = run("token", "--data", str(tmp_path / "data")).stdout.decode()
    assert "Anna" in listed
    assert token not in listed
    assert run("token", "--data", str(tmp_path / "data"), "--revoke", listed.split()[0]).returncode == 0
    assert Store(tmp_path / "data").role(token) is None


# a browser

WIDTHS = {"phone": 360, "desktop": 1280}


def test_there_is_a_browser_in_ci():
    if os.environ.get("CI"):
        assert CHROMIUM, "chromium is missing (Debian: chromium)"


@NO_BROWSER
@pytest.mark.parametrize("width", list(WIDTHS))
@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
@pytest.mark.parametrize("lang", list(NAMES))
def test_in_a_browser(server, browser, lang, scripts, width):
    """From the page over the upload to the verdict, and away; no request leaves, nothing is wider than the screen."""
    context = browser.new_context(
        java_script_enabled=scripts, viewport={"width": WIDTHS[width], "height": 800}, locale="en"
    )
    page = context.new_page()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    words = WORDS[lang]
    page.goto(f"{server.url}/?lang={lang}")
    assert page.title() == words["title"]
    if scripts:
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.set_input_files("#file", str(LADDER))
    page.fill("#isp", "Beeline")
    page.click("#upload button[type=submit]")
    page.wait_for_url("**/r/**", timeout=20_000)
    page.wait_for_selector(f"text={words['state_done']}", timeout=30_000)
    assert "Qaznet Trust Network" in page.inner_text("main")
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        page.screenshot(path=f"{folder}/{lang}-{'js' if scripts else 'nojs'}-{width}-receipt.png", full_page=True)
    page.click(f"text={words['delete']}")
    page.wait_for_selector(f"text={words['deleted']}")
    page.goto(f"{server.url}/how?lang={lang}")
    if folder:
        page.screenshot(path=f"{folder}/{lang}-{width}-how.png", full_page=True)
        page.goto(f"{server.url}/?lang={lang}")
        page.screenshot(path=f"{folder}/{lang}-{width}-home.png", full_page=True)
    assert all(url.startswith((server.url, "data:")) for url in asked), asked
    assert context.cookies() == []
    context.close()


@NO_BROWSER
@pytest.mark.parametrize("path", ["/", "/how", "/review"])
@pytest.mark.parametrize("lang", list(NAMES))
def test_accessible(server, browser, path, lang):
    from axe_playwright_python import sync_playwright as axe

    context = browser.new_context(bypass_csp=True)
    page = context.new_page()
    page.goto(f"{server.url}{path}?lang={lang}")
    found = [one for one in axe.Axe().run(page).response["violations"] if one["impact"] in ("serious", "critical")]
    assert found == [], [(one["id"], one["nodes"][0]["html"]) for one in found]
    context.close()
