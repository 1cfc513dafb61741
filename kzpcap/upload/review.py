"""The researcher's side: by access token, in a browser (`/review`) and as an API (`/api`), each access on record."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response

from kzpcap.upload.store import DONE, SEALED, Store, Upload

FILES = {
    "scrubbed.pcapng": "application/octet-stream",
    "report.html": "text/html; charset=utf-8",
    "report.json": "application/json",
    "manifest.json": "application/json",
    "sealed.age": "application/octet-stream",
    "original.age": "application/octet-stream",
}
EXPORTED = ("scrubbed.pcapng", "report.json", "manifest.json", "sealed.age")
"""What `case import` takes, and what goes with it; originals are fetched one by one."""
REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
BLOCK = 512
PIECE = 1 << 20
COOKIE = "kzpcap_review"
SHOWN = 500
"""Uploads on a page, those of the newest days; the API and the export have all."""
SESSIONS = 256
MANAGE = "manage"


class Review:
    """Sessions of the browser side live in memory: a restart asks for the token again."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.sessions: dict[str, str] = {}
        self.key = secrets.token_bytes(32)

    def token(self, request: Request) -> tuple[str, str] | None:
        """(token, role) of a request: from its Authorization header, or its session's."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        token = given.strip() if scheme.lower() == "bearer" else self.sessions.get(request.cookies.get(COOKIE, ""), "")
        role = self.store.role(token) if token else None
        return (token, role) if role else None

    def enter(self, token: str, secure: bool) -> Response | None:
        """A session for a browser; None where the token is not known."""
        if self.store.role(token) is None:
            return None
        while len(self.sessions) >= SESSIONS:
            del self.sessions[next(iter(self.sessions))]
        name = secrets.token_urlsafe(32)
        self.sessions[name] = token.strip().lower()
        answer = RedirectResponse("/review", 303)
        answer.set_cookie(COOKIE, name, httponly=True, samesite="strict", secure=secure, path="/")
        return answer

    def csrf(self, request: Request) -> str:
        """The proof that a form came from a page of this session."""
        return hmac.digest(self.key, request.cookies.get(COOKIE, "").encode(), hashlib.sha256).hex()

    def came_from_us(self, request: Request, given: str) -> bool:
        """Does a form bear that proof?"""
        return COOKIE in request.cookies and hmac.compare_digest(self.csrf(request).encode(), given.encode())

    def page(self, request: Request, found: tuple[str, str]) -> dict[str, Any]:
        """What the page shows."""
        token, role = found
        everything = self.store.all()
        state, verdict = request.query_params.get("state"), request.query_params.get("found")
        uploads = [
            one
            for one in everything
            if (not state or one.state == state) and (not verdict or _connections(one).get(verdict))
        ]
        self.store.accessed(token, "list")
        connections: Counter[str] = Counter()
        by: Counter[str] = Counter()
        for one in everything:
            connections.update(_connections(one))
            by.update((one.result or {}).get("by", []))
        return {
            "role": role,
            "uploads": uploads[:SHOWN],
            "matching": len(uploads),
            "states": dict(Counter(one.state for one in everything)),
            "connections": connections,
            "by": by,
            "accesses": self.store.accesses(50) if role == MANAGE else [],
            "files": {one.id: files(self.store, one) for one in uploads[:SHOWN]},
            "csrf": self.csrf(request),
        }


def _connections(upload: Upload) -> dict[str, int]:
    """How many connections an upload has in each state of the verdict."""
    return dict((upload.result or {}).get("states") or {})


def files(store: Store, upload: Upload) -> list[str]:
    """What is kept of an upload, once it is whole."""
    if upload.state not in (DONE, SEALED):
        return []
    folder = store.kept / upload.id
    return [name for name in FILES if (folder / name).is_file()]


def documents(store: Store, uploads: list[Upload]) -> list[dict[str, Any]]:
    """Uploads in the API."""
    alike = store.alike()
    return [document(store, one, alike) for one in uploads]


def document(store: Store, upload: Upload, alike: Mapping[str, list[str]]) -> dict[str, Any]:
    """An upload in the API; nothing in it tells who sent it."""
    return {
        "id": upload.id,
        "state": upload.state,
        "day": upload.day,
        "told": upload.told,
        "result": upload.result,
        "failure": upload.failure,
        "files": files(store, upload),
        "same_as": alike.get(upload.id, []),
    }


def file_response(store: Store, upload: Upload, name: str) -> Response:
    """One kept file, as a download; any other name is not found."""
    path: Path = store.kept / upload.id / name
    if name not in files(store, upload):
        return JSONResponse({"error": "not found"}, 404)
    answer = FileResponse(path, media_type=FILES[name], filename=f"{upload.id[:8]}-{name}")
    if name == "report.html":  # to be looked at, and whatever it might hold can do nothing
        answer.headers["content-disposition"] = "inline"
        answer.headers["content-security-policy"] = REPORT_POLICY
    return answer


def export(store: Store, uploads: list[Upload]) -> Iterator[bytes]:
    """A tar of what is kept, for `kzpcap case import`: `<id>/scrubbed.pcapng` and so on, and what was told.

    Piece by piece, so that it takes no memory; an upload that is deleted meanwhile is left out.
    """
    for upload in uploads:
        folder = store.kept / upload.id
        told = json.dumps({**upload.told, "upload": upload.id, "day": upload.day}, ensure_ascii=False).encode()
        names = [name for name in files(store, upload) if name in EXPORTED]
        if not names:
            continue
        yield _header(f"{upload.id}/told.json", len(told)) + told + bytes(-len(told) % BLOCK)
        for name in names:
            try:
                file = (folder / name).open("rb")
            except OSError:
                continue
            with file:
                size = os.fstat(file.fileno()).st_size  # a file that is open stays whole, whoever deletes it
                yield _header(f"{upload.id}/{name}", size)
                while piece := file.read(PIECE):
                    yield piece
                yield bytes(-size % BLOCK)
    yield bytes(2 * BLOCK)


def _header(name: str, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o600
    return member.tobuf(tarfile.PAX_FORMAT)


OPENAPI: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "kzpcap review", "version": "1", "description": "Scrubbed captures for researchers."},
    "security": [{"token": []}],
    "components": {
        "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        "schemas": {
            "Error": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}},
            "Upload": {
                "type": "object",
                "required": ["id", "state", "day", "told", "result", "failure", "files", "same_as"],
                "properties": {
                    "id": {"type": "string"},
                    "state": {"enum": ["receiving", "waiting", "analysing", "done", "failed", "sealed"]},
                    "day": {"type": "string"},
                    "told": {"type": "object", "additionalProperties": {"type": "string"}},
                    "result": {"type": ["object", "null"]},
                    "failure": {"type": ["string", "null"]},
                    "files": {"type": "array", "items": {"enum": list(FILES)}},
                    "same_as": {"type": "array", "items": {"type": "string"}, "description": "the very same bytes"},
                },
            },
        },
    },
    "paths": {
        "/api/uploads": {
            "get": {
                "summary": "All uploads, the newest day first",
                "responses": {
                    "200": {
                        "description": "uploads",
                        "content": {
                            "application/json": {
                                "schema": {"type": "array", "items": {"$ref": "#/components/schemas/Upload"}}
                            }
                        },
                    },
                    "401": {"description": "no valid token"},
                },
            }
        },
        "/api/export.tar": {
            "get": {
                "summary": "What is kept of all uploads, for `kzpcap case import`",
                "responses": {
                    "200": {"description": "a tar", "content": {"application/x-tar": {}}},
                    "401": {"description": "no valid token"},
                },
            }
        },
        "/api/uploads/{id}": {
            "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}],
            "get": {
                "summary": "One upload",
                "responses": {
                    "200": {
                        "description": "the upload",
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Upload"}}},
                    },
                    "401": {"description": "no valid token"},
                    "404": {"description": "no such upload"},
                },
            },
            "delete": {
                "summary": "Delete one upload, all of it (role manage)",
                "responses": {
                    "204": {"description": "deleted"},
                    "401": {"description": "no valid token"},
                    "403": {"description": "the token may only read"},
                    "404": {"description": "no such upload"},
                },
            },
        },
        "/api/uploads/{id}/{file}": {
            "parameters": [
                {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}},
                {"name": "file", "in": "path", "required": True, "schema": {"enum": list(FILES)}},
            ],
            "get": {
                "summary": "One kept file",
                "responses": {
                    "200": {
                        "description": "the file",
                        "content": {"application/octet-stream": {}, "application/json": {}, "text/html": {}},
                    },
                    "401": {"description": "no valid token"},
                    "404": {"description": "no such upload or file"},
                },
            },
        },
    },
}
