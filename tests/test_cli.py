"""The command line as users meet it: exit status, messages, standard input, gzip, hostile names, speed of --help."""

from __future__ import annotations

import gzip
import json
import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest

from kzpcap.report.json import schema
from tests.conftest import CAPTURES, ROOT, run

QAZNET = CAPTURES / "kz-2019-rcku" / "capture.pcapng"
GENUINE = CAPTURES / "kz-2019-rcku-genuine" / "capture.pcapng"


def test_the_2019_reconstruction_in_words():
    text = run("analyze", str(QAZNET)).stdout.decode()
    assert "intercepted    1 of 1 target connection (kz-2019, in force then)" in text
    assert "Qaznet Trust Network, Kazakhstan 2016-2019" in text
    assert "rule signed-by-known-interception-ca" in text
    assert "[frame 28]" in text
    assert "a replay cannot be excluded" in text
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text


def test_the_run_in_the_readme_is_a_real_one():
    told = (ROOT / "README.md").read_text()
    shown = run("analyze", "captures/kz-2019-rcku/capture.pcapng").stdout.decode()
    for line in shown.splitlines():
        assert not line or f"    {line}\n" in told, line
    for command in ("analyze", "handshakes", "certificates", "corroborate", "schema"):
        assert f"kzpcap {command}" in told
        for option in set(re.findall(r"--[a-z][a-z-]+", run(command, "--help").stdout.decode())) - {"--help"}:
            assert option in told, option


def test_exit_status(tmp_path):
    nothing = tmp_path / "notes.txt"
    nothing.write_text("this is a text file, not a capture")
    assert run("analyze", str(QAZNET)).returncode == 0
    assert run("analyze").returncode == 2
    assert run("analyze", "--nonsense", str(QAZNET)).returncode == 2
    done = run("analyze", "--exit-code", str(nothing), str(QAZNET))
    assert done.returncode == 3
    assert b"notes.txt: not a capture: plain text" in done.stderr
    assert b"intercepted" in done.stdout, "all inputs are processed"
    assert run("analyze", "--targets", "nothing", str(QAZNET)).returncode == 4
    assert run("analyze", "--exit-code", str(QAZNET)).returncode == 10
    assert run("analyze", "--exit-code", str(GENUINE)).returncode == 0
    assert run("analyze", str(tmp_path / "missing.pcap")).returncode == 3


def test_standard_input_and_gzip_give_the_same_connections(tmp_path):
    plain = json.loads(run("analyze", "--json", str(QAZNET)).stdout)
    piped = json.loads(run("analyze", "--json", "-", stdin=QAZNET.read_bytes()).stdout)
    packed = tmp_path / "x.pcapng.gz"
    packed.write_bytes(gzip.compress(QAZNET.read_bytes()))
    unpacked = json.loads(run("analyze", "--json", str(packed)).stdout)
    assert piped == plain
    assert unpacked["connections"] == plain["connections"]
    assert unpacked["capture"]["compression"] == "gzip"


def test_a_bomb_is_refused(tmp_path):
    packed = tmp_path / "bomb.gz"
    with gzip.open(packed, "wb", compresslevel=9) as file:
        for _ in range(80):
            file.write(b"\0" * (1 << 20))
    done = run("analyze", str(packed))
    assert done.returncode == 3
    assert b"refused" in done.stderr


def test_several_files_are_several_lines():
    lines = run("analyze", "--json", "--no-digest", str(QAZNET), str(GENUINE)).stdout.splitlines()
    assert len(lines) == 2
    for line in lines:
        document = json.loads(line)
        jsonschema.validate(document, schema())
        assert document["capture"]["sha256"] is None
        assert b"capture.pcapng" not in line


def test_targets_can_be_chosen(tmp_path):
    own = tmp_path / "own.txt"
    own.write_text("rcku.kz\n")
    document = json.loads(run("analyze", "--json", "--targets", str(own), str(GENUINE)).stdout)
    assert document["connections"][0]["target"] == {
        "name": "rcku.kz",
        "list": "own",
        "match": "exact",
        "in_force": None,
    }
    document = json.loads(run("analyze", "--json", "--targets", "kz-2024", str(QAZNET)).stdout)
    assert document["connections"][1]["target"] is None


def test_a_laboratory_is_called_one():
    folder = CAPTURES / "lab-interception"
    options = ["--trusted-root", str(folder / "root.pem"), "--interception-ca", str(folder / "interception.pem")]
    assert b"LABORATORY" in run("analyze", *options, str(folder / "capture.pcapng")).stdout
    assert b"LABORATORY" not in run("analyze", str(QAZNET)).stdout


