"""TLS of the service's own: a connection that somebody else opened is known by its ClientHello, and not used."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import re
import socket
import ssl
import sys
import threading
import time

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kzpcap.tls.fingerprints import tlsfingerprint_id
from kzpcap.tls.messages import client_hello
from kzpcap.upload.config import ConfigError, load
from kzpcap.upload.door import BOXES, Hello, contradicts, read_hello
from kzpcap.upload.language import WORDS
from kzpcap.upload.store import DONE
from tests.conftest import CAPTURES, NO_BROWSER, run
from tests.service import LADDER, RCKU, Server, everything

sys.path.insert(0, str(CAPTURES))
from recipes.tls import Authority, key_pem, pem

NOW = datetime.datetime.now(datetime.UTC)
CURL = bytes.fromhex(
    "1603010200010001fc03032e763fe74cd8472de77d17eef1cf4cb9b18d0163196a69337d0d7c6c844a1b71202aef889ccf5bdef725185b7c0c"
    "c51a100311c7c3992b1d206beaef121a111cc5003e130213031301c02cc030009fcca9cca8ccaac02bc02f009ec024c028006bc023c0270067"
    "c00ac0140039c009c0130033009d009c003d003c0035002f00ff010001750000000e000c0000096c6f63616c686f7374000b00040300010200"
    "0a000c000a001d0017001e00190018337400000010000e000c02683208687474702f312e31001600000017000000310000000d002a00280403"
    "05030603080708080809080a080b080408050806040105010601030303010302040205020602002b00050403040303002d0002010100330026"
    "0024001d00204f21193633f4a0c751143f0084941995cc6fb7cb87545f56f07877c99615f074001500be"
).ljust(517, b"\0")
"""curl 7.74 (OpenSSL 1.1.1): on record at tlsfingerprint.io as 37695dd988f0c8b8."""
AGENTS = {
    "firefox": "Mozilla/5.0 (Windows NT 10.0; rv:128.0) Gecko/20100101 Firefox/128.0",
    "chrome": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
    "safari": "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"
    " Version/18.1 Mobile/15E148 Safari/604.1",
    "old chrome": "Mozilla/5.0 (Linux; Android 4.4) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/33.0 Safari/537.36",
    "curl": "curl/8.5.0",
    "none": "",
}


def test_the_id_that_is_on_record():
    hello = client_hello(CURL[9:], True)
    assert tlsfingerprint_id(hello, 0x0301) == "37695dd988f0c8b8"
    assert tlsfingerprint_id(client_hello(CURL[9:300], False), 0x0301) is None
    assert read_hello(CURL) == Hello("37695dd988f0c8b8", tls13=True, h2=True, grease=False)


def test_grease_makes_no_other_id():
    def hello(suite):
        body = CURL[9:].replace(bytes.fromhex("13021303"), bytes.fromhex(suite) + bytes.fromhex("1303"))
        return tlsfingerprint_id(client_hello(body, True), 0x0301)

    assert hello("1a1a") == hello("dada") != "37695dd988f0c8b8"


@pytest.mark.parametrize("agent", list(AGENTS))
@pytest.mark.parametrize(
    ("hello", "wrong"),
    [
        (Hello("0" * 16, tls13=True, h2=True, grease=True), set()),
        (Hello("0" * 16, tls13=True, h2=True, grease=False), {"chrome", "safari"}),
        (Hello("0" * 16, tls13=True, h2=False, grease=True), {"chrome", "safari", "firefox"}),
        (Hello("0" * 16, tls13=False, h2=True, grease=True), {"chrome", "safari", "firefox"}),
        (Hello(next(iter(BOXES)), tls13=False, h2=False, grease=False), set(AGENTS)),
        (Hello(None, tls13=False, h2=False, grease=False), {"chrome", "safari", "firefox"}),
    ],
)
def test_what_contradicts_what(agent, hello, wrong):
    assert contradicts(hello, AGENTS[agent]) == (agent in wrong)


@given(st.binary(max_size=600), st.integers(0, 517))
@settings(max_examples=300)
def test_odd_beginnings_are_no_hello_or_one(noise, at):
    for data in (noise, CURL[:at] + noise, CURL[:at] + noise + CURL[at + len(noise) :], b"\x16\x03\x01" + noise):
        found = read_hello(data)
        assert found is None or isinstance(found, Hello)


def test_a_hello_in_many_records_and_one_that_is_cut():
    body = CURL[5:]
    pieces = b"".join(b"\x16\x03\x01" + len(part).to_bytes(2) + part for part in (body[:1], body[1:7], body[7:]))
    assert read_hello(pieces) == read_hello(CURL)
    assert all(read_hello(CURL[:length]) is None for length in range(len(CURL)))
    dust = b"".join(b"\x16\x03\x01\x00\x01" + bytes([byte]) for byte in body)
    assert read_hello(dust) is None, "a hello in five hundred records is nobody's"


class Secure(Server):
    scheme = "https"


@pytest.fixture(scope="module")
def issued(tmp_path_factory):
    """(folder with a certificate and key, what `curl` needs to believe them)."""
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority.make("Service CA", NOW)
    key, certificate = authority.issue(["127.0.0.1"], NOW)
    (folder / "certificate.pem").write_bytes(pem(certificate))
    (folder / "key.pem").write_bytes(key_pem(key))
    return folder


@pytest.fixture(scope="module")
def secure(tmp_path_factory, issued):
    made = Secure(
        tmp_path_factory.mktemp("service"),
        tls_certificate=str(issued / "certificate.pem"),
        tls_key=str(issued / "key.pem"),
    )
    yield made
    made.stop()


class Box:
    """An interceptor: it ends the client's TLS and opens its own, as OpenSSL does; what it reads is kept."""

    def __init__(self, target: int, folder):
        self.heard = bytearray()
        self.there = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.there.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
        self.onward = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.onward.check_hostname = False
        self.onward.verify_mode = ssl.CERT_NONE
        self.target = target
        self.port = 0
        self.loop = asyncio.new_event_loop()
        self.ready = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        assert self.ready.wait(5)

    def _run(self):
        asyncio.set_event_loop(self.loop)
        server = self.loop.run_until_complete(asyncio.start_server(self._one, "127.0.0.1", 0, ssl=self.there))
        self.port = server.sockets[0].getsockname()[1]
        self.ready.set()
        self.loop.run_forever()
        server.close()
        left = asyncio.all_tasks(self.loop)
        for task in left:
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self.loop.close()

    async def _one(self, reader, writer):
        upstream = await asyncio.open_connection("127.0.0.1", self.target, ssl=self.onward)

        async def pump(source, sink, heard):
            with contextlib.suppress(OSError):
                while data := await source.read(65_536):
                    heard += data
                    sink.write(data)
                    await sink.drain()
            sink.close()

        await asyncio.gather(pump(reader, upstream[1], self.heard), pump(upstream[0], writer, bytearray()))

    def close(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)


