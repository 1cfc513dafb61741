"""`case report`: one page, no script, nothing loaded or unescaped; and what the public profile leaves out."""

from __future__ import annotations

import copy
import json
import os
import re
from collections import Counter
from html.parser import HTMLParser

import pytest

from kzpcap import reference
from kzpcap.cases.public import public, published_keys
from kzpcap.cases.store import Case
from kzpcap.cases.summary import total
from kzpcap.report.case_page import findings, render
from tests.conftest import CAPTURES, NO_BROWSER, ROOT, judged, run

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

TITLES = {key: generation.title for key, generation in reference.load().generations.items()}
MADE = {"profile": "", "heads": {}, "reference": {}, "suppressed": {}}
SOME = [
    "kz-2019-ladder",
    "kz-2019-ladder-one-connection",
    "kz-2019-ladder-from-outside",
    "kz-2019-rcku",
    "clean-ladder",
    "products-and-strangers",
]


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    folder = tmp_path_factory.mktemp("case") / "case"
    judged(folder, *(CAPTURES / name for name in SOME))
    return folder


@pytest.fixture(scope="module")
def document(case):
    return total(Case.open(case)).document()


@pytest.fixture(scope="module")
def pages(case):
    made = {}
    for name, options in (("public", []), ("evidence", ["--evidence"])):
        path = case.parent / f"{name}.html"
        done = run("case", "report", str(case), "-o", str(path), *options)
        assert done.returncode == 0, done.stderr.decode()
        made[name] = path
    return made


class Ids(HTMLParser):
    """Every id, and everything that points somewhere."""

    def __init__(self):
        super().__init__()
        self.ids = Counter()
        self.links = []
        self.tags = Counter()

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        for name, value in attrs:
            if name == "id":
                self.ids[value] += 1
            elif name in ("href", "src", "xlink:href", "action", "poster", "data"):
                self.links.append(value)
            assert not name.startswith("on"), (tag, name)


def parsed(text):
    found = Ids()
    found.feed(text)
    return found


@pytest.mark.parametrize("profile", ["public", "evidence"])
def test_one_file_that_loads_nothing(pages, profile):
    text = pages[profile].read_text()
    found = parsed(text)
    assert found.tags["script"] == found.tags["link"] == found.tags["img"] == found.tags["iframe"] == 0
    assert {name: count for name, count in found.ids.items() if count > 1} == {}
    assert all(link.startswith("#") and link[1:] in found.ids for link in found.links)
    assert not re.search(r"@import|url\((?!#)", text)
    assert "default-src 'none'" in text
    assert found.tags["svg"] >= 5


def test_it_says_what_the_case_says(pages, document):
    text = re.sub(r"<[^>]+>", " ", pages["evidence"].read_text())
    states = document["states"]
    captures = document["captures"]
    shown = " ".join(text.split())
    assert f"{states['intercepted']} of {document['connections']} connections were intercepted, in" in shown
    assert f"in {captures['with_interception']} of {captures['judged']} captures" in shown
    assert "By Qaznet Trust Network, Kazakhstan 2016-2019: a verified signature by its key" in shown
    assert "2019-07-20 09:14 UTC (15:14 in Almaty)" in shown
    assert document["across"]["mostly"]["says"] in shown
    assert "AS50482 Kazakhtelecom" in shown
    assert "no traffic: silence is not “off”" in shown
    for rule in document["reasons"]:
        assert rule in shown
    (forged,) = [one for one in document["across"]["forged_minus_genuine"] if one["forged"]]
    assert forged["forged"]["sha256"] in shown
    assert forged["genuine"]["sha256"] in shown


def test_the_public_profile_lets_nobody_be_found(case, pages, document):
    text = pages["public"].read_text()
    for path in case.glob("results/*/*/report.json"):
        report = json.loads(path.read_text())
        for one in report["connections"]:
            assert one["server"]["address"] not in text
            if one["certificates"] and one["state"] == "intercepted":
                leaf = report["certificates"][one["certificates"][0]]
                assert leaf["sha256"][:12] not in text
                assert leaf["spki_sha256"][:12] not in text
                assert leaf["serial"] not in text
            if one["server_name"] and not one["target"]:
                assert one["server_name"] not in text
    assert "185.120.76.1" not in text
    assert set(re.findall(r"\d\d:(\d\d(?::\d\d)?)", re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL))) <= {
        "00",
        "00:00",
    }
    _, left = public(document, published_keys())
    for what, count in left.items():
        assert f'>{what}</th><td class="n">{count}<' in text