def test_certificates(tmp_path):
    done = run("certificates", "--save", str(tmp_path / "pem"), str(QAZNET))
    text = done.stdout.decode()
    assert "standing signed by an interception key: Qaznet Trust Network" in text
    assert "publicly trusted by" in text
    assert "e=3" in text
    assert max(map(len, text.splitlines())) <= 80
    saved = sorted(path.name for path in (tmp_path / "pem").iterdir())
    rows = [json.loads(line) for line in run("certificates", "--json", str(QAZNET)).stdout.splitlines()]
    assert saved == sorted(row["sha256"] + ".pem" for row in rows)
    assert len(rows) == 4


def test_handshakes():
    lines = [json.loads(line) for line in run("handshakes", str(QAZNET)).stdout.splitlines()]
    assert [line["record"] for line in lines] == ["handshake"] * 3 + ["file"]
    assert lines[1]["server_name"] == "www.facebook.com"
    assert lines[1]["certificate_sha256"][0].startswith("2cf11ab305d222c9")
    assert lines[1]["server_hello"]["cipher"] == "0x009c"
    path = lines[3].pop("path")
    assert path.endswith("kz-2019-rcku/capture.pcapng"), "as it was given"
    assert {line["path"] for line in lines[:3]} == {path}
    assert lines[3] == {
        "record": "file",
        "file": "capture.pcapng",
        "packets": 62,
        "given_up": 0,
        "error": None,
        "offset": None,
    }


def test_explain_and_all_show_every_connection():
    text = run("analyze", "--all", "--explain", str(QAZNET)).stdout.decode()
    assert text.count("rule publicly-trusted") == 2
    assert max(map(len, text.splitlines())) <= 80


def test_the_schema_describes_every_key():
    """No object takes keys that it does not describe: a misspelt or dropped one is found by whatever validates."""

    def walk(node, path):
        if isinstance(node, dict):
            if node.get("type") == "object":
                assert node.get("additionalProperties") not in (None, True), path
            for key, inner in node.items():
                walk(inner, f"{path}.{key}")
        elif isinstance(node, list):
            for inner in node:
                walk(inner, path)

    walk(schema(), "")


def test_schema_is_printed():
    assert json.loads(run("schema").stdout) == schema()


def test_a_hostile_file_name_and_sni_stay_visible(tmp_path):
    sys.path.insert(0, str(CAPTURES))
    import random

    from recipes import packets, tls

    capture = packets.Capture(packets.JULY_2019)
    connection = packets.Connection(capture, 50_001)
    connection.open()
    connection.send(0, tls.client_hello("\x1b[2Jvk.com\u202e", random.Random(1)))
    connection.packet(1, packets.RST | packets.ACK, ttl=100)
    path = tmp_path / "evil\x1b[31m.pcapng"
    capture.write(path)
    text = run("analyze", str(path)).stdout.decode()
    assert "\x1b" not in text
    assert "\\x1b[2Jvk.com\\u202e" in text or "\\x1b[2J" in text


@pytest.mark.parametrize("limit", [0.30])
def test_help_answers_at_once(limit):
    """0.15 s is the aim on a quiet machine; the test allows for a busy one. Nothing heavy is imported."""
    code = "import sys; from kzpcap import cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"cryptography", "kzpcap.analysis", "kzpcap.reference"} & set(done.stdout.split())
    spent = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert run("--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < limit


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full to write to")
@pytest.mark.parametrize("command", [("analyze",), ("analyze", "--json"), ("handshakes",), ("certificates",)])
def test_a_full_disk_is_told_in_a_line(command):
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "kzpcap", *command, str(QAZNET)], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 9
    assert done.stderr == b"kzpcap: cannot write: No space left on device\n"


