"""What limits, crashes and time do to uploads, and the service's words and settings."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import socket
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from kzpcap.upload.config import Config, ConfigError, load
from kzpcap.upload.language import WORDS
from kzpcap.upload.receive import Gate, Refused
from kzpcap.upload.store import DONE, FAILED, WAITING, Store
from kzpcap.upload.sweep import sweep
from tests.conftest import run
from tests.service import KILLS, LADDER, RCKU, SEED, Server


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
        made = httpx.post(server.url + "/files", headers={"Tus-Resumable": "1.0.0", "Upload-Length": "5000"})
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
    names = sorted(store.create({})[0] for _ in range(3))
    for name in names:
        store.part(name).write_bytes(b"x")
        store.arrived(name, 1)
    taken = []
    for _ in range(6):
        taken.append(store.next_waiting().id)
        sweep(store, 24, 365, starting=True)
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
    old, _ = store.create({})
    store.part(old).write_bytes(b"half")
    os.utime(store.part(old), (1, 1))
    young, receipt = store.create({"isp": " x " * 100, "else": "not kept"})
    store.part(young).write_bytes(b"half")
    (store.incoming / "stranger").write_bytes(b"of no upload")
    (store.kept / "stranger").mkdir()
    sweep(store, 24, 365)
    assert {path.name for path in store.incoming.iterdir()} == {young}
    assert store.by_id(old) is None
    assert not list(store.kept.iterdir())
    upload = store.by_receipt(receipt)
    assert upload.told == {"isp": ("x  " * 100)[:80].strip()} or set(upload.told) == {"isp"}
    store.arrived(young, 4)
    assert store.next_waiting().id == young
    sweep(store, 24, 365, starting=True)
    assert store.by_id(young).state == WAITING, "what a crash left is begun again"
    with store.database() as database:
        database.execute("UPDATE uploads SET day = '2000-01-01'")
    sweep(store, 24, 365)
    assert store.all() == []
    assert not list(store.incoming.iterdir())


def test_the_folder_is_its_owners_alone(server):
    for path in [server.data, *server.data.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path


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
    for wrong in (
        "max_fil = 5",
        "max_file = -5",
        "max_day = -1",
        'max_file = "5"',
        "max_file = ",
        "trusted_roots = [1]",
    ):
        path.write_text(wrong)
        with pytest.raises(ConfigError):
            load(path)


def test_tokens_from_the_command_line(tmp_path):

    Store(tmp_path / "data")
    made = run("token", "--data", str(tmp_path / "data"), "--label", "Anna", "--role", "manage").stdout.decode()
    token = re.search(r"[0-9a-f]{64}", made)[0]
    listed = run("token", "--data", str(tmp_path / "data")).stdout.decode()
    assert "Anna" in listed
    assert token not in listed
    assert run("token", "--data", str(tmp_path / "data"), "--revoke", listed.split()[0]).returncode == 0
    assert Store(tmp_path / "data").role(token) is None


def test_whoever_does_not_finish_the_head_of_a_request_is_cut_off(tmp_path):
    server = Server(tmp_path, head_seconds=1)
    try:
        begun = time.monotonic()
        silent, slow, used = (socket.create_connection(("127.0.0.1", server.port), 5) for _ in range(3))
        used.sendall(b"GET /static/style.css HTTP/1.1\r\nHost: x\r\n\r\n")
        assert used.recv(12) == b"HTTP/1.1 200"
        time.sleep(0.3)
        used.recv(65_536)
        used.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")  # a second request on the same connection, never ended
        for _ in range(15):
            with contextlib.suppress(OSError):
                slow.sendall(b"G")
            time.sleep(0.1)
        endless = socket.create_connection(("127.0.0.1", server.port), 5)
        endless.sendall(b"GET /static/style.css HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nx")
        for one in (silent, slow, used, endless):
            with contextlib.suppress(ConnectionResetError):
                while one.recv(65_536):
                    pass
            one.close()
        assert time.monotonic() - begun < 4
        with httpx.Client() as client:  # an upload may take longer than that
            body = iter([b"POST", *[b"x" * 100 for _ in range(4)]])

            def slowly():
                for piece in body:
                    time.sleep(0.4)
                    yield piece

            assert client.post(server.url + "/upload", content=slowly(), timeout=20).status_code in (400, 415, 422)
        assert "Traceback" not in (tmp_path / "log").read_text()
    finally:
        server.stop()


def test_a_body_that_came_after_its_answer_ends_no_later_request(tmp_path):
    server = Server(tmp_path, head_seconds=1)
    try:
        with socket.create_connection(("127.0.0.1", server.port), 5) as link:
            link.sendall(b"GET /static/style.css HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n")
            assert link.recv(12) == b"HTTP/1.1 200"
            time.sleep(0.3)
            link.recv(65_536)
            link.sendall(
                b"abcdPOST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n"
                b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
            )
            for _ in range(8):
                time.sleep(0.25)
                link.sendall(b"x")
            assert link.recv(12) == b"HTTP/1.1 400"
    finally:
        server.stop()


@pytest.mark.parametrize(("landed", "refused"), [(0, True), (4, True), (5, False)])
def test_what_landed_already_takes_no_room_twice(landed, refused):
    store = SimpleNamespace(received_today=lambda: 0, used=lambda: 95, free=lambda: 1_000)
    gate = Gate(store, SimpleNamespace(max_file=100, max_day=100, max_kept=100, min_free=0))
    with pytest.raises(Refused) if refused else contextlib.nullcontext():
        gate.room(10, landed)


def test_kept_files_are_counted_once_a_minute_and_what_comes_meanwhile_is_added(monkeypatch):
    counts, now = [], [1_000.0]
    monkeypatch.setattr("kzpcap.upload.receive.time.monotonic", lambda: now[0])
    store = SimpleNamespace(received_today=lambda: 0, used=lambda: counts.append(1) or 50, free=lambda: 1_000)
    gate = Gate(store, SimpleNamespace(max_file=100, max_day=100, max_kept=100, min_free=0))
    for _ in range(50):
        gate.room(50)
    gate.came(1)
    with pytest.raises(Refused, match="full"):
        gate.room(50)
    assert len(counts) == 1
    now[0] += 2
    gate.room(50)
    assert len(counts) == 2, "before it refuses it counts anew: what was deleted has its room again"
    gate.room(50)
    now[0] += 61
    gate.room(50)
    assert len(counts) == 3
