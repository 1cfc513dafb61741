"""The data folder: one SQLite file, `incoming/` for what is not scrubbed yet, `kept/` for what is.

What is not kept: addresses, user agents, exact times, names of files, digests of originals. Times are days. A receipt
is known by its SHA-256 alone. Bytes that are not scrubbed exist in `incoming/` only (mode 0700), until they are
analysed or expire, and are unlinked then; unlinking is no erasure on flash: put the folder on tmpfs or on an encrypted
volume.
"""

from __future__ import annotations

import base64
import errno
import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
import shutil
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import IO, Any

from kzpcap.upload.clock import Clock

RECEIVING, WAITING, ANALYSING, DONE, FAILED, SEALED = "receiving", "waiting", "analysing", "done", "failed", "sealed"
SCHEMA = """
CREATE TABLE IF NOT EXISTS uploads (
  id TEXT PRIMARY KEY, receipt TEXT UNIQUE NOT NULL, state TEXT NOT NULL, day TEXT NOT NULL,
  size INTEGER NOT NULL, length INTEGER, told TEXT NOT NULL, result TEXT, failure TEXT, mark TEXT,
  tries INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS tokens (
  hash TEXT PRIMARY KEY, label TEXT NOT NULL, role TEXT NOT NULL, day TEXT NOT NULL, revoked INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS accesses (day TEXT NOT NULL, token TEXT NOT NULL, what TEXT NOT NULL, upload TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS accesses_of ON accesses (upload);
CREATE INDEX IF NOT EXISTS alike ON uploads (mark);
CREATE TABLE IF NOT EXISTS swept (day TEXT NOT NULL);
"""
ID = re.compile("[0-9a-f]{32}")
RECEIPT_BYTES = 16
MAX_TRIES = 3
MAX_ALIKE = 50
TOLD = {"isp": 80, "city": 60, "month": 20, "note": 1_000}
"""What a volunteer may tell, and how long each may be."""


@dataclass(frozen=True, slots=True)
class Upload:
    """One upload as the database has it."""

    id: str
    state: str
    day: str
    size: int
    told: dict[str, str]
    result: dict[str, Any] | None
    failure: str | None
    tries: int


def new_receipt() -> str:
    """A code to write down: 128 random bits in groups of letters and digits that cannot be mistaken."""
    text = base64.b32encode(secrets.token_bytes(RECEIPT_BYTES)).decode().rstrip("=").lower()
    return "-".join(text[at : at + 5] for at in range(0, len(text), 5))


def digest(text: str) -> str:
    """By what a receipt or a token is known here."""
    return hashlib.sha256(text.strip().lower().encode()).hexdigest()


DATABASE = "kzpcap.sqlite"


def today() -> str:
    """The day, in UTC: nothing more exact is written down."""
    return datetime.now(UTC).strftime("%Y-%m-%d")


def days_ago(days: int) -> str:
    """The day that many days before today."""
    return (datetime.now(UTC) - timedelta(days=days)).strftime("%Y-%m-%d")


