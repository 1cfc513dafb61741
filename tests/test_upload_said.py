"""What a receipt says, and no more; what of a failed upload is left; who is kept waiting, and who sees it in a log."""

from __future__ import annotations

import socket
import sqlite3
import sys
import time

import pytest

from kzpcap.upload import child
from kzpcap.upload.config import Config
from kzpcap.upload.store import ANALYSING, DONE, FAILED, WAITING, Store, days_ago
from kzpcap.upload.sweep import sweep
from kzpcap.upload.worker import MAX_WANTED, Workers
from tests.conftest import CAPTURES, run
from tests.service import RCKU, Server

sys.path.insert(0, str(CAPTURES))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    found = Server(tmp_path_factory.mktemp("said"))
    yield found
    found.stop()


def example(name):
    return next((CAPTURES / name).glob("capture.pcap*")).read_bytes()


def page(server, receipt, lang="en"):
    import httpx

    return httpx.get(f"{server.url}/r/{receipt}?lang={lang}").text


@pytest.mark.parametrize("name", ["products-and-strangers", "lab-mitmproxy", "lab-squid"])
def test_a_receipt_names_nobody_by_names_alone(server, name):
    receipt = server.receipt(server.send(example(name)))
    upload = server.wait(receipt)
    if upload.state == DONE:
        assert upload.result["by"] == []
    assert "avast" not in page(server, receipt).lower()


def test_a_receipt_says_that_a_replay_is_not_excluded(server):
    receipt = server.receipt(server.send(RCKU.read_bytes()))
    upload = server.wait(receipt)
    assert upload.result["published"] == 1
    assert upload.result["by"], "a verified key is named"
    for lang, words in (("en", "published before"), ("ru", "уже был опубликован"), ("kk", "бұрын жарияланған")):
        assert words in page(server, receipt, lang)


def test_a_genuine_certificate_does_not_look_forged(server, tmp_path):
    """Where two chains came for the same bytes, the suspicion rests on the other one."""
    receipt = server.receipt(server.send(example("tricks")))
    upload = server.wait(receipt)
    assert not any("DigiCert" in one for one in upload.result["issuers"])
    done = run("scrub", str(CAPTURES / "tricks" / "capture.pcapng"), str(tmp_path / "out.pcapng"))
    assert b"DigiCert" not in done.stdout + done.stderr


def test_of_a_failed_upload_nothing_typed_is_left(server):
    answer = server.send(b"no capture at all", isp="Beeline", city="Aktau", note="my name is")
    upload = server.wait(server.receipt(answer))
    assert (upload.state, upload.told) == (FAILED, {})
    assert b"Aktau" not in b"".join(path.read_bytes() for path in server.data.glob("kzpcap.sqlite*"))
    with sqlite3.connect(server.data / "kzpcap.sqlite") as database:
        assert database.execute("SELECT mark FROM uploads WHERE id = ?", (upload.id,)).fetchone() == (None,)


def test_when_its_day_is_over_no_size_tells_an_upload_from_another(tmp_path):
    store = Store(tmp_path / "data")
    for size in (1, 1 << 20, (1 << 20) + 1):
        name, _ = store.create({})
        store.length(name, size)
        store.part(name).write_bytes(b"x")
        store.arrived(name, size)
        store.failed(name, "crashed")
    sweep(store, 24, 365)
    assert sorted(one.size for one in store.all()) == [1, 1 << 20, (1 << 20) + 1], "the sum of the day needs them"
    with store.database() as database:
        database.execute("UPDATE uploads SET day = ?", (days_ago(1),))
    sweep(store, 24, 365)
    assert sorted(one.size >> 20 for one in store.all()) == [1, 1, 2]
    with store.database() as database:
        assert set(database.execute("SELECT length FROM uploads")) == {(None,)}