@pytest.fixture(scope="module")
def box(secure, issued):
    made = Box(secure.port, issued)
    yield made
    made.close()


def get(url, agent, path="/?lang=ru", **more):
    return httpx.get(url + path, headers={"User-Agent": AGENTS[agent]}, verify=False, **more)


def test_a_program_that_is_no_browser_is_not_judged(secure):
    page = get(secure.url, "curl")
    assert 'id="upload"' in page.text
    assert WORDS["ru"]["between"] not in page.text


@pytest.mark.parametrize("agent", ["firefox", "chrome", "safari"])
def test_a_hello_of_another_program_gets_no_form_and_hands_on_nothing(secure, agent):
    headers = {"User-Agent": AGENTS[agent]}
    page = get(secure.url, agent)
    assert WORDS["ru"]["between"] in page.text
    assert 'id="upload"' not in page.text
    with httpx.Client(base_url=secure.url, verify=False, headers=headers) as client:
        said = client.post("/upload?lang=kk", files={"file": ("c.pcap", RCKU.read_bytes())})
        assert said.status_code == 403
        assert WORDS["kk"]["between"] in said.text
        tus = {"Tus-Resumable": "1.0.0", "Upload-Length": "1000"}
        assert client.post("/files", headers=tus).status_code == 403
        assert client.post("/review", data={"token": secure.token}).status_code == 403
    assert not list((secure.data / "incoming").iterdir())


