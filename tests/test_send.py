"""Sending from the volunteer's machine: scrubbed and sealed first, to a pinned key alone, going on after breaks."""

from __future__ import annotations

import contextlib
import io
import socket
import ssl
import sys
import threading

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from kzpcap.certificates.certificate import parse
from kzpcap.upload.client import UploadError, send, service
from kzpcap.upload.store import DONE, SEALED
from tests.conftest import CAPTURES, run
from tests.service import RCKU, Server, everything

sys.path.insert(0, str(CAPTURES))
from recipes.packets import SPRING_2026
from recipes.tls import Authority, server_context


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    found = Server(tmp_path_factory.mktemp("service"))
    yield found
    found.stop()


def pipe(one, two):
    with contextlib.suppress(OSError):
        while data := one.recv(65_536):
            two.sendall(data)
    for end in (one, two):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


class Listener:
    """A server of the test's own on the loopback: each connection goes to `handle`; what it heard is kept."""

    def __init__(self, handle):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.heard = bytearray()
        self.handle = handle
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                link, _ = self.socket.accept()
                threading.Thread(target=self._one, args=(link,), daemon=True).start()

    def _one(self, link):
        with contextlib.suppress(OSError, ssl.SSLError), link:
            self.handle(self, link)

    def close(self):
        self.socket.close()


@pytest.fixture
def listener():
    made = []

    def make(handle):
        made.append(Listener(handle))
        return made[-1]

    yield make
    for one in made:
        one.close()


def socks(target):
    """A SOCKS 5 proxy that leads everything to one port, and notes which name it was asked for."""

    def handle(self, link):
        assert link.recv(3) == b"\x05\x01\x00"
        link.sendall(b"\x05\x00")
        head = link.recv(300)
        self.heard += head
        link.sendall(b"\x05\x00\x00\x01" + bytes(6))
        with socket.create_connection(("127.0.0.1", target)) as onward:
            back = threading.Thread(target=pipe, args=(onward, link), daemon=True)
            back.start()
            pipe(link, onward)
            back.join(5)

    return handle


def tls(authority, target=None):
    """(a TLS server with a key of its own, or a door in front of `target`; the pin of its key)."""
    key, certificate = authority.issue(["service.example"], SPRING_2026)
    context = server_context(key, certificate, ssl.TLSVersion.TLSv1_2)

    def handle(self, link):
        with context.wrap_socket(link, server_side=True) as open_link:
            if target is None:
                while data := open_link.recv(65_536):
                    self.heard += data
                return
            with socket.create_connection(("127.0.0.1", target)) as onward:
                back = threading.Thread(target=pipe, args=(onward, open_link), daemon=True)
                back.start()
                pipe(open_link, onward)
                back.join(5)

    return handle, parse(certificate.public_bytes(Encoding.DER)).spki_sha256


def test_to_this_machine_from_the_command_line(server):
    done = run("upload", str(RCKU), "--to", server.url, "--yes")
    told = done.stdout.decode()
    assert done.returncode == 0, done.stderr
    receipt = told.split("to write down: ")[1].split()[0]
    assert server.wait(receipt).state == DONE
    assert "the same state for" in told, "what is handed on is shown first"


def test_sealed_for_the_researcher_alone(server):
    pyrage = pytest.importorskip("pyrage")
    identity = pyrage.x25519.Identity.generate()
    done = run("upload", str(RCKU), "--to", server.url, "--yes", "--encrypt-to", str(identity.to_public()))
    assert done.returncode == 0, done.stderr
    receipt = done.stdout.decode().split("to write down: ")[1].split()[0]
    upload = server.wait(receipt)
    assert upload.state == SEALED
    assert b"facebook" not in everything(server.data / "kept" / upload.id)
    opened = pyrage.decrypt((server.data / "kept" / upload.id / "sealed.age").read_bytes(), [identity])
    assert b"www.facebook.com" in opened
    assert b"\xc0\x00\x02\x0a" not in opened, "it was scrubbed before"


def test_nothing_is_sent_unasked(server):
    done = run("upload", str(RCKU), "--to", server.url)
    assert done.returncode == 9
    assert b"nothing was sent" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("http://service.example",), "http would show everything"),
        (("https://service.example",), "without --pin"),
        (("https://service.example", "ab" * 32), None),
        (("http://abc.onion",), "needs Tor's proxy"),
        (("http://abc.onion", "", "127.0.0.1:9050"), None),
        (("ftp://service.example",), "not an address"),
        (("https://service.example", "xyz"), "64 hex digits"),
        (("http://abc.onion", "", "127.0.0.1:port"), "not a port"),
    ],
)
def test_where_it_would_not_be_safe_nothing_begins(arguments, why):
    if why is None:
        service(*arguments)
        return
    with pytest.raises(UploadError, match=why):
        service(*arguments)


