"""The service for volunteers: what comes is scrubbed, the rest is gone, nobody is known, and attacks end in a word."""

from __future__ import annotations

import contextlib
import gzip
import io
import re
import socket
import struct
import subprocess
import sys
import tarfile
import time
import zipfile

import dpkt
import httpx
import pytest

from kzpcap.upload.language import NAMES, WORDS
from kzpcap.upload.store import DONE, FAILED, Store
from kzpcap.upload.web import RECEIPT
from tests.conftest import CAPTURES
from tests.service import LADDER, RCKU, everything

EMPTY = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, 1)
"""A pcap without a packet."""


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


def test_a_folder_has_one_service(server):
    """A second one would take what the first analyses for a crash's leavings, and destroy it."""
    receipt = server.receipt(server.send(RCKU.read_bytes()))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "kzpcap", "serve", "--data", str(server.data), "--listen", f"127.0.0.1:{port}"]
    second = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert second.returncode == 2
    assert second.stderr == f"kzpcap: {server.data}: another service has this folder\n"
    assert second.stdout == ""
    upload = server.wait(receipt)
    assert upload.state == DONE
    Store(server.data).failed(upload.id, "crashed")
    assert server.wait(receipt).state == DONE, "what is done does not fail"


def test_a_broken_form_leaves_no_line_in_the_log(server):
    before = (server.folder / "log").read_bytes()
    kind = {"content-type": "multipart/form-data; boundary=x"}
    assert httpx.post(server.url + "/upload", content=b"--garbage-of-mine", headers=kind).status_code == 400
    assert (server.folder / "log").read_bytes() == before


def test_the_receipt_says_why_nothing_can_be_said(server):
    """TLS 1.3 hides the certificate: a volunteer who read of undetermined connections would fear, or hope, for that."""
    receipt = server.receipt(server.send((CAPTURES / "lab-tls13" / "capture.pcap").read_bytes()))
    hidden = server.wait(receipt).result["hidden"]
    assert hidden > 0
    for language in NAMES:
        shown = httpx.get(f"{server.url}/r/{receipt}?lang={language}").text
        assert WORDS[language]["hidden"] % hidden in shown


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


def test_a_zip_with_one_capture_in_it_is_that_capture(server):
    """The form says that a zip will do: it is how phones pass a file on."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("notes.txt", "on the train")
        archive.writestr("recording/one.pcapng", RCKU.read_bytes())
    receipt = server.receipt(server.send(packed.getvalue(), "one.zip"))
    assert server.wait(receipt).state == DONE


def test_several_captures_in_a_zip_are_told_as_such(server):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in "ab":
            archive.writestr(f"{name}.pcapng", RCKU.read_bytes())
    receipt = server.receipt(server.send(packed.getvalue(), "two.zip"))
    assert server.wait(receipt).failure == "several"
    for language in NAMES:
        assert WORDS[language]["why_several"] in httpx.get(f"{server.url}/r/{receipt}?lang={language}").text


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
     (EMPTY, "no_evidence"), (EMPTY[:20] + struct.pack("<IIIII", 147, 1, 0, 4, 4) + b"abcd", "unread"),
     ((CAPTURES / "mid-connection" / "capture.pcapng").read_bytes()[:200], "unread")],
    ids=["text", "program", "bomb", "nested", "paths", "cut", "nothing in it", "packets not read", "names not read"],
)  # fmt: skip
def test_what_is_no_evidence_is_told_and_gone(server, body, why):
    receipt = server.receipt(server.send(body))
    upload = server.wait(receipt)
    assert (upload.state, upload.failure) == (FAILED, why)
    assert not (server.data / "incoming" / upload.id).exists()
    assert not (server.data / "kept" / upload.id).exists()
    assert WORDS["ru"][f"why_{why}"] in httpx.get(f"{server.url}/r/{receipt}?lang=ru").text


def cut_short():
    """The packets of an interception, none of which holds a name."""
    out = EMPTY
    with RCKU.open("rb") as file:
        for when, frame in dpkt.pcapng.Reader(file):
            cut = frame[:60]
            out += struct.pack("<IIII", int(when), int(when % 1 * 1_000_000), len(cut), len(frame)) + cut
    return out


def test_a_recording_whose_names_were_cut_off_is_not_told_as_one_without_listed_sites(server):
    receipt = server.receipt(server.send(cut_short()))
    upload = server.wait(receipt)
    assert (upload.state, upload.failure) == (FAILED, "unread")
    assert "cut" in upload.result["advice"]
    assert "server" not in upload.result["advice"], "nothing of it stays"
    for language in ("en", "ru", "kk"):
        page = httpx.get(f"{server.url}/r/{receipt}?lang={language}").text
        assert WORDS[language]["why_unread"] in page
        assert WORDS[language]["advice_cut"] in page
        assert WORDS[language]["why_no_evidence"] not in page


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


def test_what_is_out_of_order_under_no_listed_name_is_not_told_as_nothing(server):
    """An intercepted connection to a name on no list: whether it is handed on is for the volunteer, who is told so."""
    raw = RCKU.read_bytes().replace(b"www.facebook.com", b"www.fabricate.io")
    receipt = server.receipt(server.send(raw))
    upload = server.wait(receipt)
    assert (upload.state, upload.failure) == (FAILED, "undecided")
    for language in NAMES:
        assert WORDS[language]["why_undecided"] in httpx.get(f"{server.url}/r/{receipt}?lang={language}").text