def test_what_strangers_send_writes_no_log_and_no_traceback(server):
    with socket.create_connection(("127.0.0.1", server.port), 5) as link:
        link.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")
        link.recv(1_000)
    import httpx

    cookies = {"kzpcap_review": "q"}
    answer = httpx.post(f"{server.url}/review/leave", data={"csrf": "Я"}, cookies=cookies)
    assert answer.status_code < 500
    odd = httpx.get(f"{server.url}//evil.example/x")
    assert '"//evil' not in odd.text
    told = (server.folder / "log").read_text()
    assert "Invalid HTTP" not in told
    assert "Traceback" not in told


def test_the_cookie_of_a_researcher_goes_by_tls_alone(server):
    import httpx

    for host, secure in (("kz.example.org", True), (f"127.0.0.1:{server.port}", False), ("abc.onion", False)):
        entered = httpx.post(f"{server.url}/review", data={"token": server.token}, headers={"Host": host})
        assert ("secure" in entered.headers["set-cookie"].lower()) is secure, host


def test_an_upload_that_finds_no_room_keeps_nobody_waiting(tmp_path, monkeypatch):
    import asyncio

    store = Store(tmp_path / "data")
    names = []
    for _ in range(3):
        name, _ = store.create({})
        store.part(name).write_bytes(RCKU.read_bytes())
        store.arrived(name, 1)
        names.append(name)
    large, *others = sorted(names)
    workers = Workers(store, Config())

    async def without_room(capture, folder, settings):
        return child.EXIT_NO_ROOM if large in str(capture) else child.EXIT_NO_EVIDENCE

    monkeypatch.setattr(workers, "_child", without_room)

    async def go():
        begun = time.monotonic()
        for _ in range(3):
            await workers.analyse(store.next_waiting(workers._resting()))
        assert time.monotonic() - begun < 5
        assert store.next_waiting(workers._resting()) is None, "it rests"
        states = {one.id: one.state for one in store.all()}
        assert (states[large], {states[one] for one in others}) == (WAITING, {FAILED})
        for _ in range(MAX_WANTED):
            workers.rests.clear()
            found = store.next_waiting(workers._resting())
            assert (found.id, found.state) == (large, ANALYSING)
            await workers.analyse(found)
        last = store.all()[[one.id for one in store.all()].index(large)]
        assert (last.state, last.failure) == (FAILED, "no_room")

    asyncio.run(go())


@pytest.mark.parametrize("name", ["", ".", "..", "x/../..", "A" * 32])
def test_nothing_but_an_upload_is_deleted(name, tmp_path):
    store = Store(tmp_path / "data")
    with pytest.raises(ValueError, match="no name of an upload"):
        store.delete(name)
    assert store.kept.is_dir()


def test_a_disk_that_is_full_at_the_start_of_an_upload_loses_no_evidence(tmp_path, monkeypatch):
    import asyncio

    import httpx

    from kzpcap.upload.web import Service

    store = Store(tmp_path / "data")
    (store.kept / "evidence").mkdir()
    monkeypatch.setattr(store, "create", lambda told: (_ for _ in ()).throw(OSError(28, "No space left on device")))

    async def send():
        transport = httpx.ASGITransport(Service(store, Config()).app())
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            await client.post("/upload", files={"file": ("a.pcap", b"123")})

    with pytest.raises(OSError, match="No space left on device"):
        asyncio.run(send())
    assert (store.kept / "evidence").is_dir()


def test_a_receipt_shows_nothing_when_its_days_are_over(server):
    import httpx

    receipt = server.receipt(server.send(RCKU.read_bytes()))
    server.wait(receipt)
    assert httpx.get(f"{server.url}/r/{receipt}").status_code == 200
    with sqlite3.connect(server.data / "kzpcap.sqlite") as database:
        database.execute("UPDATE uploads SET day = '2020-01-01'")
    assert httpx.get(f"{server.url}/r/{receipt}").status_code == 404


def test_no_short_word_revokes_tokens(tmp_path):
    store = Store(tmp_path / "data")
    store.new_token("one", "read")
    (token,) = store.tokens()
    for beginning in ("", "%", token["id"][:11], "_" * 12):
        assert not store.revoke(beginning), beginning
    assert not store.tokens()[0]["revoked"]
    assert store.revoke(token["id"])
