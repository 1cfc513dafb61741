"""The volunteer's pages in a real browser, by language, width and with and without scripts."""

from __future__ import annotations

import os

import httpx
import pytest

from kzpcap.upload.language import NAMES, WORDS
from kzpcap.upload.store import Store
from tests.conftest import CHROMIUM, NO_BROWSER, run
from tests.service import LADDER

WIDTHS = {"phone": 360, "desktop": 1280}


def test_there_is_a_browser_in_ci():
    if os.environ.get("CI"):
        assert CHROMIUM, "chromium is missing (Debian: chromium)"


@NO_BROWSER
@pytest.mark.parametrize("width", list(WIDTHS))
@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
@pytest.mark.parametrize("lang", list(NAMES))
def test_in_a_browser(server, browser, lang, scripts, width):
    """From the page over the upload to the verdict, and away; no request leaves, nothing is wider than the screen."""
    context = browser.new_context(
        java_script_enabled=scripts, viewport={"width": WIDTHS[width], "height": 800}, locale="en"
    )
    page = context.new_page()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    words = WORDS[lang]
    page.goto(f"{server.url}/?lang={lang}")
    assert page.title() == words["title"]
    if scripts:
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.set_input_files("#file", str(LADDER))
    page.fill("#isp", "Beeline")
    page.click("#upload button[type=submit]")
    page.wait_for_url("**/r/**", timeout=20_000)
    page.wait_for_selector(f"text={words['state_done']}", timeout=30_000)
    assert "Qaznet Trust Network" in page.inner_text("main")
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        page.screenshot(path=f"{folder}/{lang}-{'js' if scripts else 'nojs'}-{width}-receipt.png", full_page=True)
    page.click(f"text={words['delete']}")
    page.wait_for_selector(f"text={words['deleted']}")
    page.goto(f"{server.url}/how?lang={lang}")
    if folder:
        page.screenshot(path=f"{folder}/{lang}-{width}-how.png", full_page=True)
        page.goto(f"{server.url}/?lang={lang}")
        page.screenshot(path=f"{folder}/{lang}-{width}-home.png", full_page=True)
    assert all(url.startswith((server.url, "data:")) for url in asked), asked
    assert context.cookies() == []
    context.close()


@NO_BROWSER
@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_a_receipt_is_renewed_until_the_end_and_with_scripts_in_place(server, browser, scripts):
    made = httpx.post(f"{server.url}/files", headers={"Tus-Resumable": "1.0.0", "Upload-Length": "9"})
    receipt = made.headers["location"].split("/")[-1]
    store = Store(server.data)
    upload = store.by_receipt(receipt)
    words = WORDS["en"]
    context = browser.new_context(java_script_enabled=scripts)
    page = context.new_page()
    page.goto(f"{server.url}/r/{receipt}")
    assert words["state_receiving"] in page.inner_text("main")
    button = page.locator("form button")
    button.focus()
    store.failed(upload.id, "not_a_capture")
    page.wait_for_selector(f"text={words['why_not_a_capture']}", timeout=15_000)
    if scripts:
        assert button.evaluate("one => one === document.activeElement")
        button.click()
        page.wait_for_selector(f"text={words['deleted']}")
    context.close()


@NO_BROWSER
def test_a_receipt_that_is_deleted_meanwhile_says_so_by_itself(server, browser):
    made = httpx.post(f"{server.url}/files", headers={"Tus-Resumable": "1.0.0", "Upload-Length": "9"})
    page = browser.new_page()
    page.goto(f"{server.url}/r/{made.headers['location'].split('/')[-1]}")
    Store(server.data).delete(Store(server.data).by_receipt(made.headers["location"].split("/")[-1]).id)
    page.wait_for_selector(f"text={WORDS['en']['no_receipt']}", timeout=15_000)
    page.close()


@NO_BROWSER
@pytest.mark.parametrize("path", ["/", "/how", "/review"])
@pytest.mark.parametrize("lang", list(NAMES))
def test_accessible(server, browser, path, lang):
    from axe_playwright_python import sync_playwright as axe

    context = browser.new_context(bypass_csp=True)
    page = context.new_page()
    page.goto(f"{server.url}{path}?lang={lang}")
    found = [one for one in axe.Axe().run(page).response["violations"] if one["impact"] in ("serious", "critical")]
    assert found == [], [(one["id"], one["nodes"][0]["html"]) for one in found]
    context.close()


@NO_BROWSER
@pytest.mark.parametrize("width", WIDTHS.values())
def test_every_state_and_reason_of_a_report_is_on_the_screen(browser, tmp_path, width):
    assert run("analyze", str(LADDER), "--html", str(tmp_path / "report.html")).returncode == 0
    page = browser.new_page(viewport={"width": width, "height": 800}, java_script_enabled=False)
    page.goto((tmp_path / "report.html").as_uri())
    cells = page.locator(".rows td").all()
    assert len(cells) > 50
    for cell in cells:
        place = cell.bounding_box()
        assert place["x"] >= 0
        assert place["x"] + place["width"] <= width, cell.inner_text()
    page.close()
