"""Resumable uploads (tus 1.0.0) and sealed ones."""

from __future__ import annotations

import base64
import socket
import time

import httpx
import pytest

from kzpcap.upload.language import WORDS
from kzpcap.upload.store import DONE, SEALED
from tests.service import LADDER, RCKU, everything

TUS = {"Tus-Resumable": "1.0.0"}
PIECE = {**TUS, "Content-Type": "application/offset+octet-stream"}


def create(server, length, **fields):
    told = ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in fields.items())
    answer = httpx.post(server.url + "/files", headers={**TUS, "Upload-Length": str(length), "Upload-Metadata": told})
    assert answer.status_code == 201
    return answer.headers["location"]


def offset(server, place):
    return int(httpx.head(server.url + place, headers=TUS).headers["upload-offset"])


def test_a_resumable_upload_goes_on_where_it_broke(server):
    body = LADDER.read_bytes()
    place = create(server, len(body), isp="Tele2", filename="/home/me/secret-name.pcap")
    first = httpx.patch(server.url + place, content=body[:5_000], headers={**PIECE, "Upload-Offset": "0"})
    assert first.status_code == 204
    head = f"PATCH {place} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 5000\r\n"
    head += f"Content-Type: application/offset+octet-stream\r\nContent-Length: {len(body) - 5_000}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), 5) as link:  # a piece that breaks off in the middle
        link.sendall(head.encode() + body[5_000:7_000])
        time.sleep(0.3)
    for _ in range(50):
        at = offset(server, place)
        if at == 7_000:
            break
        time.sleep(0.05)
    assert at == 7_000
    wrong = httpx.patch(server.url + place, content=b"x", headers={**PIECE, "Upload-Offset": "5000"})
    assert wrong.status_code == 409
    done = httpx.patch(server.url + place, content=body[at:], headers={**PIECE, "Upload-Offset": str(at)})
    assert (done.status_code, done.headers["upload-offset"]) == (204, str(len(body)))
    upload = server.wait(place.removeprefix("/files/"))
    assert (upload.state, upload.told) == (DONE, {"isp": "Tele2"})
    assert b"secret-name" not in everything(server.data)


def test_more_than_announced_is_refused(server):
    place = create(server, 10)
    answer = httpx.patch(server.url + place, content=b"x" * 11, headers={**PIECE, "Upload-Offset": "0"})
    assert answer.status_code == 413
    assert offset(server, place) <= 10
    assert httpx.delete(server.url + place, headers=TUS).status_code == 204
    assert httpx.head(server.url + place, headers=TUS).status_code == 404


def test_one_writer_at_a_time(server):
    place = create(server, 100_000)
    with socket.create_connection(("127.0.0.1", server.port), 5) as link:
        head = f"PATCH {place} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n"
        head += "Content-Type: application/offset+octet-stream\r\nContent-Length: 100000\r\n\r\n"
        link.sendall(head.encode() + b"y" * 100)
        time.sleep(0.3)
        second = httpx.patch(server.url + place, content=b"z" * 100, headers={**PIECE, "Upload-Offset": "100"})
        assert second.status_code == 423
    httpx.delete(server.url + place, headers=TUS)


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 412), ({**TUS}, 400), ({**TUS, "Upload-Length": "-1"}, 400), ({**TUS, "Upload-Length": "1e9"}, 400),
     ({**TUS, "Upload-Length": "9" * 30}, 400), ({**TUS, "Upload-Length": "0"}, 400),
     ({**TUS, "Upload-Length": str(1 << 40)}, 413)],
)  # fmt: skip
def test_odd_creations(server, headers, status):
    assert httpx.post(server.url + "/files", headers=headers).status_code == status


def test_what_it_offers(server):
    answer = httpx.options(server.url + "/files")
    assert answer.headers["tus-version"] == "1.0.0"
    assert int(answer.headers["tus-max-size"]) == 8 << 20


def test_sealed_files_are_kept_closed(server):
    pyrage = pytest.importorskip("pyrage")
    identity = pyrage.x25519.Identity.generate()
    sealed = pyrage.encrypt(RCKU.read_bytes(), [identity.to_public()])
    receipt = server.receipt(server.send(sealed))
    upload = server.wait(receipt)
    assert upload.state == SEALED
    assert (server.data / "kept" / upload.id / "sealed.age").read_bytes() == sealed
    assert WORDS["en"]["state_sealed"] in httpx.get(f"{server.url}/r/{receipt}?lang=en").text
    got = server.api(f"/api/uploads/{upload.id}/sealed.age").content
    assert pyrage.decrypt(got, [identity]) == RCKU.read_bytes()
