"""The tables of a case: rows of its reports in compacted segments, for `kzpcap case sql`.

A segment is a folder of Parquet files, one a table, over at most a thousand results, and an `index.json` that names the
results and the digest of each file; the folder is named by the digest of that index. Segments are made from the
reports, and can be dropped at any time: the reports are the truth.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from kzpcap.cases.custody import latest
from kzpcap.cases.store import REPORT, Case, canonical, file_digest
from kzpcap.errors import CaseError, WitnessMissing
from kzpcap.report.document import Document

SEGMENT = 1000
NEW = ".new"
"""The segment that is being made."""
WAIT = 30.0
"""Seconds that others may keep the segments."""
CAPTURE = ("capture", "VARCHAR", "SHA-256 of the capture")
ANALYSIS = ("analysis", "VARCHAR", "id of the analysis: version, reference data and options")
TABLES: dict[str, tuple[tuple[str, str, str], ...]] = {
    "captures": (
        CAPTURE,
        ANALYSIS,
        ("size", "BIGINT", "bytes of the file"),
        ("format", "VARCHAR", "pcap, pcapng ..."),
        ("first_time", "TIMESTAMP", "of the first packet, UTC"),
        ("last_time", "TIMESTAMP", "of the last packet, UTC"),
        ("packets", "BIGINT", "packets read"),
        ("connections", "BIGINT", "connections with TLS, or to ports of TLS"),
        ("vantage", "VARCHAR", "where it seems to have been recorded: client, router, server, unknown"),
        ("clock", "VARCHAR", "does anything in it confirm its clock: anchored, unanchored, contradicted ..."),
        ("truncated", "BOOLEAN", "the file ends inside of a record"),
        ("notes", "BIGINT", "what was odd or damaged in it"),
        ("laboratory", "BOOLEAN", "trust anchors or interception CAs were given on the command line"),
    ),
    "connections": (
        CAPTURE,
        ANALYSIS,
        ("frame", "BIGINT", "first frame, from 1 as in Wireshark"),
        ("time", "TIMESTAMP", "of that frame, UTC"),
        ("transport", "VARCHAR", "tcp, quic, dtls"),
        ("client_network", "VARCHAR", "the client's network (its address where --keep-addresses was given)"),
        ("client_asn", "BIGINT", "its AS, by the dated table of the analysis (OONI: probe_asn)"),
        ("client_port", "INTEGER", "the client's port"),
        ("address", "VARCHAR", "the server's address (OONI: address)"),
        ("port", "INTEGER", "the server's port"),
        ("server_name", "VARCHAR", "the SNI (OONI: server_name)"),
        ("target", "VARCHAR", "the listed name that it matches"),
        ("target_list", "VARCHAR", "the list"),
        ("target_match", "VARCHAR", "exact, subdomain"),
        ("target_in_force", "BOOLEAN", "was the list in force on that day"),
        ("state", "VARCHAR", "intercepted, suspected, interfered, genuine, undetermined"),
        ("rule_id", "VARCHAR", "the rule that decided"),
        ("identity", "VARCHAR", "by whom, as far as a verified key or a product's names tell"),
        ("place", "VARCHAR", "where: unknown, edge, at_destination, volunteer_side ..."),
        ("place_bound", "VARCHAR", "exact, at_or_beyond, at_or_before"),
        ("tls_version", "VARCHAR", "as chosen (OONI: tls_version)"),
        ("cipher_suite", "VARCHAR", "as chosen, hexadecimal"),
        ("negotiated_protocol", "VARCHAR", "ALPN as chosen (OONI: negotiated_protocol)"),
        ("ja3", "VARCHAR", "of the ClientHello"),
        ("ja3s", "VARCHAR", "of the ServerHello"),
        ("ja4", "VARCHAR", "of the ClientHello"),
        ("leaf", "VARCHAR", "SHA-256 of the end entity's certificate"),
        ("certificates", "VARCHAR[]", "SHA-256 of the chain as sent (OONI: peer_certificates)"),
        ("certificate_absent", "VARCHAR", "why there is no certificate"),
        ("possession", "VARCHAR", "did whoever answered hold the leaf's key: proved, refuted"),
        ("resumed", "VARCHAR", "how an abbreviated handshake resumed its session: session_id, ticket"),
        ("client_reaction", "VARCHAR", "went_on, refused ..."),
        ("probe_ttl", "INTEGER", "the TTL of a TTL-limited ClientHello"),
    ),
    "certificates": (
        CAPTURE,
        ANALYSIS,
        ("sha256", "VARCHAR", "of the DER"),
        ("subject", "VARCHAR", "RFC 4514"),
        ("issuer", "VARCHAR", "RFC 4514"),
        ("serial", "VARCHAR", "hexadecimal"),
        ("not_before", "TIMESTAMP", "UTC"),
        ("not_after", "TIMESTAMP", "UTC"),
        ("spki_sha256", "VARCHAR", "of the public key"),
        ("key", "VARCHAR", "kind and size"),
        ("exponent", "VARCHAR", "of an RSA key"),
        ("dns_names", "VARCHAR[]", "subjectAltName"),
        ("is_ca", "BOOLEAN", "basicConstraints"),
        ("has_scts", "BOOLEAN", "carries SCTs"),
    ),
    "edges": (
        CAPTURE,
        ANALYSIS,
        ("address", "VARCHAR", "the server probed"),
        ("port", "INTEGER", "its port"),
        ("server_name", "VARCHAR", "the target's name"),
        ("control_server_name", "VARCHAR", "the control's name"),
        ("shape", "VARCHAR", "one_connection, connection_per_ttl"),
        ("interceptor_ttl", "INTEGER", "smallest TTL with the effect; null on a clean ladder"),
        ("effect", "VARCHAR", "certificate, reset, alert, plain_answer, closed, silence ..."),
        ("bound", "VARCHAR", "exact, at_or_beyond, at_or_before"),
        ("placement", "VARCHAR", "in_path, on_path, at_destination, unknown"),
        ("control_terminating_ttl", "INTEGER", "smallest TTL at which the control got a genuine chain"),
        ("before_address", "VARCHAR", "last clean hop"),
        ("before_asn", "BIGINT", "its AS"),
        ("after_address", "VARCHAR", "first hop with the effect"),
        ("after_asn", "BIGINT", "its AS"),
        ("inferred_hop", "INTEGER", "where a box that copies TTLs seems to be"),
    ),
    "probes": (
        CAPTURE,
        ANALYSIS,
        ("address", "VARCHAR", "the server probed"),
        ("server_name", "VARCHAR", "the target's name"),
        ("side", "VARCHAR", "target, control"),
        ("ttl", "INTEGER", "of the probe"),
        ("answer", "VARCHAR", "what came back"),
        ("router", "VARCHAR", "who sent Time Exceeded"),
        ("router_ms", "DOUBLE", "after how long"),
    ),
}


def rows(capture: str, analysis: str, report: Document) -> Iterator[tuple[str, dict[str, Any]]]:
    """(table, row) of a report."""
    both = {"capture": capture, "analysis": analysis}
    connections = 0
    for one in report.connections():
        connections += 1
        target, interceptor = one["target"] or {}, one["interceptor"] or {}
        yield (
            "connections",
            {
                **both,
                **{key: one.get(key) for key, _, _ in TABLES["connections"] if key in one},
                "client_network": one["client"]["address"],
                "client_asn": one["client"].get("asn"),
                "client_port": one["client"]["port"],
                "address": one["server"]["address"],
                "port": one["server"]["port"],
                "target": target.get("name"),
                "target_list": target.get("list"),
                "target_match": target.get("match"),
                "target_in_force": target.get("in_force"),
                "identity": interceptor.get("identity"),
                "place": one["place"]["where"],
                "place_bound": one["place"]["bound"],
                "negotiated_protocol": one["alpn_chosen"],
                "leaf": one["certificates"][0] if one["certificates"] else None,
            },
        )
    for _, one in report.certificates():
        row = {**both, **{key: one.get(key) for key, _, _ in TABLES["certificates"] if key in one}}
        if row.get("exponent") is not None:
            row["exponent"] = str(row["exponent"])
        yield "certificates", row
    for one in report["ladders"]:
        before, after = one["last_clean_hop"] or {}, one["first_intercepted_hop"] or {}
        server = {"address": one["server"]["address"], "port": one["server"]["port"]}
        hops = {"before_address": before.get("address"), "before_asn": before.get("asn")}
        hops |= {"after_address": after.get("address"), "after_asn": after.get("asn")}
        yield "edges", {**both, **server, **hops, **{key: one[key] for key, _, _ in TABLES["edges"] if key in one}}
        for step in one["steps"]:
            for side in ("target", "control"):
                found = step[side]
                if found is None:
                    continue
                router = (found["time_exceeded"] or [{}])[0]
                told = {"side": side, "ttl": step["ttl"], "answer": found["answer"]}
                told |= {"router": router.get("address"), "router_ms": router.get("after_ms")}
                yield "probes", {**both, "address": server["address"], "server_name": one["server_name"], **told}
    head = report["capture"]
    yield (
        "captures",
        {
            **both,
            "size": head["size"],
            "format": head["format"],
            "first_time": head["first_time"],
            "last_time": head["last_time"],
            "packets": head["packets"]["read"],
            "connections": connections,
            "vantage": head["vantage"]["where"],
            "clock": head["clock"]["status"],
            "truncated": head["truncated"],
            "notes": sum(head["note_counts"].values()),
            "laboratory": report["reference"]["laboratory"],
        },
    )


def engine() -> Any:
    """DuckDB; WitnessMissing where it is not installed."""
    try:
        import duckdb
    except ImportError as error:
        raise WitnessMissing("this needs DuckDB: pip install 'kzpcap[cases]'") from error
    return duckdb


@contextmanager
def _held(folder: Path, how: int) -> Iterator[None]:
    """The segments to oneself, or with others that only read them; BlockingIOError where others keep them too long."""
    with (folder / "lock").open("a") as lock:
        until = time.monotonic() + WAIT
        while True:
            try:
                fcntl.flock(lock, how | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)
        yield


@contextmanager
def unchanging(case: Case) -> Iterator[None]:
    """While they are looked at, nobody makes the segments anew; where nobody may write, nobody does."""
    folder = case.folder / "segments"
    with ExitStack() as hold:
        if (folder / "lock").exists() and os.access(folder / "lock", os.W_OK):
            hold.enter_context(_held(folder, fcntl.LOCK_SH))
        yield


def compact(case: Case, folder: Path | None = None) -> list[Path]:
    """Bring the segments up to date, or make them in another folder; the folders of all of them."""
    engine()
    folder = folder or case.folder / "segments"
    folder.mkdir(exist_ok=True)
    with _held(folder, fcntl.LOCK_EX):
        there = {(path.parent.name, path.name) for path in case.results.glob("*/*")}
        kept: list[Path] = []
        partial: dict[Path, set[tuple[str, str]]] = {}
        left = set(there)
        for path in sorted(path for path in folder.iterdir() if path.is_dir()):
            members = _members(path)
            if len(members) == SEGMENT and members <= left:
                kept.append(path)
                left -= members
            else:
                partial[path] = members
        for path, members in partial.items():
            if members and members == left:
                kept.append(path)
                left = set()
            else:  # half made, or grown since
                shutil.rmtree(path)
        waiting = sorted(left)
        for begin in range(0, len(waiting), SEGMENT):
            kept.append(_segment(case, folder, waiting[begin : begin + SEGMENT]))
    return kept


def _members(folder: Path) -> set[tuple[str, str]]:
    try:
        raw = (folder / "index.json").read_bytes()
        index = json.loads(raw)
        sound = hashlib.sha256(raw).hexdigest() == folder.name and all(
            file_digest(folder / name) == digest for name, digest in index["files"].items()
        )
        return {(one[0], one[1]) for one in index["results"]} if sound else set()
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return set()


def _segment(case: Case, folder: Path, members: list[tuple[str, str]]) -> Path:
    """One segment of these results, moved into place when it is whole; OSError for a folder that DuckDB cannot name."""
    folder = folder.resolve()  # with a ~ in front DuckDB takes it for a home
    try:
        str(folder).encode()
    except UnicodeEncodeError as error:
        raise OSError(errno.EILSEQ, "a folder whose name is no UTF-8") from error
    aside = folder / NEW
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    files = {table: (aside / f"{table}.jsonl").open("w") for table in TABLES}
    try:
        for capture, analysis in members:
            with (case.result(capture, analysis) / REPORT).open("rb") as report:
                try:
                    for table, row in rows(capture, analysis, Document(report)):
                        files[table].write(json.dumps(row) + "\n")
                except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
                    raise CaseError(f"results/{capture}/{analysis}: its report cannot be read") from error
    finally:
        for file in files.values():
            file.close()
    with engine().connect() as database:
        for table, columns in TABLES.items():
            source, made = aside / f"{table}.jsonl", aside / f"{table}.parquet"
            types = ", ".join(f"'{name}': '{kind}'" for name, kind, _ in columns)
            reading = f"read_json(?, format='newline_delimited', columns={{{types}}})"
            database.execute(f"COPY (SELECT * FROM {reading}) TO '{_quoted(made)}' (FORMAT parquet)", [str(source)])
            source.unlink()
    digests = {f"{table}.parquet": file_digest(aside / f"{table}.parquet") for table in TABLES}
    index = canonical({"results": members, "files": digests})
    (aside / "index.json").write_bytes(index)
    place = folder / hashlib.sha256(index).hexdigest()
    if place.exists():
        shutil.rmtree(aside)
    else:
        aside.rename(place)
    return place


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")


def wrong_segments(case: Case) -> Iterator[tuple[str, str]]:
    """(path, what is wrong) of every segment that is not what its name says."""
    folder = case.folder / "segments"
    for path in sorted(folder.iterdir()) if folder.exists() else ():
        if path.name in ("lock", NEW):
            continue
        if not path.is_dir():
            yield f"segments/{path.name}", "does not belong there"
            continue
        try:
            index = (path / "index.json").read_bytes()
            digests = json.loads(index)["files"]
        except (OSError, ValueError, KeyError, TypeError):
            yield f"segments/{path.name}", "has no index: drop it, it will be made again"
            continue
        if hashlib.sha256(index).hexdigest() != path.name:
            yield f"segments/{path.name}/index.json", "is not what the folder's name says"
        there = {made.name for made in path.iterdir()} - {"index.json"}
        for name in sorted(there | set(digests)):
            if name not in there or name not in digests or file_digest(path / name) != digests[name]:
                yield f"segments/{path.name}/{name}", "is not what it was: drop the segment, it will be made again"


def altered_segments(case: Case) -> Iterator[tuple[str, str]]:
    """(path, what is wrong) of every table that does not say what the results say; WitnessMissing without DuckDB.

    Segments are vouched for by their own names alone, so each is made once more and compared, row by row where it must.
    """
    folder = case.folder / "segments"
    there = [path for path in sorted(folder.iterdir()) if path.is_dir() and path.name != NEW] if folder.exists() else []
    database: Any = engine().connect() if there else None
    with tempfile.TemporaryDirectory(prefix="kzpcap-") as aside:
        for path in there:
            members = sorted(_members(path))
            if not members:
                continue  # told by `wrong_segments`
            try:
                made = _segment(case, Path(aside), members)
            except Exception as error:  # what an altered result may hold, for the tables and for DuckDB
                if isinstance(error, OSError) or "No space left" in str(error):
                    raise OSError(errno.ENOSPC, "no room to make them again") from error
                yield f"segments/{path.name}", "tells of results that cannot be read"
                continue
            for table in TABLES if made.name != path.name else ():
                one, two = (f"SELECT * FROM read_parquet('{_quoted(side / table)}.parquet')" for side in (path, made))
                counted = f"SELECT count(*) FROM (({one} EXCEPT ALL {two}) UNION ALL ({two} EXCEPT ALL {one}))"
                try:
                    same = database.execute(counted).fetchone() == (0,)
                except Exception:  # other columns, or no table at all
                    same = False
                if not same:
                    yield f"segments/{path.name}/{table}.parquet", "is not what the results say: drop the segment"
            shutil.rmtree(made)


def query(case: Case, sql: str) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
    """Column names and rows of one SELECT over the tables; CaseError where it is none, or fails.

    Each table shows the analysis of the last run; those whose name ends in `_all` show every one.
    The database lives in memory and is locked to the case's segments: by default DuckDB reads any file of the system.
    """
    duckdb = engine()
    folder = case.folder / "segments"
    hold = ExitStack()
    try:
        segments = compact(case)
        hold.enter_context(_held(folder, fcntl.LOCK_SH))  # until the last row is read
        if not all(segment.exists() for segment in segments):
            raise BlockingIOError(errno.EAGAIN, "made anew meanwhile")
    except OSError:  # a case on a disk that is only read, or that others are making anew
        hold.close()
        folder = Path(hold.enter_context(tempfile.TemporaryDirectory(prefix="kzpcap-")))
        segments = compact(case, folder)
    now = (latest(case) or "").replace("'", "")
    if not segments:
        raise CaseError(f"{case.folder} has no results yet")
    database = duckdb.connect()
    folder = folder.resolve()
    try:
        statements = database.extract_statements(sql)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise CaseError("one SELECT, and nothing else")
        database.execute(f"SET allowed_directories = ['{_quoted(folder)}']")
        database.execute("SET memory_limit = '2GB'")
        database.execute("SET temp_directory = ''")
        for setting in ("autoinstall_known_extensions", "autoload_known_extensions", "enable_external_access"):
            database.execute(f"SET {setting} = false")
        for table in TABLES:
            paths = ", ".join(f"'{_quoted(segment.resolve() / table)}.parquet'" for segment in segments)
            database.execute(f"CREATE VIEW {table}_all AS SELECT * FROM read_parquet([{paths}])")
            database.execute(f"CREATE VIEW {table} AS SELECT * FROM {table}_all WHERE analysis = '{now}'")
        database.execute("SET lock_configuration = true")
        found = database.execute(statements[0])
        names = [column[0] for column in found.description]
    except duckdb.Error as error:
        hold.close()
        raise CaseError(str(error).strip()) from error
    except BaseException:
        hold.close()
        raise

    def fetch() -> Iterator[tuple[Any, ...]]:
        try:
            while part := found.fetchmany(1000):
                yield from part
        except duckdb.Error as error:
            raise CaseError(str(error).strip()) from error
        finally:
            hold.close()

    return names, fetch()