class Store:
    """The data folder of one service."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if folder.is_dir() and any(folder.iterdir()) and not (folder / DATABASE).exists():
            raise FileExistsError(errno.EEXIST, "not empty, and no data folder of a service", str(folder))
        self.incoming, self.kept = folder / "incoming", folder / "kept"
        for path in (folder, self.incoming, self.kept):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.chmod(0o700)
        self.clock = Clock()
        with self.database() as database:
            database.execute("PRAGMA journal_mode=WAL")  # for good
            database.executescript(SCHEMA)
            if any(column[1] == "language" for column in database.execute("PRAGMA table_info(uploads)")):
                database.execute("ALTER TABLE uploads DROP COLUMN language")  # of before: it tells groups apart

    def hold(self) -> bool:
        """Have the folder for oneself, until the process ends, however it does; False where another service has it."""
        self._held: IO[str] = (self.folder / "lock").open("a")
        try:
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._held.close()
            return False
        return True

    @contextmanager
    def database(self) -> Iterator[sqlite3.Connection]:
        """A connection whose changes are whole or not at all; safe from any thread."""
        connection = sqlite3.connect(self.folder / DATABASE, timeout=30)
        try:
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA secure_delete=ON")
            with connection:
                yield connection
        finally:
            connection.close()

    # uploads

    def create(self, told: dict[str, str], state: str = RECEIVING) -> tuple[str, str]:
        """(id, receipt) of a new upload whose bytes are still to come."""
        name, receipt = secrets.token_hex(16), new_receipt()
        kept = {key: told[key].strip()[:limit] for key, limit in TOLD.items() if told.get(key, "").strip()}
        with self.database() as database:
            row = (name, digest(receipt), state, today(), 0, json.dumps(kept, ensure_ascii=False))
            database.execute("INSERT INTO uploads (id, receipt, state, day, size, told) VALUES (?, ?, ?, ?, ?, ?)", row)
        return name, receipt

    def tell(self, name: str, told: dict[str, str]) -> None:
        """Keep what came after the bytes."""
        kept = {key: told[key].strip()[:limit] for key, limit in TOLD.items() if told.get(key, "").strip()}
        with self.database() as database:
            database.execute("UPDATE uploads SET told = ? WHERE id = ?", (json.dumps(kept, ensure_ascii=False), name))

    def by_receipt(self, receipt: str) -> Upload | None:
        """The upload of a receipt; None where there is none (any more)."""
        return self._one("receipt = ?", digest(receipt))

    def by_id(self, name: str) -> Upload | None:
        """The upload with this id."""
        return self._one("id = ?", name)

    def _one(self, where: str, value: str) -> Upload | None:
        with self.database() as database:
            row = database.execute(f"SELECT {COLUMNS} FROM uploads WHERE {where}", (value,)).fetchone()
        return _upload(row) if row else None

    def all(self, state: str | None = None, limit: int = -1) -> list[Upload]:
        """Uploads, the newest day first; no more than `limit`, if that is not negative."""
        where, values = ("WHERE state = ?", (state, limit)) if state else ("", (limit,))
        with self.database() as database:
            rows = database.execute(
                f"SELECT {COLUMNS} FROM uploads {where} ORDER BY day DESC, id LIMIT ?", values
            ).fetchall()
        return [_upload(row) for row in rows]

    def count(self, *states: str) -> int:
        """How many uploads are in these states."""
        with self.database() as database:
            marks = ",".join("?" * len(states))
            return int(database.execute(f"SELECT count(*) FROM uploads WHERE state IN ({marks})", states).fetchone()[0])

    def received_today(self) -> int:
        """Bytes of all uploads of this day."""
        with self.database() as database:
            return int(
                database.execute("SELECT coalesce(sum(size), 0) FROM uploads WHERE day = ?", (today(),)).fetchone()[0]
            )

    def length(self, name: str, length: int) -> None:
        """Note how many bytes an upload is to have."""
        with self.database() as database:
            database.execute("UPDATE uploads SET length = ? WHERE id = ?", (length, name))

    def length_of(self, name: str) -> int | None:
        """How many bytes an upload is to have; None where that was not said."""
        with self.database() as database:
            row = database.execute("SELECT length FROM uploads WHERE id = ?", (name,)).fetchone()
        return row[0] if row else None

    def part(self, name: str) -> Path:
        """Where the bytes of an upload lie until they are scrubbed."""
        return self.incoming / name

    def arrived(self, name: str, size: int, state: str = WAITING) -> None:
        """All bytes are here and on the disk: from now on a crash loses nothing."""
        with self.database() as database:
            database.execute("UPDATE uploads SET state = ?, size = ? WHERE id = ?", (state, size, name))

    def next_waiting(self, resting: Collection[str] = ()) -> Upload | None:
        """Take the next upload to analyse, none of those that rest: those first that no server ended with."""
        with self.database() as database:
            row = database.execute(
                "UPDATE uploads SET state = ?, tries = tries + 1 WHERE id = (SELECT id FROM uploads WHERE state = ? "
                f"AND id NOT IN (SELECT value FROM json_each(?)) ORDER BY tries, day, id LIMIT 1) RETURNING {COLUMNS}",
                (ANALYSING, WAITING, json.dumps(list(resting))),
            ).fetchone()
        return _upload(row) if row else None

    def again(self, name: str) -> None:
        """An upload whose analysis was no fault of its own waits for another."""
        with self.database() as database:
            database.execute(
                "UPDATE uploads SET state = ?, tries = tries - 1 WHERE id = ? AND state = ?", (WAITING, name, ANALYSING)
            )

    def drop_smallest(self, writers: set[str]) -> bool:
        """Delete the unfinished upload with the fewest bytes that nobody writes to; was there one?"""
        with self.database() as database:
            rows = database.execute("SELECT id FROM uploads WHERE state = ?", (RECEIVING,)).fetchall()
        sizes = [(_size(self.part(name)), name) for (name,) in rows if name not in writers and self.part(name).exists()]
        if sizes:
            self.delete(min(sizes)[1])
        return bool(sizes)

    def finished(self, name: str, folder: Path, result: dict[str, Any]) -> None:
        """What was scrubbed takes its place, the database says so, and the original goes; in this order.

        Where it fails, it may be asked again, and goes on from there.
        """
        place = self.kept / name
        if folder.exists():
            shutil.rmtree(place, ignore_errors=True)
            for path in (*folder.iterdir(), folder):
                os.utime(path, (midnight(), midnight()))
            _move(folder, place)
        _sync(self.kept)
        with self.database() as database:
            if place.exists():
                database.execute(
                    "UPDATE uploads SET state = ?, result = ?, failure = NULL WHERE id = ? AND state IN (?, ?)",
                    (DONE, json.dumps(result, ensure_ascii=False), name, WAITING, ANALYSING),
                )
            row = database.execute("SELECT state FROM uploads WHERE id = ?", (name,)).fetchone()
        self.forget_original(name)
        if row is None or row[0] != DONE:  # deleted meanwhile, or past its time
            shutil.rmtree(place, ignore_errors=True)
            if row is not None:
                self.failed(name, "crashed")

    def sealed(self, name: str, size: int) -> None:
        """A sealed file is kept as it is: only the researcher can open it."""
        place = self.kept / name
        place.mkdir(mode=0o700, exist_ok=True)
        os.utime(self.part(name), (midnight(), midnight()))
        _move(self.part(name), place / "sealed.age")
        os.utime(place, (midnight(), midnight()))
        _sync(place)
        self.arrived(name, size, SEALED)

    @cached_property
    def key(self) -> bytes:
        """The server's own key, under which uploads are marked; made once."""
        path = self.folder / "key"
        with suppress(FileExistsError):
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(secrets.token_bytes(32))
        return path.read_bytes()

    def mark(self, name: str) -> None:
        """Mark an upload by an HMAC of its bytes: equal ones are found on the researcher's side.

        Never by their plain digest, which would link a phone that was seized to an upload.
        """
        keyed = hmac.new(self.key, digestmod=hashlib.sha256)
        with self.part(name).open("rb") as file:
            while piece := file.read(1 << 20):
                keyed.update(piece)
        with self.database() as database:
            database.execute("UPDATE uploads SET mark = ? WHERE id = ?", (keyed.hexdigest(), name))

    def alike(self) -> dict[str, list[str]]:
        """Upload -> `MAX_ALIKE` others of the very same bytes, of those that have any."""
        with self.database() as database:
            rows = database.execute("SELECT mark, id FROM uploads WHERE mark IS NOT NULL ORDER BY mark, id").fetchall()
        found: dict[str, list[str]] = {}
        for _, group in groupby(rows, key=itemgetter(0)):
            names = [name for _, name in group]
            if len(names) > 1:
                some = names[: MAX_ALIKE + 1]
                found.update((name, [other for other in some if other != name][:MAX_ALIKE]) for name in names)
        return found

    def failed(self, name: str, why: str, advice: Sequence[str] = ()) -> None:
        """An upload of which nothing could be made, and what would make the next one better; its original goes too."""
        with self.database() as database:
            told = (FAILED, why[:300], json.dumps({"advice": list(advice)}) if advice else None, name, DONE)
            changed = database.execute(
                "UPDATE uploads SET state = ?, failure = ?, result = ?, told = '{}', mark = NULL"
                " WHERE id = ? AND state <> ?",
                told,
            ).rowcount
        self.forget_original(name)
        if changed:
            shutil.rmtree(self.kept / name, ignore_errors=True)

    def forget_original(self, name: str) -> None:
        """Unlink what is not scrubbed."""
        self.part(name).unlink(missing_ok=True)
        shutil.rmtree(self.incoming / f"{name}.work", ignore_errors=True)

    def delete(self, name: str) -> None:
        """Delete an upload, all of it; who read it stays on record, and not what."""
        if not ID.fullmatch(name):
            raise ValueError("no name of an upload: an empty one would be the folder of all of them")
        with self.database() as database:
            database.execute("DELETE FROM uploads WHERE id = ?", (name,))
            database.execute("UPDATE accesses SET upload = '' WHERE upload = ?", (name,))
        self.forget_original(name)
        shutil.rmtree(self.kept / name, ignore_errors=True)

    def used(self) -> int:
        """Bytes under the data folder, wherever `incoming` is."""
        places = [self.folder, *([self.incoming] if self.incoming.is_symlink() else [])]
        walked = (found for place in places for found in os.walk(place))
        return sum(_size(path) for folder, _, names in walked for path in map(Path(folder).joinpath, names))

    def free(self) -> int:
        """Bytes that are still taken where an upload lands, and where what is kept of it goes."""
        return min(shutil.disk_usage(place).free for place in (self.incoming, self.kept))

    # tokens

    def new_token(self, label: str, role: str) -> str:
        """A token of 256 random bits, shown once."""
        token = secrets.token_hex(32)
        with self.database() as database:
            database.execute(
                "INSERT INTO tokens (hash, label, role, day) VALUES (?, ?, ?, ?)", (digest(token), label, role, today())
            )
        return token

    def role(self, token: str) -> str | None:
        """The role of a token that is not revoked; None for any other."""
        with self.database() as database:
            row = database.execute(
                "SELECT role FROM tokens WHERE hash = ? AND revoked = 0", (digest(token),)
            ).fetchone()
        return str(row[0]) if row else None

    def tokens(self) -> list[dict[str, Any]]:
        """All tokens, by the beginning of their digest."""
        with self.database() as database:
            rows = database.execute("SELECT hash, label, role, day, revoked FROM tokens ORDER BY day, hash").fetchall()
        return [
            {"id": row[0][:12], "label": row[1], "role": row[2], "day": row[3], "revoked": bool(row[4])} for row in rows
        ]

    def revoke(self, beginning: str) -> bool:
        """Revoke the one token whose digest begins so."""
        if len(beginning) < 12 or not all(char in "0123456789abcdef" for char in beginning):
            return False
        with self.database() as database:
            return database.execute("UPDATE tokens SET revoked = 1 WHERE hash LIKE ?", (beginning + "%",)).rowcount > 0

    def accessed(self, token: str, what: str, upload: str = "") -> None:
        """Write down who read what, by token and day; an export is of all that there was."""
        with self.database() as database:
            row = (today(), digest(token)[:12], what, upload)
            database.execute("INSERT INTO accesses (day, token, what, upload) VALUES (?, ?, ?, ?)", row)

    def accesses(self, limit: int = 500) -> list[dict[str, str]]:
        """The last accesses."""
        with self.database() as database:
            rows = database.execute(
                "SELECT day, token, what, upload FROM accesses ORDER BY rowid DESC LIMIT ?", (limit,)
            ).fetchall()
        return [dict(zip(("day", "token", "what", "upload"), row, strict=True)) for row in rows]


COLUMNS = "id, state, day, size, told, result, failure, tries"


def _upload(row: tuple[Any, ...]) -> Upload:
    told, result = json.loads(row[4]), json.loads(row[5]) if row[5] else None
    return Upload(row[0], row[1], row[2], row[3], told, result, row[6], row[7])


def midnight() -> int:
    """The beginning of this day, in seconds: files that are kept bear it in place of the time of the upload."""
    return int(datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0).timestamp())


def _size(path: Path) -> int:
    """Of a file that may be gone meanwhile."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _move(path: Path, place: Path) -> None:
    """A file or folder to its place, which may be on another disk: `incoming` is best kept in memory."""
    try:
        path.rename(place)
        return
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    if path.is_dir():
        shutil.copytree(path, place)
        for one in (*place.iterdir(), place):
            _sync(one)
        gone = path.with_suffix(".gone")
        path.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
    else:
        shutil.copy2(path, place)
        _sync(place)
        path.unlink()


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
