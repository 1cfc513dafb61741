"""The pages and the routes. No cookie but the researcher's, no log of requests, no request to anywhere else."""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, select_autoescape
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from kzpcap.guide import guide
from kzpcap.sealing import is_sealed
from kzpcap.upload import review, tus
from kzpcap.upload.config import Config
from kzpcap.upload.door import Door, contradicts
from kzpcap.upload.language import NAMES, WORDS
from kzpcap.upload.receive import Gate, Refused, take_form
from kzpcap.upload.store import ANALYSING, DONE, RECEIVING, WAITING, Store, Upload, days_ago
from kzpcap.upload.worker import Workers

HERE = Path(__file__).parent
RECEIPT = re.compile(r"[a-z2-7]{5}(-[a-z2-7]{1,5}){5}")
MAX_FORM = 8_192
FORM_SECONDS = 60
RENEW_SECONDS = 4
MAX_EXPORTED = 1_000_000
SECURITY = {
    "content-security-policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "geolocation=(), camera=(), microphone=(), interest-cohort=()",
}
SECURE = {"strict-transport-security": "max-age=31536000"}
"""With TLS of its own: never without it again."""
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Headers:
    """Every answer bears the security headers, and none is stored by anyone on the way."""

    def __init__(self, app: Any, headers: dict[str, str]) -> None:
        self.app = app
        self.headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def add(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = message.setdefault("headers", [])
                given = {name for name, _ in headers}
                added = ((name.encode(), value.encode()) for name, value in self.headers.items())
                headers += [(name, value) for name, value in added if name not in given]
                if not any(name == b"cache-control" for name, _ in headers):
                    headers.append((b"cache-control", b"no-store"))
            await send(message)

        await self.app(scope, receive, add)


def _encrypted(request: Request) -> bool:
    """Does the browser come by TLS? A proxy in front ends it and speaks plain HTTP to here, but not to loopback."""
    host = (request.url.hostname or "").lower()
    return request.url.scheme == "https" or not (host.endswith(".onion") or host == "localhost" or _private(host))


def _private(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_private  # loopback too
    except ValueError:
        return False


class Service:
    """The service over one data folder."""

    def __init__(self, store: Store, config: Config, door: Door | None = None) -> None:
        self.store = store
        self.config = config
        self.door = door
        self.gate = Gate(store, config)
        self.workers = Workers(store, config)
        self.review = review.Review(store)
        self.pages = Environment(
            loader=FileSystemLoader(HERE / "templates"), autoescape=select_autoescape(default=True), auto_reload=False
        )

    # what every page needs

    def language(self, request: Request) -> str:
        """As asked for, else as the browser prefers, else English."""
        asked = request.query_params.get("lang", "")
        if asked in WORDS:
            return asked
        for part in request.headers.get("accept-language", "")[:200].lower().split(","):
            code = part.strip()[:2]
            if code in WORDS:
                return code
        return "en"

    def page(self, request: Request, template: str, status: int = 200, **values: Any) -> Response:
        """A page in the volunteer's language."""
        lang = self.language(request)
        # The links to the other languages: with two slashes one would lead to another host.
        here = "/" + request.url.path.lstrip("/\\") if request.method == "GET" else "/"
        text = self.pages.get_template(template).render(
            lang=lang, w=WORDS[lang], names=NAMES, config=self.config,
            path=here, megabytes=self._megabytes(), **values,
        )  # fmt: skip
        return HTMLResponse(text, status)

    def message(self, request: Request, why: str, status: int) -> Response:
        """A page that says one thing."""
        said = WORDS[self.language(request)][why]
        if why == "too_large":
            said = said % self._megabytes()
        return self.page(request, "message.html", status, said=said)

    def _megabytes(self) -> str:
        return f"{self.config.max_file / (1 << 20):.4g}"

    def between(self, request: Request) -> bool:
        """Did somebody else open this TLS connection, as far as its ClientHello shows?"""
        hello = self.door.hellos.get(request.client.port) if self.door and request.client else None
        return hello is not None and contradicts(hello, request.headers.get("user-agent", ""))

    # the volunteer

    async def home(self, request: Request) -> Response:
        """The page: what this is and what it risks, before anything else; then the form."""
        host = request.url.hostname or ""
        clearnet = not host.endswith(".onion")
        return self.page(
            request, "home.html", clearnet=clearnet, onion=self.config.onion, between=self.between(request)
        )

    async def how(self, request: Request) -> Response:
        """The guide."""
        return self.page(request, "how.html", blocks=blocks(self.language(request)))

    async def upload(self, request: Request) -> Response:
        """A whole form at once: what a browser without scripts sends."""
        language = self.language(request)
        try:
            if self.between(request):
                raise Refused("between", 403)
            place = self.gate.enter()
        except Refused as refused:
            return self.message(request, refused.why, refused.status)
        name = ""
        try:
            name, receipt = await asyncio.to_thread(self.store.create, {})
            self.gate.writers.add(name)  # others make no room for themselves in its place
            form = await take_form(request, self.gate, place, self.store.part(name))
            if not form.size:
                raise Refused("no_file", 400)
            await asyncio.to_thread(self.store.tell, name, form.fields)
            if is_sealed(self.store.part(name)):
                await asyncio.to_thread(self.store.sealed, name, form.size)
            else:
                await asyncio.to_thread(self.store.arrived, name, form.size)
                self.workers.wake.set()
        except Refused as refused:
            self.store.delete(name)
            return self.message(request, refused.why, refused.status)
        except BaseException:
            if name:
                self.store.delete(name)
            raise
        finally:
            self.gate.writers.discard(name)
            self.gate.leave(place)
        return RedirectResponse(f"/r/{receipt}?lang={language}", 303)

    def _upload(self, request: Request) -> Upload | None:
        receipt = request.path_params.get("receipt", "")
        found = self.store.by_receipt(receipt) if RECEIPT.fullmatch(receipt) else None
        return found if found is not None and found.day >= days_ago(self.config.receipt_days) else None

    async def receipt(self, request: Request) -> Response:
        """What became of an upload."""
        found = self._upload(request)
        if found is None:
            return self.message(request, "no_receipt", 404)
        by, issuers = list[str](), list[str]()
        if found.result and found.state == DONE:
            by = found.result.get("by", [])
            issuers = found.result.get("issuers", [])
        refresh = RENEW_SECONDS if found.state in (RECEIVING, WAITING, ANALYSING) else None
        original = found.state == DONE and (self.store.kept / found.id / "original.age").exists()
        return self.page(
            request, "receipt.html", upload=found, code=request.path_params["receipt"], by=by, issuers=issuers,
            refresh=refresh, original=original,
        )  # fmt: skip

    async def look_up(self, request: Request) -> Response:
        """From a code that was typed to its page."""
        code = (await short_form(request)).get("code", "").strip().lower()
        compact = re.sub(r"[^a-z2-7]", "", code)[:26]
        receipt = "-".join(compact[at : at + 5] for at in range(0, len(compact), 5))
        if not RECEIPT.fullmatch(receipt) or self.store.by_receipt(receipt) is None:
            return self.message(request, "no_receipt", 404)
        return RedirectResponse(f"/r/{receipt}?lang={self.language(request)}", 303)

    async def delete(self, request: Request) -> Response:
        """Delete an upload: who has the receipt may."""
        found = self._upload(request)
        if found is None:
            return self.message(request, "no_receipt", 404)
        await self.workers.forget(found.id)
        return self.message(request, "deleted", 200)

    # tus

    async def files(self, request: Request) -> Response:
        """The resumable upload."""
        try:
            if request.method == "OPTIONS":
                return tus.options(self.gate)
            if self.between(request) and request.method != "DELETE":  # to delete is never worse
                raise Refused("between", 403)
            if request.headers.get("tus-resumable") != "1.0.0":
                return Response(None, 412, tus.OFFERS)
            if request.method == "POST":
                return await asyncio.to_thread(tus.create, request, self.gate)
            found = self._upload(request)
            if found is None:
                return Response(None, 404, tus.HEADERS)
            if request.method == "HEAD":
                return tus.head(self.gate, found)
            if request.method == "DELETE":
                await self.workers.forget(found.id)
                return Response(None, 204, tus.HEADERS)
            return await tus.patch(request, self.gate, found, self.workers)
        except Refused as refused:
            return Response(None, refused.status, tus.HEADERS)

    async def key(self, request: Request) -> Response:
        """The age recipient that `kzpcap upload` encrypts to; empty where there is none."""
        del request
        return JSONResponse({"age_recipient": self.config.age_recipient, "max_file": self.config.max_file})

    # the researcher

    async def review_page(self, request: Request) -> Response:
        """The list of uploads, behind a token."""
        template = self.pages.get_template("review.html")
        if self.between(request):  # a token is as good as the uploads
            return self.message(request, "between", 403)
        if request.method == "POST":
            entered = self.review.enter((await short_form(request)).get("token", ""), _encrypted(request))
            return entered or HTMLResponse(template.render(role=None, wrong=True), 403)
        found = self.review.token(request)
        if found is None:
            return HTMLResponse(template.render(role=None, wrong=False), 200 if not request.cookies else 403)
        return HTMLResponse(template.render(**self.review.page(request, found)))

    async def review_delete(self, request: Request) -> Response:
        """Delete an upload from the page."""
        form = await short_form(request)
        found = self.review.token(request)
        if found is None or found[1] != review.MANAGE or not self.review.came_from_us(request, form.get("csrf", "")):
            return HTMLResponse(self.pages.get_template("review.html").render(role=None, wrong=True), 403)
        upload = self.store.by_id(form.get("id", ""))
        if upload is not None:
            self.review.store.accessed(found[0], "delete", upload.id)
            await self.workers.forget(upload.id)
        return RedirectResponse("/review", 303)

    async def review_leave(self, request: Request) -> Response:
        """End a session."""
        form = await short_form(request)
        if self.review.came_from_us(request, form.get("csrf", "")):
            self.review.sessions.pop(request.cookies.get(review.COOKIE, ""), None)
        answer = RedirectResponse("/review", 303)
        answer.delete_cookie(review.COOKIE, path="/")
        return answer

    async def api(self, request: Request) -> Response:
        """The API: uploads, one of them, its files."""
        found = self.review.token(request)
        if found is None:
            return JSONResponse({"error": "no valid token"}, 401, {"WWW-Authenticate": "Bearer"})
        token, role = found
        name = request.path_params.get("id")
        if name is None:
            self.store.accessed(token, "list")
            return JSONResponse(await run_in_threadpool(lambda: review.documents(self.store, self.store.all())))
        upload = self.store.by_id(name)
        if upload is None:
            return JSONResponse({"error": "not found"}, 404)
        if request.method == "DELETE":
            if role != review.MANAGE or "authorization" not in request.headers:  # a page of another site has no header
                return JSONResponse({"error": "this token may only read"}, 403)
            self.store.accessed(token, "delete", upload.id)
            await self.workers.forget(upload.id)
            return Response(None, 204)
        file = request.path_params.get("file")
        answer: Response = (
            JSONResponse(review.documents(self.store, [upload])[0])
            if file is None
            else review.file_response(self.store, upload, file)
        )
        if answer.status_code < 400:
            self.store.accessed(token, file or "upload", upload.id)
        return answer

    async def export(self, request: Request) -> Response:
        """All that is kept, as one tar."""
        found = self.review.token(request)
        if found is None:
            return JSONResponse({"error": "no valid token"}, 401, {"WWW-Authenticate": "Bearer"})
        named = {"content-disposition": 'attachment; filename="kzpcap-export.tar"'}
        uploads = await asyncio.to_thread(self.store.all, None, MAX_EXPORTED)
        self.store.accessed(found[0], "export")
        return StreamingResponse(review.export(self.store, uploads), media_type="application/x-tar", headers=named)

    async def openapi(self, request: Request) -> Response:
        """The description of the API."""
        del request
        return JSONResponse(review.OPENAPI)

    async def lost(self, request: Request, error: Exception) -> Response:
        """Whatever is not there, or not to be asked for so: by a link of a page that answered a form."""
        answer = self.message(request, "not_found", getattr(error, "status_code", 404))
        answer.headers.update(getattr(error, "headers", None) or {})
        return answer

    def app(self) -> Any:
        """The ASGI application; analyses run as long as it does."""

        @asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncIterator[None]:
            del app
            if self.door is not None:
                await self.door.start()  # first: who cannot listen leaves the folder as it is
            self.workers.start()
            yield
            if self.door is not None:
                self.door.stop()
            await self.workers.stop()

        routes = [
            Route("/", self.home),
            Route("/how", self.how),
            Route("/upload", self.upload, methods=["POST"]),
            Route("/receipt", self.look_up, methods=["POST"]),
            Route("/r/{receipt}", self.receipt),
            Route("/r/{receipt}/delete", self.delete, methods=["POST"]),
            Route("/files", self.files, methods=["POST", "OPTIONS"]),
            Route("/files/{receipt}", self.files, methods=["HEAD", "PATCH", "DELETE", "OPTIONS"]),
            Route("/key", self.key),
            Route("/review", self.review_page, methods=["GET", "POST"]),
            Route("/review/delete", self.review_delete, methods=["POST"]),
            Route("/review/leave", self.review_leave, methods=["POST"]),
            Route("/api/openapi.json", self.openapi),
            Route("/api/export.tar", self.export),
            Route("/api/uploads", self.api),
            Route("/api/uploads/{id}", self.api, methods=["GET", "DELETE"]),
            Route("/api/uploads/{id}/{file}", self.api),
            Mount("/static", StaticFiles(directory=HERE / "static")),
        ]
        app = Starlette(routes=routes, lifespan=lifespan, exception_handlers={404: self.lost, 405: self.lost})
        return Headers(app, SECURITY | (SECURE if self.config.tls_certificate else {}))


async def short_form(request: Request) -> dict[str, str]:
    """A small urlencoded form; empty where it is anything else."""
    from urllib.parse import parse_qsl

    body = b""
    try:
        async with asyncio.timeout(FORM_SECONDS):
            async for piece in request.stream():
                body += piece
                if len(body) > MAX_FORM:
                    return {}
    except (
        TimeoutError,
        ClientDisconnect,
    ):  # nobody waits for the answer, and a traceback in a log would tell the moment
        return {}
    try:
        return dict(parse_qsl(body.decode("utf-8"), max_num_fields=16))
    except ValueError:
        return {}


@lru_cache(maxsize=8)
def blocks(language: str) -> list[tuple[int, Any]]:
    """The guide as (kind, text): 1 and 2 titles, 3 commands, 4 a list, 5 a numbered one, 0 a paragraph."""
    found: list[tuple[int, Any]] = []
    # What goes on after a command within a list begins with spaces: a list that follows it is a block of its own.
    text = re.sub(r"(\n  \S[^\n]*)\n- ", r"\1\n\n- ", guide(language).strip())
    for block in re.split(r"\n\n+", text):
        if block.startswith("## "):
            title, _, rest = block.partition("\n")
            found.append((2, title[3:]))
            block = rest
        elif block.startswith("# "):
            found.append((1, block[2:]))
            continue
        if not block.strip():
            continue
        if block.startswith("    "):
            found.append((3, "\n".join(line.strip() for line in block.splitlines())))
        elif block.startswith("- "):
            found.append((4, _items(block, "- ")))
        elif re.match(r"\d\. ", block):
            found.append((5, _items(block, None)))
        else:
            found.append((0, " ".join(line.strip() for line in block.splitlines())))
    return found


def _items(block: str, mark: str | None) -> list[str]:
    items: list[str] = []
    for line in block.splitlines():
        if (mark and line.startswith(mark)) or (mark is None and re.match(r"\d\. ", line)):
            items.append(line[len(mark) if mark else 3 :].strip())
        elif items:
            items[-1] += " " + line.strip()
    return items