def test_large_uploads_pass_the_door_whole(secure):
    noise = bytes(range(256)) * 20_000
    tus = {"Tus-Resumable": "1.0.0", "Upload-Length": str(len(noise))}
    with httpx.Client(base_url=secure.url, verify=False, timeout=30) as client:
        place = client.post("/files", headers=tus).headers["location"]
        more = {"Tus-Resumable": "1.0.0", "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
        half = client.patch(place, headers=more, content=noise[: len(noise) // 2])
        assert half.headers["upload-offset"] == str(len(noise) // 2)
        (part,) = (path for path in (secure.data / "incoming").iterdir() if path.is_file())
        assert part.read_bytes() == noise[: len(noise) // 2]
        client.delete(place, headers={"Tus-Resumable": "1.0.0"})


def test_what_is_no_tls_and_what_never_ends_does_not_stay(secure):
    for beginning in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + bytes(70_000), CURL[:100]):
        with socket.create_connection(("127.0.0.1", secure.port)) as link:
            link.settimeout(5)
            link.sendall(beginning)
            link.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                assert link.recv(1) == b""
    slow = [socket.create_connection(("127.0.0.1", secure.port)) for _ in range(300)]
    for link in slow:
        link.sendall(CURL[:20])
    began = time.monotonic()
    assert get(secure.url, "curl").status_code == 200
    assert time.monotonic() - began < 2
    for link in slow:
        link.close()


@NO_BROWSER
def test_a_real_browser_is_itself_and_behind_a_box_it_is_not(secure, box, browser):
    """The browser's own hello is taken; through a box whose root it believes, there is a warning and no form."""
    context = browser.new_context(ignore_https_errors=True)
    page = context.new_page()
    page.goto(f"{secure.url}/?lang=en")
    assert WORDS["en"]["between"] not in page.inner_text("main")
    page.set_input_files("#file", str(LADDER))
    page.click("#upload button[type=submit]")
    page.wait_for_url("**/r/**", timeout=20_000)
    page.wait_for_selector(f"text={WORDS['en']['state_done']}", timeout=30_000)
    receipt = re.search(r"/r/([a-z2-7-]+)", page.url)[1]
    assert secure.wait(receipt).state == DONE
    page.goto(f"https://127.0.0.1:{box.port}/?lang=en")
    assert WORDS["en"]["between"] in page.inner_text("main")
    assert page.query_selector("#upload") is None
    context.close()
    assert b"GET /?lang=en" in bytes(box.heard), "it is in between indeed"


def test_of_the_hello_nothing_is_written(secure):
    get(secure.url, "firefox")
    kept = everything(secure.data)
    assert b"Firefox" not in kept
    assert b"AppleWebKit" not in kept
    assert b"Firefox" not in (secure.folder / "log").read_bytes()


def test_settings_of_the_door(tmp_path, issued):
    (tmp_path / "c.toml").write_text('tls_certificate = "x.pem"\n')
    with pytest.raises(ConfigError, match="go together"):
        load(tmp_path / "c.toml")
    (tmp_path / "c.toml").write_text('tls_certificate = "nowhere.pem"\ntls_key = "nowhere.pem"\n')
    done = run("serve", "--data", str(tmp_path / "data"), "--config", str(tmp_path / "c.toml"))
    assert done.returncode == 2
    assert b"tls_certificate, tls_key: " in done.stderr
    assert b"Traceback" not in done.stderr
