"""Single answers of the resumable upload that no other test holds."""

from __future__ import annotations

import socket

import httpx
import pytest

from tests.service import LADDER
from tests.test_tus import PIECE, TUS, create, offset


@pytest.mark.parametrize("digit", [b"\xb2", b"\xb9"])
def test_what_only_looks_like_a_digit_is_no_length(server, digit):
    """A superscript is a digit to Python and no number: the service says that it is broken, and does not break."""
    with socket.create_connection(("127.0.0.1", server.port), 5) as link:
        link.sendall(
            b"POST /files HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nUpload-Length: " + digit + b"\r\n\r\n"
        )
        assert link.recv(100).split(b" ")[1] == b"400"


def test_a_piece_says_what_it_is(server):
    """Of another type it is none: a page that a browser was tricked into sending writes nothing (tus 1.0.0)."""
    place = create(server, 10)
    answer = httpx.patch(server.url + place, content=b"x", headers={**TUS, "Upload-Offset": "0"})
    assert (answer.status_code, offset(server, place)) == (415, 0)


def test_what_has_arrived_is_said_to_have(server):
    """A client that lost the last answer asks again: it is told that all is there, and that no more is taken."""
    body = LADDER.read_bytes()
    place = create(server, len(body))
    assert httpx.head(server.url + place, headers=TUS).headers["upload-length"] == str(len(body))
    httpx.patch(server.url + place, content=body, headers={**PIECE, "Upload-Offset": "0"})
    told = httpx.head(server.url + place, headers=TUS).headers
    assert (told["upload-offset"], told["upload-length"]) == (str(len(body)), str(len(body)))
    again = httpx.patch(server.url + place, content=b"x", headers={**PIECE, "Upload-Offset": str(len(body))})
    assert again.status_code == 409
    server.wait(place.removeprefix("/files/"))
    told = httpx.head(server.url + place, headers=TUS).headers
    assert (told["upload-offset"], told["upload-length"]) == (str(len(body)), str(len(body)))