def test_a_reader_that_has_gone_ends_it_quietly():
    process = subprocess.Popen(
        [sys.executable, "-m", "kzpcap", "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait(60) == 141


def test_a_closed_standard_input_is_told():
    done = subprocess.run(["sh", "-c", f"{sys.executable} -m kzpcap analyze - <&-"], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (3, b"kzpcap: standard input: standard input is closed\n")


def test_json_and_page_at_once(tmp_path):
    done = run("analyze", "--json", "--html", str(tmp_path / "page.html"), str(QAZNET))
    assert json.loads(done.stdout)["connections"]
    assert (tmp_path / "page.html").exists()
    assert run("analyze", "--evidence", str(QAZNET)).returncode == 2


def test_what_a_file_is_called_is_valid_json(tmp_path):
    path = tmp_path / os.fsdecode(b"bad\xff\xfename.pcapng")
    try:
        path.write_bytes(QAZNET.read_bytes())
    except OSError:
        pytest.skip("this system names no file so")
    rows = [json.loads(line) for line in run("handshakes", os.fsencode(path)).stdout.splitlines()]
    assert {row["file"] for row in rows} == {"bad\\xff\\xfename.pcapng"}


def test_a_mistyped_name_makes_no_case(tmp_path):
    for command in ("batch", "case import"):
        done = run(*command.split(), str(tmp_path / "nothing"), "--case", str(tmp_path / "case"))
        assert done.returncode == 2
        assert b"no such file or folder" in done.stderr
    assert not (tmp_path / "case").exists()


def test_a_run_that_is_told_to_end_stops_its_workers(disk, tmp_path):
    """With SIGTERM as with Ctrl-C: custody is closed, and no worker goes on alone."""
    process = subprocess.Popen(
        [sys.executable, "-m", "kzpcap", "batch", str(disk), "--case", str(tmp_path / "case"), "--jobs", "2"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("case/custody/*.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode in (130, 0)
    deadline = time.monotonic() + 10
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(process.pid, 0)
            time.sleep(0.05)


def test_files_laid_one_behind_the_other_are_both_read(tmp_path):
    one, two = (CAPTURES / name / "capture.pcap" for name in ("lab-clean", "lab-kz-three-runs"))
    (tmp_path / "both.pcap").write_bytes(one.read_bytes() + two.read_bytes())
    read = [json.loads(run("analyze", "--json", str(path)).stdout) for path in (one, two, tmp_path / "both.pcap")]
    packets = [document["capture"]["packets"]["read"] for document in read]
    assert packets[0] + packets[1] == packets[2]
    (note,) = (note for note in read[2]["capture"]["notes"] if note["kind"] == "joined")
    assert note["offset"] == one.stat().st_size
    assert len(read[2]["connections"]) == len(read[0]["connections"]) + len(read[1]["connections"])


def test_a_page_and_measurements_can_be_printed():
    page = run("analyze", "--html", "-", str(QAZNET))
    assert page.returncode == 0
    assert page.stdout.startswith(b"<!doctype html>")
    lines = run("analyze", "--ooni", "-", str(QAZNET)).stdout.splitlines()
    assert json.loads(lines[0])["test_name"]
    assert not (ROOT / "-").exists()
    both = run("analyze", "--json", "--html", "-", str(QAZNET))
    assert both.returncode == 2
    assert not both.stdout


def test_a_key_log_that_opens_nothing_is_told(tmp_path):
    keys = tmp_path / "keys.log"
    keys.write_text(f"CLIENT_RANDOM {'0' * 64} {'1' * 96}\n")
    for more in ([], ["--json"]):
        done = run("analyze", "--keylog", str(keys), *more, str(QAZNET))
        assert done.returncode == 0
        assert b"keys.log: no line of it has a SERVER_HANDSHAKE_TRAFFIC_SECRET: it opens nothing" in done.stderr
    keys.write_text(f"SERVER_HANDSHAKE_TRAFFIC_SECRET {'0' * 64} {'1' * 64}\n")
    assert not run("analyze", "--keylog", str(keys), str(QAZNET)).stderr


@pytest.mark.parametrize("group", [[], ["case"]])
def test_every_command_is_described_in_a_line(group):
    listed = run(*group, "--help").stdout.decode().split("Commands:\n")[1].splitlines()
    assert len(listed) >= 10
    for line in listed:
        assert re.fullmatch(r"  [a-z]+ +\S.*\.", line), line
        assert not line.endswith("...")


def test_what_cannot_be_written_is_no_fault_of_the_case(tmp_path):
    case = tmp_path / "case"
    assert run("batch", str(QAZNET), "--case", str(case)).returncode == 0
    long = tmp_path / ("x" * 300)
    for command in ("report", "release"):
        done = run("case", command, str(case), "-o", str(long))
        assert done.returncode == 9, done.stderr
        assert b"File name too long" in done.stderr
        assert b"Traceback" not in done.stderr
        assert b"case:" not in done.stderr


def test_a_page_that_cannot_be_written_is_no_bad_usage(tmp_path):
    for option in ("--html", "--ooni"):
        done = run("analyze", str(QAZNET), option, str(tmp_path / "missing" / "page"))
        assert done.returncode == 9
        assert done.stderr == f"kzpcap: {tmp_path}/missing/page: No such file or directory\n".encode()


def test_an_answer_that_has_nowhere_to_go_is_not_written():
    """Standard output and standard error may be closed before the start."""
    command = f"{sys.executable} -m kzpcap analyze --json {CAPTURES / 'kz-2019-rcku' / 'capture.pcapng'}"
    assert subprocess.run(f"{command} >&-", shell=True, stderr=subprocess.DEVNULL, check=False).returncode == 9
    done = subprocess.run(f"{command} 2>&-", shell=True, stdout=subprocess.PIPE, check=False)
    assert (done.returncode, json.loads(done.stdout)["summary"]["connections"]) == (0, 3)


def test_handshakes_of_tls13_are_opened_with_a_key_log():
    folder = CAPTURES / "lab-key-log"
    (log,) = (folder / name for name in json.loads((folder / "truth.json").read_text())["options"]["keylog"])
    (path,) = folder.glob("capture.pcap*")

    def chains(*options):
        lines = [json.loads(line) for line in run("handshakes", *options, path).stdout.splitlines()]
        return [line["certificate_sha256"] for line in lines if line["record"] == "handshake"]

    assert not any(chains())
    assert any(chains("--keylog", log))
