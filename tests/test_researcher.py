"""The service from the researcher's side: tokens, roles, the API and its description."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile

import httpx
import pytest

from kzpcap.upload.language import WORDS
from kzpcap.upload.store import DONE, Store, digest
from kzpcap.upload.sweep import sweep
from tests.conftest import run
from tests.service import LADDER, RCKU, SEED, Server, everything


def test_the_api_by_token_and_role(server):
    receipt = server.receipt(server.send(LADDER.read_bytes()))
    upload = server.wait(receipt)
    assert httpx.get(server.url + "/api/uploads").status_code == 401
    assert server.api("/api/uploads", "0" * 64).status_code == 401
    rows = server.api("/api/uploads").json()
    assert upload.id in {row["id"] for row in rows}
    assert "receipt" not in json.dumps(rows)
    report = server.api(f"/api/uploads/{upload.id}/report.json").json()
    assert report["ladders"][0]["interceptor_ttl"] == 5
    capture = server.api(f"/api/uploads/{upload.id}/scrubbed.pcapng").content
    assert capture[:4] == b"\n\r\r\n"
    for name in ("result.json", "..%2f..%2fkzpcap.sqlite", "kzpcap.sqlite"):
        assert server.api(f"/api/uploads/{upload.id}/{name}").status_code == 404
    store = Store(server.data)
    reader = store.new_token("reader", "read")
    assert server.api(f"/api/uploads/{upload.id}", reader).status_code == 200
    assert server.api(f"/api/uploads/{upload.id}", reader, "DELETE").status_code == 403
    assert store.revoke(digest(reader)[:12])
    assert server.api("/api/uploads", reader).status_code == 401, "a revoked token"
    assert server.api(f"/api/uploads/{upload.id}", method="DELETE").status_code == 204
    assert server.api(f"/api/uploads/{upload.id}").status_code == 404
    whats = {row["what"] for row in store.accesses()}
    assert {"list", "report.json", "scrubbed.pcapng", "delete"} <= whats, "every access is on record"
    assert not {"result.json", "kzpcap.sqlite"} & whats, "what was not there was not read"
    assert upload.id not in {row["upload"] for row in store.accesses()}, "who deletes it deletes that too"
    assert reader not in (server.data / "kzpcap.sqlite").read_bytes().decode("latin-1")


def test_the_report_is_a_page_that_can_do_nothing(server):
    upload = server.wait(server.receipt(server.send(LADDER.read_bytes())))
    page = server.api(f"/api/uploads/{upload.id}/report.html")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"] == "default-src 'none'; style-src 'unsafe-inline'; sandbox"
    assert len([1 for name in page.headers if name == "content-security-policy"]) == 1
    assert "between hop 4 (92.47.151.210) and hop 5 (95.56.243.92)" in page.text
    assert "<script" not in page.text


def test_what_is_exported_becomes_a_case(server, tmp_path):
    pyrage = pytest.importorskip("pyrage")
    identity = pyrage.x25519.Identity.generate()
    (tmp_path / "key").write_text(f"{identity}\n")
    sealed = pyrage.encrypt(RCKU.read_bytes(), [identity.to_public()])
    one = server.wait(server.receipt(server.send(LADDER.read_bytes(), isp="Қазақтелеком", note="=1+1<b>")))
    two = server.wait(server.receipt(server.send(sealed)))
    assert httpx.get(server.url + "/api/export.tar").status_code == 401
    got = server.api("/api/export.tar")
    (tmp_path / "export.tar").write_bytes(got.content)
    with tarfile.open(tmp_path / "export.tar") as archive:
        names = archive.getnames()
        assert {f"{one.id}/told.json", f"{one.id}/scrubbed.pcapng", f"{two.id}/sealed.age"} <= set(names)
        assert archive.extractfile(f"{two.id}/sealed.age").read() == sealed
        assert {member.mtime for member in archive} == {0}
    case = str(tmp_path / "case")
    done = run("case", "import", str(tmp_path / "export.tar"), "--case", case, "-i", str(tmp_path / "key"))
    assert done.returncode in (0, 1), done.stderr  # other tests' sealed files are for others
    lines = "".join(path.read_text() for path in (tmp_path / "case" / "custody").iterdir()).splitlines()
    told = [json.loads(line)["sidecar"] for line in lines if '"sidecar"' in line]
    (beside,) = [entry for entry in told if entry.get("upload") == one.id]
    assert beside["isp"] == "Қазақтелеком"
    assert beside["note"] == "=1+1<b>"
    (beside,) = [entry for entry in told if entry.get("upload") == two.id]
    assert beside["sealed_sha256"] == hashlib.sha256(sealed).hexdigest()
    assert run("case", "verify", case).returncode == 0
    assert "export" in {row["what"] for row in Store(server.data).accesses()}


def test_tokens_are_given_for_a_service_that_is_there(server, tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "none"):
        done = run("token", "--data", folder)
        assert (done.returncode, b"no data folder of a service" in done.stderr) == (2, True)
    assert not list((tmp_path / "empty").iterdir())
    assert run("token", "--data", server.data, "--role", "manage").returncode == 2, "for whom?"


def test_who_read_what_is_forgotten_with_the_uploads(tmp_path):
    store = Store(tmp_path / "data")
    token = store.new_token("reader", "read")
    store.accessed(token, "report.json", "a")
    with store.database() as database:
        database.execute("UPDATE accesses SET day = '2020-01-01'")
    store.accessed(token, "list")
    sweep(store, 24, 90)
    assert [row["what"] for row in store.accesses()] == ["list"]


def test_originals_are_kept_sealed_or_not_at_all(tmp_path):
    pyrage = pytest.importorskip("pyrage")
    identity = pyrage.x25519.Identity.generate()
    own = Server(tmp_path, keep_originals=True, age_recipient=str(identity.to_public()))
    try:
        assert WORDS["ru"]["thrown_text_kept"] in httpx.get(own.url + "/?lang=ru").text
        body = RCKU.read_bytes()
        receipt = own.receipt(own.send(body))
        upload = own.wait(receipt)
        assert upload.state == DONE
        kept = own.api(f"/api/uploads/{upload.id}/original.age").content
        assert pyrage.decrypt(kept, [identity]) == body
        assert body not in everything(own.data)
        assert not list((own.data / "incoming").iterdir())
        assert WORDS["en"]["state_done_kept"] in httpx.get(f"{own.url}/r/{receipt}?lang=en").text
        httpx.post(f"{own.url}/r/{receipt}/delete")
        assert not list((own.data / "kept").iterdir())
    finally:
        own.stop()


def test_the_same_bytes_are_found_without_their_digest(server):
    body = LADDER.read_bytes() + b"\0" * 4
    first, second = (server.wait(server.receipt(server.send(body))) for _ in range(2))
    assert first.state == second.state == DONE, "each is analysed as if it were new"
    assert second.id in server.api(f"/api/uploads/{first.id}").json()["same_as"]
    kept = everything(server.data)
    assert hashlib.sha256(body).hexdigest().encode() not in kept
    assert hashlib.sha256(body).digest() not in kept


def test_a_form_of_another_site_does_nothing(server):
    upload = server.wait(server.receipt(server.send(RCKU.read_bytes())))
    with httpx.Client(base_url=server.url) as browser:
        assert browser.post("/review", data={"token": "wrong"}).status_code == 403
        entered = browser.post("/review", data={"token": server.token})
        cookie = entered.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        for forged in ("", "0" * 64):
            browser.post("/review/delete", data={"id": upload.id, "csrf": forged})
            assert Store(server.data).by_id(upload.id)
        browser.delete(f"/api/uploads/{upload.id}")
        assert Store(server.data).by_id(upload.id), "a cookie alone deletes nothing"
        page = browser.get("/review").text
        proof = re.search(r"name=\"csrf\" value=\"([0-9a-f]{64})\"", page)[1]
        assert browser.post("/review/delete", data={"id": upload.id, "csrf": proof}).status_code == 303
        assert Store(server.data).by_id(upload.id) is None
        browser.post("/review/leave", data={"csrf": proof})
        assert "Access token" in browser.get("/review").text


def test_the_description_fits_what_is_answered(server):
    import jsonschema

    described = httpx.get(server.url + "/api/openapi.json").json()
    schema = {**described["components"]["schemas"]["Upload"]}
    for row in server.api("/api/uploads").json():
        jsonschema.validate(row, schema)
    assert set(described["paths"]) == {
        "/api/uploads", "/api/uploads/{id}", "/api/uploads/{id}/{file}", "/api/export.tar",
    }  # fmt: skip


CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


def test_schemathesis_finds_no_server_error_and_nothing_undescribed(server, tmp_path):
    upload = server.wait(server.receipt(server.send(LADDER.read_bytes())))
    described = httpx.get(server.url + "/api/openapi.json").json()
    del described["paths"]["/api/uploads/{id}"]["delete"]  # it would delete what the others are about
    for path in ("/api/uploads/{id}", "/api/uploads/{id}/{file}"):
        described["paths"][path]["parameters"][0]["schema"]["enum"] = [upload.id, "0" * 32, "\u0000", "a b%"]
    (tmp_path / "some.json").write_text(json.dumps(described))
    for schema in (server.url + "/api/openapi.json", str(tmp_path / "some.json")):
        command = [sys.executable, "-m", "schemathesis.cli", "run", schema, "--url", server.url, "--checks", CHECKS]
        command += ["--header", f"Authorization: Bearer {server.token}", "--generation-database", "none"]
        command += ["--max-examples", os.environ.get("SOAK_EXAMPLES", "10"), "--seed", str(SEED), "--no-color"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout[-6_000:] + done.stderr[-2_000:]
        made = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
        assert made, done.stdout[-3_000:]
        assert made[1] == made[2]
        assert int(made[1]) > 100
    assert "report.html" in {row["what"] for row in Store(server.data).accesses(100_000)}, "it got as far as the files"