def test_over_the_open_internet_it_must_be_sealed():
    done = run("upload", str(RCKU), "--to", "https://service.example", "--pin", "ab" * 32, "--yes")
    assert done.returncode == 9
    assert b"--encrypt-to" in done.stderr


def test_through_a_socks_proxy_that_resolves_the_name(server, listener):
    proxy = listener(socks(server.port))
    place = service("http://abcdefgh.onion", "", f"127.0.0.1:{proxy.port}")
    receipt = send(place, io.BytesIO(RCKU.read_bytes()), RCKU.stat().st_size)
    assert server.wait(receipt).state == DONE
    assert b"abcdefgh.onion" in proxy.heard, "the name goes to the proxy, and to no resolver"


def test_a_proxy_that_is_not_there_is_told_as_that():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    place = service("http://abcdefgh.onion", "", f"127.0.0.1:{port}")
    with pytest.raises(UploadError, match=f"no proxy answers at 127.0.0.1:{port}: is Tor running"):
        send(place, io.BytesIO(b"x"), 1)


def test_the_pinned_key_is_let_through(server, listener):
    handle, pin = tls(Authority.make("Some CA", SPRING_2026), server.port)
    door = listener(handle)
    receipt = send(service(f"https://127.0.0.1:{door.port}", pin), io.BytesIO(RCKU.read_bytes()), RCKU.stat().st_size)
    assert server.wait(receipt).state == DONE


def test_a_box_with_another_key_gets_not_a_byte(listener):
    """The volunteer installed the box's root: its certificate would pass every check but this one."""
    _, pin = tls(Authority.make("The service's CA", SPRING_2026))
    handle, _ = tls(Authority.make("Qaznet Trust Network", SPRING_2026))
    box = listener(handle)
    with pytest.raises(UploadError, match="NOT THE PINNED ONE"):
        send(service(f"https://127.0.0.1:{box.port}", pin), io.BytesIO(b"x" * 100), 100)
    assert bytes(box.heard) == b""


def test_it_goes_on_after_breaks(server, listener):
    """A way that breaks off every few hundred kilobytes."""
    body = (RCKU.read_bytes() * 100)[: 3 << 20]
    left = [700_000, 300_000, 0]

    def handle(self, link):
        with socket.create_connection(("127.0.0.1", server.port)) as onward:
            threading.Thread(target=pipe, args=(onward, link), daemon=True).start()
            room = left.pop(0) if left else None
            while data := link.recv(65_536):
                onward.sendall(data)
                if room is not None and len(data) > 1_000:
                    room -= len(data)
                    if room < 0:
                        onward.shutdown(socket.SHUT_RDWR)
                        return

    way = listener(handle)
    seen = []
    place = service(f"http://127.0.0.1:{way.port}")
    receipt = send(place, io.BytesIO(body), len(body), lambda done, _: seen.append(done), lambda _: None)
    upload = server.wait(receipt)
    assert upload.size == len(body)
    assert seen[-1] == len(body)


def test_a_dead_way_is_given_up(listener):
    dead = listener(lambda self, link: None)
    with pytest.raises(UploadError):
        send(service(f"http://127.0.0.1:{dead.port}"), io.BytesIO(b"x"), 1, None, lambda _: None)


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 201 Created\r\nLocation: http://evil.example/\r\n"
     b"Content-Length: 0\r\n\r\n", b"HTTP/1.1 507 Full\r\nContent-Length: 0\r\n\r\n", b"\x00\x01\x02 no HTTP"],
    ids=["page", "elsewhere", "full", "noise"],
)  # fmt: skip
def test_what_is_no_service_is_told(listener, answer):
    def handle(self, link):
        link.recv(65_536)
        link.sendall(answer)

    stranger = listener(handle)
    with pytest.raises(UploadError):
        send(service(f"http://127.0.0.1:{stranger.port}"), io.BytesIO(b"x"), 1, None, lambda _: None)


@pytest.mark.parametrize("told", [b"10", b"0", b"-1", b"9" * 40, b"\xb2"], ids=["more", "none", "less", "many", "odd"])
def test_a_service_that_counts_other_bytes_than_were_sent_is_not_believed(told, listener):
    def handle(self, link):
        asked = link.recv(65_536)
        head = b"201 Created\r\nLocation: /files/abc" if asked.startswith(b"POST") else b"204 No Content"
        head = b"200 OK" if asked.startswith(b"HEAD") else head
        link.sendall(b"HTTP/1.1 " + head + b"\r\nUpload-Offset: " + told + b"\r\nContent-Length: 0\r\n\r\n")

    stranger = listener(handle)
    with pytest.raises(UploadError, match="not sent"):
        send(service(f"http://127.0.0.1:{stranger.port}"), io.BytesIO(b"12345"), 5, None, lambda _: None)
