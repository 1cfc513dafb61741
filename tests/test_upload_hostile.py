"""Strangers who want that volunteers cannot send, or that what they sent stays: what they can do about it."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sqlite3
import time
from contextlib import contextmanager

import httpx
import pytest

from kzpcap.upload import child, receive, worker
from kzpcap.upload.config import Config
from kzpcap.upload.store import ANALYSING, DONE, FAILED, RECEIVING, SEALED, WAITING, Store
from kzpcap.upload.sweep import sweep
from tests.service import LADDER, RCKU, Server
from tests.test_tus import PIECE, TUS, create

DAY = 86_400
FORM = b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n"
FORM += b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"


def send(server, body):
    place = create(server, len(body))
    assert httpx.patch(server.url + place, content=body, headers={**PIECE, "Upload-Offset": "0"}).status_code == 204
    return place


def test_uploads_that_are_deleted_at_any_moment_stop_no_analysis(server):
    """The only worker ended with the first that was deleted before its analysis had begun."""
    body = RCKU.read_bytes()
    for wait in (0, 0, 0.01, 0.05, 0.2, 0.4):
        place = send(server, body)
        time.sleep(wait)
        assert httpx.delete(server.url + place, headers=TUS).status_code == 204
    honest = send(server, body)
    assert server.wait(honest.removeprefix("/files/")).state == DONE
    until = time.monotonic() + 5
    while any((server.data / "incoming").iterdir()) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any((server.data / "incoming").iterdir())


def test_deleted_in_the_middle_of_a_piece(server):
    body = RCKU.read_bytes()
    place = create(server, len(body))
    head = f"PATCH {place} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n"
    head += f"Content-Type: application/offset+octet-stream\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), 5) as link:
        link.sendall(head.encode() + body[:3_000])
        time.sleep(0.3)
        httpx.delete(server.url + place, headers=TUS)
        link.sendall(body[3_000:])
        assert link.recv(100).startswith(b"HTTP/1.1 410")
    assert "Traceback" not in (server.folder / "log").read_text()


def test_bytes_that_wait_too_long_are_destroyed_whatever_state_they_are_in(tmp_path):
    store = Store(tmp_path / "data")
    names = {state: store.create({})[0] for state in (RECEIVING, WAITING, ANALYSING)}
    for state, name in names.items():
        store.part(name).write_bytes(b"unscrubbed")
        if state != RECEIVING:
            store.arrived(name, 10, state)
    sweep(store, 24, 365)
    assert {path.name for path in store.incoming.iterdir()} == set(names.values())
    for name in names.values():
        os.utime(store.part(name), (time.time() - 25 * 3_600,) * 2)
    sweep(store, 24, 365)
    assert not list(store.incoming.iterdir())
    assert store.by_id(names[RECEIVING]) is None
    assert {store.by_id(names[state]).failure for state in (WAITING, ANALYSING)} == {"crashed"}


def test_an_upload_that_is_touched_again_and_again_has_an_end_too(tmp_path):
    store = Store(tmp_path / "data")
    name, _ = store.create({})
    store.part(name).write_bytes(b"unscrubbed")
    with store.database() as database:
        database.execute("UPDATE uploads SET day = '2000-01-01'")
    sweep(store, 24, 100_000)
    assert not list(store.incoming.iterdir())


def test_of_very_many_begun_the_emptiest_make_room(tmp_path):
    server = Server(tmp_path, max_uploads=1)
    try:
        body = RCKU.read_bytes()
        honest = create(server, len(body))
        httpx.patch(server.url + honest, content=body[:2_000], headers={**PIECE, "Upload-Offset": "0"})
        for _ in range(40):  # each takes no place: one place closed the service for a day
            create(server, 1)
        assert Store(server.data).count(RECEIVING) <= 17
        late = create(server, len(body))
        httpx.patch(server.url + late, content=body[:3_000], headers={**PIECE, "Upload-Offset": "0"})
        rest = httpx.patch(server.url + honest, content=body[2_000:], headers={**PIECE, "Upload-Offset": "2000"})
        assert rest.status_code == 204
        assert server.wait(honest.removeprefix("/files/")).state == DONE
    finally:
        server.stop()


def test_slow_forms_give_up_their_places(tmp_path):
    server = Server(tmp_path, max_uploads=3)
    try:
        with contextlib.ExitStack() as stack:
            links = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 5)) for _ in range(3)]
            for link in links:
                link.sendall(FORM + b"--b")
            time.sleep(0.5)
            assert server.send(RCKU.read_bytes()).status_code == 503, "who has only begun is not slow"
            time.sleep(receive.HURRY_SECONDS)
            assert server.send(RCKU.read_bytes()).status_code == 303
            answers = []
            for link in links:
                link.settimeout(0.5)
                with contextlib.suppress(TimeoutError):
                    answers.append(link.recv(50))
            assert [answer[:12] for answer in answers] == [b"HTTP/1.1 400"], "one made room, and was told"
    finally:
        server.stop()


def test_a_form_is_no_larger_than_its_file_may_be(server):
    answer = server.send(RCKU.read_bytes(), junk="x" * (receive.MAX_REST + 100_000))
    assert answer.status_code == 413
    assert not Store(server.data).count(RECEIVING)


def test_a_form_whose_file_has_not_come_is_no_lost_upload(tmp_path):
    server = Server(tmp_path)
    body = b'--b\r\nContent-Disposition: form-data; name="isp"\r\n\r\n'
    try:
        with socket.create_connection(("127.0.0.1", server.port), 5) as link:
            link.sendall(FORM + body)
            time.sleep(0.5)
            store = Store(server.data)
            sweep(store, 24, 365)
            assert store.count(RECEIVING) == 1
    finally:
        server.stop()


def test_what_is_kept_tells_the_day_and_no_time(server):
    receipt = server.receipt(server.send(LADDER.read_bytes()))
    upload = server.wait(receipt)
    assert upload.state == DONE
    folder = server.data / "kept" / upload.id
    assert {path.stat().st_mtime % DAY for path in (folder, *folder.iterdir())} == {0}
    answer = server.api(f"/api/uploads/{upload.id}/scrubbed.pcapng")
    assert answer.headers["last-modified"].endswith(" 00:00:00 GMT")


def test_a_capture_that_found_the_disk_full_is_tried_again(tmp_path):
    """A compressed capture was called none, and destroyed."""
    full = OSError(errno.ENOSPC, "No space left on device")
    assert child.wants_room(full)
    assert not child.wants_room(OSError(errno.EFBIG, "File too large")), "the child's own limit is the capture's fault"
    store = Store(tmp_path)
    name, _ = store.create({})
    store.part(name).write_bytes(b"x")
    store.arrived(name, 1)
    for _ in range(9):
        assert store.next_waiting().id == name
        store.again(name)
    upload = store.by_id(name)
    assert (upload.state, upload.tries) == (WAITING, 0)
    assert store.part(name).exists()


@pytest.mark.parametrize("raised", [FileNotFoundError, ValueError])
def test_an_analysis_that_breaks_off_fails_one_upload(raised, tmp_path, capsys):
    import asyncio

    store = Store(tmp_path)
    names = [store.create({})[0] for _ in range(2)]
    for name in names:
        store.part(name).write_bytes(b"x")
        store.arrived(name, 1)
    workers = worker.Workers(store, Config())

    async def broken(upload):
        raise raised(upload.id)

    workers.analyse = broken

    async def both():
        task = asyncio.create_task(workers._work())
        while store.count(FAILED) < 2:
            await asyncio.sleep(0.01)
        task.cancel()

    asyncio.run(asyncio.wait_for(both(), 10))
    told = capsys.readouterr().err
    assert raised.__name__ in told
    assert not any(name in told for name in names)


def test_bytes_are_counted_while_others_are_deleted(tmp_path, monkeypatch):
    store = Store(tmp_path)
    (store.incoming / "one").write_bytes(b"123")
    real = os.walk

    def walk(folder):
        for where, folders, files in real(folder):
            yield where, folders, [*files, "gone meanwhile"]

    monkeypatch.setattr(os, "walk", walk)
    assert store.used() >= 3


def test_a_database_that_cannot_be_written_ends_no_worker(tmp_path, monkeypatch):
    import asyncio

    store = Store(tmp_path)
    tries = []

    def next_waiting(resting):
        tries.append(1)
        if len(tries) < 3:
            raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(store, "next_waiting", next_waiting)
    monkeypatch.setattr(worker, "WANT_OF_ROOM_SECONDS", 0)

    async def until_it_asks_again():
        task = asyncio.create_task(worker.Workers(store, Config())._work())
        while len(tries) < 3 and not task.done():
            await asyncio.sleep(0.01)
        task.cancel()

    asyncio.run(asyncio.wait_for(until_it_asks_again(), 10))
    assert len(tries) >= 3


def test_what_arrives_while_old_things_are_swept_stays(tmp_path, monkeypatch):
    """Between the look at the table and the look at the folders, one upload begins and another is sealed."""
    store = Store(tmp_path / "data")
    real, met = Store.database, []

    @contextmanager
    def database(self):
        with real(self) as connection:
            yield connection
        if not met:
            met.append(True)
            for state in (RECEIVING, SEALED):
                name, _ = store.create({}, state)
                if state == SEALED:
                    (store.kept / name).mkdir()
                    (store.kept / name / "sealed.age").write_bytes(b"x")
                else:
                    store.part(name).write_bytes(b"x")
                met.append(name)

    monkeypatch.setattr(Store, "database", database)
    sweep(store, 24, 365)
    assert store.part(met[1]).read_bytes() == b"x"
    assert (store.kept / met[2] / "sealed.age").exists()


def test_an_upload_that_has_no_byte_yet_is_not_swept_today(tmp_path):
    store = Store(tmp_path / "data")
    name, _ = store.create({})
    sweep(store, 24, 365)
    assert store.by_id(name) is not None
    assert not store.drop_smallest(set())
    sweep(store, 24, 365, starting=True)
    assert store.by_id(name) is None


def test_all_uploads_are_all(tmp_path):
    store = Store(tmp_path / "data")
    with store.database() as database:
        rows = [(f"{n:032x}", f"{n}", WAITING, "2026-01-01", 0, "{}") for n in range(1_200)]
        database.executemany("INSERT INTO uploads (id, receipt, state, day, size, told) VALUES (?,?,?,?,?,?)", rows)
    assert len(store.all()) == 1_200


def test_the_language_that_older_versions_kept_is_forgotten(tmp_path):
    store = Store(tmp_path / "data")
    with store.database() as database:
        database.execute("ALTER TABLE uploads ADD COLUMN language TEXT NOT NULL DEFAULT 'kk'")
    name, _ = Store(tmp_path / "data").create({})
    assert store.by_id(name) is not None
    with store.database() as database:
        assert "language" not in [column[1] for column in database.execute("PRAGMA table_info(uploads)")]


def test_a_link_of_a_page_that_answered_a_form_leads_somewhere(tmp_path):
    server = Server(tmp_path)
    try:
        wrong = httpx.post(server.url + "/receipt?lang=ru", data={"code": "aaaaa"})
        assert '<a href="/?lang=en"' in wrong.text
        page = httpx.get(server.url + "/receipt?lang=en")
        assert (page.status_code, "There is no such page." in page.text) == (405, True)
    finally:
        server.stop()


def test_a_form_that_breaks_off_leaves_no_trace_of_its_moment(tmp_path):
    server = Server(tmp_path)
    try:
        for path in ("/receipt", "/review"):
            with socket.create_connection(("127.0.0.1", server.port)) as link:
                link.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\ncode=".encode())
                time.sleep(0.3)
        time.sleep(0.5)
    finally:
        server.stop()
    assert "Traceback" not in (server.folder / "log").read_text()