def test_what_three_networks_saw_may_be_told(document):
    wide = copy.deepcopy(document)
    for row in wide["across"]["edges"]:
        row["vantage_networks_exact"] = 3
    shown, left = public(wide, published_keys())
    assert shown["across"]["mostly"] == wide["across"]["mostly"]
    assert {row["before"] for row in shown["across"]["edges"]} == {row["before"] for row in wide["across"]["edges"]}
    shown, left = public(document, published_keys())
    assert shown["across"]["mostly"] is None
    assert {row["before"] for row in shown["across"]["edges"]} == {"92.47.0.0/16", "95.56.0.0/16"}
    assert left["addresses of routers and servers, told as networks"] > 0
    assert document["across"]["mostly"], "the document itself is left as it was"


def test_names_of_captures_are_escaped(document):
    evil = "<script>alert(1)</script>$x_{1}$\u202e\"'#010201"
    hostile = copy.deepcopy(document)
    across = hostile["across"]
    across["servers"][0]["server_name"] = across["interceptors"][0]["issuer"] = evil
    across["issuer_keys"][0]["subjects"] = [evil]
    across["days_by_target"][0]["name"] = across["edges"][0]["before"] = evil
    across["paths"][0]["hops"][0]["address"] = across["forged_minus_genuine"][0]["server_name"] = evil
    hostile["targets"][evil] = {"intercepted": 1}
    hostile["interceptors"][evil] = {"2019-07-20": 1}
    text = render(hostile, TITLES, {}, MADE)
    found = parsed(text)
    assert found.tags["script"] == 0
    assert "\u202e" not in text
    assert "&lt;script&gt;" in text


def test_a_case_without_interception_says_so_and_nothing_more(tmp_path):
    judged(tmp_path / "case", CAPTURES / "lab-clean", CAPTURES / "clean-ladder")
    quiet = total(Case.open(tmp_path / "case")).document()
    first = next(findings(quiet, TITLES))
    assert first.startswith("No connection in this case is shown to be intercepted.")
    text = render(quiet, TITLES, {}, MADE)
    assert "No ladder of rising TTLs found a box" in text
    assert "Qaznet" not in text
    empty = tmp_path / "empty"
    Case.create(empty)
    done = run("case", "report", str(empty), "-o", str(tmp_path / "empty.html"))
    assert done.returncode == 0, done.stderr.decode()


def test_the_case_in_the_readme_is_a_real_one(tmp_path):
    told = (ROOT / "README.md").read_text()
    judged(tmp_path / "demo", *sorted(CAPTURES.glob("kz-2019-*")), CAPTURES / "clean-ladder")
    shown = run("case", "summary", str(tmp_path / "demo")).stdout.decode().splitlines()
    begin = next(number for number, line in enumerate(shown) if line.startswith("BETWEEN HOPS"))
    end = next(number for number, line in enumerate(shown) if line.endswith("from the other side."))
    for line in shown[begin : end + 1]:
        assert f"    {line}\n" in told, line
    for command in ("batch", "case summary", "case report", "case sql", "case verify", "case import"):
        assert f"kzpcap {command}" in told


def test_an_existing_file_stays(case, tmp_path):
    path = tmp_path / "mine.html"
    path.write_text("mine")
    done = run("case", "report", str(case), "-o", str(path))
    assert done.returncode == 2
    assert path.read_text() == "mine"


def test_the_same_case_gives_the_same_page(document):
    pages = {render(document, TITLES, {}, MADE) for _ in range(2)}
    assert len(pages) == 1


@NO_BROWSER
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_in_a_browser(pages, browser, width, scheme):
    """Nothing is wider than the screen, nothing is asked for, and axe-core has no serious finding."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(pages["evidence"].as_uri())
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert asked == [pages["evidence"].as_uri()]
    found = [one for one in axe.Axe().run(page).response["violations"] if one["impact"] in ("serious", "critical")]
    assert found == [], [(one["id"], one["nodes"][0]["html"][:200]) for one in found]
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=f"{folder}/case-{width}-{scheme}.png", full_page=True)
    context.close()
