"""What the service keeps and deletes: in the order that its pages promise, whatever the disk and the clock do."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import sqlite3
import tarfile
import time
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import pytest

from kzpcap.cli_serve import _says_no_moment
from kzpcap.upload import review, store, worker
from kzpcap.upload.config import Config, ConfigError, load
from kzpcap.upload.store import ANALYSING, DONE, FAILED, RECEIVING, SEALED, WAITING, Store
from kzpcap.upload.sweep import sweep

DAY = 86_400.0


def analysed(kept):
    """An upload whose analysis has just ended: (id, the folder of what it made)."""
    name, _ = kept.create({})
    kept.part(name).write_bytes(b"unscrubbed")
    kept.arrived(name, 10, WAITING)
    folder = kept.incoming / f"{name}.work"
    folder.mkdir()
    (folder / "scrubbed.pcapng").write_bytes(b"scrubbed")
    (folder / "result.json").write_text("{}")
    return name, folder


def test_what_was_made_waits_until_the_tables_take_it(tmp_path, monkeypatch):
    """A volunteer who is told that nothing came of an upload has no reason to delete what lies there all the same."""
    kept = Store(tmp_path)
    name, folder = analysed(kept)
    workers = worker.Workers(kept, Config())
    monkeypatch.setattr(worker, "WANT_OF_ROOM_SECONDS", 0.01)
    real, refusals = kept.database, iter([True, True])

    def database():
        if next(refusals, False):
            raise sqlite3.OperationalError("database or disk is full")
        return real()

    monkeypatch.setattr(kept, "database", database)
    asyncio.run(workers._finish(kept_upload(name), folder, {"states": {}}))
    assert kept.by_id(name).state == DONE
    assert (kept.kept / name / "scrubbed.pcapng").read_bytes() == b"scrubbed"
    assert not kept.part(name).exists()
    assert list(kept.incoming.iterdir()) == []


def test_what_was_swept_meanwhile_is_not_done(tmp_path):
    """Its day was over before the tables took it: nothing is there, and the page must not say that something is."""
    kept = Store(tmp_path)
    name, folder = analysed(kept)
    kept.failed(name, "crashed")
    kept.finished(name, folder, {"states": {}})
    assert kept.by_id(name).state == FAILED
    assert list(kept.kept.iterdir()) == []
    done, folder = analysed(kept)
    kept.finished(done, folder, {})
    kept.finished(done, folder, {})
    assert kept.by_id(done).state == DONE
    assert (kept.kept / done / "scrubbed.pcapng").exists(), "asked twice, it is there all the same"


def kept_upload(name):
    return SimpleNamespace(id=name)


def test_of_a_failed_upload_nothing_is_kept_listed_or_exported(tmp_path):
    kept = Store(tmp_path)
    name, folder = analysed(kept)
    folder.rename(kept.kept / name)
    for state in (RECEIVING, WAITING, ANALYSING):
        with kept.database() as database:
            database.execute("UPDATE uploads SET state = ? WHERE id = ?", (state, name))
        upload = kept.by_id(name)
        assert review.files(kept, upload) == []
        assert review.file_response(kept, upload, "scrubbed.pcapng").status_code == 404
        with tarfile.open(fileobj=BytesIO(b"".join(review.export(kept, [upload])))) as tar:
            assert tar.getnames() == []
    kept.failed(name, "crashed")
    assert kept.by_id(name).state == FAILED
    assert list(kept.kept.iterdir()) == []


def test_incoming_may_be_another_disk(tmp_path, monkeypatch):
    """As README advises: unscrubbed bytes in memory, what is kept on a disk."""
    kept = Store(tmp_path)
    real = Path.rename

    def rename(path, place):
        if path.parent == kept.incoming and Path(place).parent != kept.incoming:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return real(path, place)

    monkeypatch.setattr(Path, "rename", rename)
    name, folder = analysed(kept)
    kept.finished(name, folder, {})
    assert (kept.kept / name / "scrubbed.pcapng").read_bytes() == b"scrubbed"
    sealed, _ = kept.create({})
    kept.part(sealed).write_bytes(b"age-encryption.org/v1")
    kept.sealed(sealed, 21)
    assert (kept.kept / sealed / "sealed.age").exists()
    assert kept.by_id(sealed).state == SEALED
    assert list(kept.incoming.iterdir()) == []
    mode = (kept.kept / sealed / "sealed.age").stat()
    assert mode.st_mtime % DAY == 0, "a copy has no other time than the day"


class Machine:
    """A clock that can be set, beside the time that passes."""

    def __init__(self, monkeypatch):
        self.wall, self.own = 1_700_000_000.0, 1_000.0
        monkeypatch.setattr(store.Clock, "_now", lambda _: (self.wall, self.own))
        monkeypatch.setattr(store, "datetime", SimpleNamespace(now=self.now))

    def now(self, zone):
        from datetime import datetime

        return datetime.fromtimestamp(self.wall, zone)

    def passes(self, seconds):
        self.wall += seconds
        self.own += seconds


def there(kept):
    return len(kept.all())


def evidence(kept):
    name, folder = analysed(kept)
    kept.finished(name, folder, {})
    return name


def test_a_clock_that_was_set_deletes_nothing(tmp_path, monkeypatch):
    machine = Machine(monkeypatch)
    kept = Store(tmp_path)
    evidence(kept)
    machine.passes(600)
    machine.wall += 400 * DAY
    for _ in range(3):
        sweep(kept, 24, 365)
        machine.passes(600)
    assert there(kept) == 1
    machine.wall -= 400 * DAY
    sweep(kept, 24, 365)
    assert there(kept) == 1
    for _ in range(366):
        machine.passes(DAY)
        sweep(kept, 24, 365)
    assert there(kept) == 0, "a clock that goes as time does is believed"


@pytest.mark.parametrize("days", [-400, 400])
def test_a_start_with_an_unlikely_day_waits_for_another(tmp_path, monkeypatch, days):
    """A board without a battery; or a service that stood still: both look alike, for a day."""
    machine = Machine(monkeypatch)
    kept = Store(tmp_path)
    evidence(kept)
    sweep(kept, 24, 365)
    machine.wall += days * DAY
    kept = Store(tmp_path)
    for _ in range(20):
        machine.passes(3_600)
        sweep(kept, 24, 365)
    assert there(kept) == 1
    for _ in range(10):
        machine.passes(3_600)
        sweep(kept, 24, 365)
    assert there(kept) == (0 if days > 0 else 1)


def test_bytes_of_an_hour_that_is_still_to_come_are_destroyed(tmp_path):
    kept = Store(tmp_path)
    name, _ = kept.create({})
    kept.part(name).write_bytes(b"unscrubbed")
    os.utime(kept.part(name), (time.time() + 300 * DAY,) * 2)
    sweep(kept, 24, 365)
    assert not kept.part(name).exists()


def test_deleting_ends_who_has_the_original_open(tmp_path, monkeypatch):
    """A file that is unlinked is there for as long as a process has it open."""
    kept = Store(tmp_path)
    name, folder = analysed(kept)
    workers = worker.Workers(kept, Config())
    reads = "import sys, time; file = open(sys.argv[2]); print(flush=True); time.sleep(600)"
    real = asyncio.create_subprocess_exec

    async def reader(program, *arguments, **options):
        return await real(program, "-c", reads, *arguments[1:], **{**options, "stdout": asyncio.subprocess.PIPE})

    monkeypatch.setattr(asyncio, "create_subprocess_exec", reader)

    async def deleted():
        task = asyncio.create_task(workers._child(name, folder, "{}"))
        while name not in workers.running:
            await asyncio.sleep(0.01)
        process = workers.running[name]
        await process.stdout.readline()
        opened = [str(link.readlink()) for link in Path(f"/proc/{process.pid}/fd").iterdir()]
        assert str(kept.part(name)) in opened
        await workers.forget(name)
        assert process.returncode is not None, "whoever is told that all is deleted is told the truth"
        return await task

    assert asyncio.run(deleted()) != 0
    assert list(kept.incoming.iterdir()) == []
    assert workers.running == {}


def test_equal_uploads_are_told_of_all_at_once(tmp_path):
    kept = Store(tmp_path)
    names = [kept.create({})[0] for _ in range(5)]
    for name, mark in zip(names, ("a", "b", "a", None, None), strict=True):
        with kept.database() as database:
            database.execute("UPDATE uploads SET mark = ? WHERE id = ?", (mark, name))
    told = {one["id"]: one["same_as"] for one in review.documents(kept, kept.all())}
    assert told == {name: [] for name in names} | {names[0]: [names[2]], names[2]: [names[0]]}


def test_thousands_of_uploads_are_listed_soon(tmp_path):
    """Asked one by one who equals whom, eight thousand took a minute and a half, and every page with them."""
    kept = Store(tmp_path)
    with kept.database() as database:
        database.executemany(
            "INSERT INTO uploads (id, receipt, state, day, size, told, mark)"
            " VALUES (?, ?, 'done', '2026-01-01', 1, '{}', ?)",
            [(f"{number:032x}", str(number), "same" if number % 2 else str(number)) for number in range(8_000)],
        )
    began = time.process_time()
    found = review.documents(kept, kept.all())
    assert len(found) == 8_000
    assert {len(one["same_as"]) for one in found} == {0, store.MAX_ALIKE}
    assert time.process_time() - began < 5


def test_two_promises_that_exclude_each_other_are_refused(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("kept_days = 30\n")
    with pytest.raises(ConfigError, match="receipt_days"):
        load(path)
    path.write_text("kept_days = 30\nreceipt_days = 30\n")
    assert load(path).receipt_days == 30


@pytest.mark.parametrize(
    ("error", "message", "says"),
    [
        (ValueError("of /r/secret"), "Exception in ASGI application\n", "kzpcap: an answer broke off: ValueError\n"),
        (asyncio.CancelledError(), "Exception in ASGI application\n", ""),
        (None, "Cancel %d running task(s), timeout graceful shutdown exceeded", ""),
    ],
)
def test_the_servers_own_log_tells_no_moment(error, message, says, capsys):
    raised = (type(error), error, None) if error else None
    record = logging.LogRecord("uvicorn.error", logging.ERROR, "", 0, message, (1,) if not error else (), raised)
    assert not _says_no_moment(record)
    assert capsys.readouterr().err == says
    other = logging.LogRecord("uvicorn.error", logging.ERROR, "", 0, "address already in use", (), None)
    assert _says_no_moment(other)


def test_json_of_an_upload_names_its_files(tmp_path):
    kept = Store(tmp_path)
    name = evidence(kept)
    (told,) = json.loads(json.dumps(review.documents(kept, [kept.by_id(name)])))
    assert told["files"] == ["scrubbed.pcapng"]


def test_a_system_without_linuxs_clock_has_one_too(monkeypatch):
    monkeypatch.delattr(time, "CLOCK_BOOTTIME")
    assert store.Clock().settled(odd=False)
