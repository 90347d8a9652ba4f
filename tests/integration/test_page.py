"""The page in a real browser, over a real API, Redis and worker (with an encoder that needs no weights)."""

import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote, urlencode

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, ViewportSize, expect

from tests.browser import Visit, running_browser, visiting
from tests.corpora import declaration, write_corpus
from tests.embedding_fakes import PATIENCE_SECONDS, wait_until
from tests.fake_deployment import FakeDeployment, fake_deployment
from tests.prefix_proxy import PASSWORD, USER, running_prefix_proxy
from tests.processes import run_prepare, running_api

GOAL = "n : Nat\n⊢ Eq (HAdd.hAdd n 0) n"
HOSTILE = "«<img src=x onerror=alert(1)>»"
HOSTILE_TYPE = "<script>alert(2)</script> </pre>"
LONG_TYPE = "Eq " + "(HAdd.hAdd x 1) " * 60 + "the.end"
DESK: ViewportSize = {"width": 1280, "height": 800}
PHONE: ViewportSize = {"width": 360, "height": 740}

DECLARATIONS = {
    "Mathlib.Data.Nat.Basic": [declaration(f"Nat.fact{number}", args=["(n : Nat)"]) for number in range(6)],
    "Mathlib.Data.Nat.Prime": [declaration("Nat.Prime", kind="def", type="Nat → Prop"), declaration("Nat.prime_two")],
    "Mathlib.Order.Basic": [declaration("lt_irrefl", type=LONG_TYPE)],
    "Own.Module": [declaration(HOSTILE, type=HOSTILE_TYPE)],
}


@dataclass
class Site:
    """An API with its deployment."""

    deployment: FakeDeployment
    url: str

    def retrieve(self, **fields: object) -> list[str]:
        answer = httpx.post(
            f"{self.url}/retrieve", json={"state": GOAL, "k": 32, **fields}, timeout=2 * PATIENCE_SECONDS
        )
        return [premise["name"] for premise in answer.raise_for_status().json()]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def site(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("page")
    corpus = write_corpus(folder / "corpus", DECLARATIONS)
    with fake_deployment(folder) as deployment, deployment.worker():
        environment = deployment.environment | {"DATA": str(corpus), "MAX_QUEUED_STATE_TOKENS": "1"}
        run_prepare(folder / "prepare.log", environment)
        with running_api(folder / "api.log", environment) as url:
            yield Site(deployment, url)


@pytest.fixture
def visit(browser: Browser, site: Site) -> Iterator[Visit]:
    with visiting(browser, site.url) as visit:
        visit.page.goto(site.url)
        yield visit


def names(page: Page) -> list[str]:
    return page.locator("#ranking .name").all_inner_texts()


def search(page: Page, goal: str = GOAL) -> None:
    page.get_by_label("Goal state").fill(goal)
    page.get_by_role("button", name="Find premises").click()
    expect(page.locator("#outcome")).to_have_text(re.compile(r"\d+ premises? in \d+ ms"))


def choose_module(page: Page, typed: str, label: str) -> None:
    page.get_by_role("combobox", name="Modules").fill(typed)
    page.get_by_role("option", name=label).click()


def problem(page: Page) -> str:
    alert = page.get_by_role("alert")
    expect(alert).to_be_visible()
    return alert.inner_text()


def assert_accessible(page: Page) -> None:
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_a_search_shows_the_ranking_with_scores_statements_and_links(visit: Visit, site: Site) -> None:
    search(visit.page)
    assert names(visit.page) == site.retrieve()
    expect(visit.page.locator("#corpus-line")).to_have_text("10 premises of 4 modules, revision v4.0.0")
    first = visit.page.locator(".premise", has=visit.page.get_by_role("link", name="Nat.fact3"))
    expect(first.locator(".score")).to_have_text(re.compile(r"^-?0\.\d{3}$"))
    expect(first.locator(".where")).to_have_text("theoremMathlib.Data.Nat.Basic")
    expect(first.locator("pre")).to_have_text("(n : Nat) : True")
    address = first.get_by_role("link").get_attribute("href")
    assert address == "https://leanprover-community.github.io/mathlib4_docs/Mathlib/Data/Nat/Basic.html#Nat.fact3"
    bars = [bar.bounding_box() for bar in visit.page.locator(".fill").all()]
    widths = [bar["width"] if bar else 0 for bar in bars]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 0


def test_the_stages_of_the_answer_are_told(visit: Visit) -> None:
    search(visit.page)
    timings = visit.page.get_by_role("list", name="Where the time went")
    for stage in ("parse", "embed", "select", "search", "other and network"):
        expect(timings).to_contain_text(re.compile(rf"{stage} \d+\.\d ms"))


def test_chosen_modules_narrow_the_ranking_and_can_be_taken_away(visit: Visit, site: Site) -> None:
    page = visit.page
    choose_module(page, "prime", "Mathlib.Data.Nat.Prime")
    search(page)
    assert names(page) == site.retrieve(imported_modules=["Mathlib.Data.Nat.Prime"])
    choose_module(page, "nat", "Mathlib.Data.Nat.* 2 modules")
    search(page)
    assert names(page) == site.retrieve(imported_modules=["Mathlib.Data.Nat.Prime", "Mathlib.Data.Nat.Basic"])
    page.get_by_role("button", name="Remove Mathlib.Data.Nat.Prime").click()
    page.get_by_role("button", name="Remove Mathlib.Data.Nat.*").click()
    search(page)
    assert len(names(page)) == 10


def test_new_premises_take_part(visit: Visit, site: Site) -> None:
    page = visit.page
    page.get_by_role("button", name="Add a premise").click()
    page.get_by_label("Name").fill("Nat.fact0")
    page.get_by_label("Declaration").fill(GOAL)
    search(page)
    assert names(page) == site.retrieve(new_premises=[{"name": "Nat.fact0", "decl": GOAL}])
    best = page.locator(".premise").first
    expect(best.locator(".name")).to_have_text("Nat.fact0")
    expect(best.locator(".where")).to_have_text("new")
    expect(best.locator(".score")).to_have_text("1.000")
    page.get_by_role("button", name="Remove", exact=True).click()
    search(page)
    assert names(page) == site.retrieve()


def test_names_and_statements_are_text_never_markup(visit: Visit) -> None:
    page = visit.page
    page.get_by_role("button", name="Add a premise").click()
    page.get_by_label("Name").fill("<img src=y onerror=alert(3)>")
    page.get_by_label("Declaration").fill("<script>alert(4)</script>")
    search(page)
    assert {HOSTILE, "<img src=y onerror=alert(3)>"} <= set(names(page))
    hostile = page.locator(".premise", has_text=HOSTILE)
    expect(hostile.locator("pre")).to_have_text(f": {HOSTILE_TYPE}")
    assert page.locator("#ranking :is(img, script)").count() == 0
    assert hostile.get_by_role("link").count() == 0  # its module is not Mathlib's


def test_a_long_statement_is_shown_in_full_when_asked_for(visit: Visit) -> None:
    search(visit.page)
    long = visit.page.locator(".premise", has_text="lt_irrefl")
    expect(long).not_to_contain_text("the.end")
    long.get_by_role("button", name="Show all of it").click()
    expect(long).to_contain_text("the.end")


def test_the_keyboard_is_enough(visit: Visit, site: Site) -> None:
    page, keyboard = visit.page, visit.page.keyboard
    page.get_by_role("tab", name="Search").focus()
    keyboard.press("Tab")
    keyboard.insert_text(GOAL)
    keyboard.press("Control+Enter")
    expect(page.locator(".premise")).to_have_count(10)
    while page.evaluate("document.activeElement.id") != "module-input":
        keyboard.press("Tab")
    keyboard.type("nat")
    combobox = page.get_by_role("combobox", name="Modules", expanded=True)
    expect(page.get_by_role("option")).to_have_count(3)
    for _ in range(2):
        keyboard.press("ArrowDown")
    keyboard.press("ArrowUp")
    keyboard.press("ArrowDown")
    active = page.get_by_role("option", selected=True)
    expect(active).to_have_text("Mathlib.Data.Nat.Basic")
    expect(combobox).to_have_attribute("aria-activedescendant", active.get_attribute("id") or "none")
    keyboard.press("Enter")
    expect(page.get_by_role("list", name="Chosen modules")).to_contain_text("Mathlib.Data.Nat.Basic")
    keyboard.press("Enter")  # the list is closed: this submits
    expect(page.locator(".premise")).to_have_count(6)
    keyboard.press("Backspace")
    keyboard.type("x")
    keyboard.press("Escape")
    expect(page.get_by_role("listbox")).to_be_hidden()
    page.get_by_role("tab", name="Search").focus()
    keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Server", selected=True)).to_be_focused()
    expect(page.get_by_role("heading", name="Queue")).to_be_visible()


def test_an_address_carries_the_question(browser: Browser, visit: Visit, site: Site) -> None:
    choose_module(visit.page, "prime", "Mathlib.Data.Nat.Prime")
    visit.page.get_by_role("button", name="Add a premise").click()
    visit.page.get_by_label("Name").fill("My.own")
    visit.page.get_by_label("Declaration").fill("theorem My.own & more : a=b")
    visit.page.get_by_label("Show").fill("2")
    search(visit.page)
    with visiting(browser, site.url) as other:
        other.page.goto(visit.page.url)
        expect(other.page.locator(".premise")).to_have_count(2)
        assert names(other.page) == names(visit.page)
        assert not any("Nat" in address for address in other.asked)


def test_an_address_that_would_be_too_long_carries_nothing(visit: Visit) -> None:
    search(visit.page)
    assert "goal=" in visit.page.url
    search(visit.page, f"{GOAL} " + "x" * 40_000)
    assert "goal=" not in visit.page.url


def test_what_is_missing_is_said_without_asking_the_server(visit: Visit) -> None:
    page = visit.page
    page.get_by_role("button", name="Find premises").click()
    assert problem(page) == "There is no goal yet: paste one, or try an example."
    page.get_by_label("Goal state").fill(GOAL)
    page.get_by_label("Show").fill("0")
    page.get_by_role("button", name="Find premises").click()
    expect(page.get_by_role("alert")).to_have_text("Ask for 1 to 1024 premises.")
    page.get_by_label("Show").fill("5")
    page.get_by_role("button", name="Add a premise").click()
    page.get_by_label("Name").fill("My.own")
    page.get_by_role("button", name="Find premises").click()
    expect(page.get_by_role("alert")).to_have_text("A new premise needs a name and a declaration.")
    assert "/retrieve" not in visit.asked


def test_a_full_queue_is_told_with_the_time_to_come_back(visit: Visit, site: Site) -> None:
    site.deployment.gate.touch()
    held = threading.Thread(target=site.retrieve, kwargs={"state": "held back"})
    held.start()
    try:
        queue = f"{site.url}/queue"
        wait_until(lambda: httpx.get(queue).json()["classes"]["states"]["jobs"] == 1)
        visit.page.get_by_label("Goal state").fill("another")
        visit.page.get_by_label("Goal state").press("Control+Enter")
        assert re.search(r"queue is full.* \d+ s", problem(visit.page), re.DOTALL)
        visit.wait_for_failed_request()
        assert len(visit.failed_requests) == 1
        searched = httpx.get(f"{site.url}/api/search", params={"query": "a third", "results": 6, "rev": "v4.22.0"})
        assert (searched.status_code, searched.json()["error"]) == (429, "Too Many Requests")
        assert f"{searched.headers['retry-after']} s" in searched.json()["schema"]["description"]
        visit.page.get_by_role("tab", name="Server").click()
        expect(visit.page.get_by_role("row", name=re.compile("^goals 1 9 "))).to_be_visible()
    finally:
        site.deployment.gate.unlink()
        held.join()
    expect(visit.page.get_by_role("row", name=re.compile("^goals 0 0 "))).to_be_visible()


def test_a_refused_text_is_told_and_the_next_search_works(visit: Visit) -> None:
    visit.page.get_by_label("Goal state").fill("poison")
    visit.page.get_by_label("Goal state").press("Control+Enter")
    assert "State 0 cannot be embedded" in problem(visit.page)
    visit.wait_for_failed_request()
    assert len(visit.failed_requests) == 1
    search(visit.page)
    expect(visit.page.get_by_role("alert")).to_be_hidden()


def test_before_the_corpus_is_there_the_page_says_so(browser: Browser, site: Site, tmp_path: Path) -> None:
    unprepared = site.deployment.environment | {"DATA_DIR": str(tmp_path)}
    with running_api(tmp_path / "api.log", unprepared, ready=False) as url, visiting(browser, url) as visit:
        visit.page.goto(f"{url}/#{urlencode({'goal': GOAL})}")
        assert "The corpus is still being prepared" in problem(visit.page)
        visit.page.get_by_role("combobox", name="Modules").click()
        expect(visit.page.locator("#module-more")).to_contain_text("still being prepared")
        visit.page.get_by_role("tab", name="Server").click()
        expect(visit.page.locator("#server-news")).to_contain_text("Not ready.")
        expect(visit.page.get_by_text("Not loaded yet.")).to_be_visible()


def test_the_server_view_lives_stops_when_left_and_outlives_an_absence(visit: Visit) -> None:
    page = visit.page
    page.clock.install()
    page.get_by_role("tab", name="Server").click()
    page.clock.run_for(100)
    expect(page.locator("#server-news")).to_have_text("Ready.")
    for heading in ("Queue", "Workers", "Cache and API process", "Corpus", "Models"):
        expect(page.get_by_role("heading", name=heading)).to_be_visible()
    expect(page.get_by_role("group", name="Worker").get_by_role("row")).to_have_count(2)
    page.context.set_offline(True)
    page.clock.run_for(2100)
    expect(page.locator("#server-news")).to_contain_text("The server does not answer")
    expect(page.locator("#server-news")).to_contain_text("This is what it said at")
    page.context.set_offline(False)
    page.clock.run_for(2100)
    expect(page.locator("#server-news")).to_have_text("Ready.")
    page.get_by_role("tab", name="Search").click()
    page.clock.run_for(100)
    asked = visit.asked.count("/status")  # the browser asks for the icon whenever it likes
    page.clock.run_for(20_000)
    assert visit.asked.count("/status") == asked


@pytest.mark.parametrize(("scheme", "size"), [("light", DESK), ("dark", PHONE)], ids=["light-desk", "dark-phone"])
def test_every_view_is_accessible_in_light_and_dark_and_on_a_phone(
    browser: Browser, site: Site, scheme: Literal["light", "dark"], size: ViewportSize
) -> None:
    with visiting(browser, site.url, color_scheme=scheme, viewport=size, reduced_motion="reduce") as visit:
        page = visit.page
        page.goto(site.url)
        choose_module(page, "basic", "Mathlib.Data.Nat.Basic")
        page.get_by_role("button", name="Add a premise").click()
        page.get_by_label("Name").fill("My.own")
        page.get_by_label("Declaration").fill("theorem My.own : True")
        search(page)
        page.get_by_role("combobox", name="Modules").fill("nat")
        expect(page.get_by_role("option")).to_have_count(3)
        page.keyboard.press("ArrowDown")
        assert_accessible(page)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        page.get_by_label("Goal state").fill("")
        page.get_by_role("button", name="Find premises").click()
        problem(page)
        assert_accessible(page)
        page.get_by_role("tab", name="Server").click()
        expect(page.get_by_role("heading", name="Workers")).to_be_visible()
        assert_accessible(page)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_the_page_works_below_a_prefix_and_behind_a_password(browser: Browser, site: Site) -> None:
    with running_prefix_proxy(site.url, "/lean/v4") as origin:
        credentials = {"username": USER, "password": PASSWORD}
        with visiting(browser, origin, http_credentials=credentials) as visit:
            visit.page.goto(f"{origin}/lean/v4/")
            choose_module(visit.page, "prime", "Mathlib.Data.Nat.Prime")
            search(visit.page)
            assert len(names(visit.page)) == 2
            assert all(address.startswith("/lean/v4/") for address in visit.asked)
        with visiting(browser, origin.replace("//", f"//{USER}:{quote(PASSWORD)}@")) as visit:
            visit.elsewhere = []
            visit.page.goto(f"{visit.origin}/lean/v4/")
            search(visit.page)
            assert all(address.startswith(origin) for address in visit.elsewhere)
            visit.elsewhere.clear()


def test_modules_are_found_quickly_among_thousands(visit: Visit) -> None:
    modules = [f"Mathlib.Area{number % 40}.Topic{number % 700}.Part{number}" for number in range(9_500)]
    found = visit.page.evaluate(
        """async (modules) => {
          const { ModuleList } = await import(new URL("static/module_list.js", location.href));
          const list = new ModuleList(modules);
          const time = (query) => {
            const started = performance.now();
            list.find(query, 40);
            return performance.now() - started;
          };
          const queries = ["m", "ma", "topic6", "part 99", "area3 topic", "zzz"];
          const times = queries.map((query) => Math.min(...Array.from({ length: 9 }, () => time(query))));
          const labels = (query) => list.find(query, 3).found.map(({ label }) => label);
          return {
            slowest: Math.max(...times),
            part: labels("part99"),
            both: labels("area7 PART47"),
            none: list.find("zzz", 3).count,
            folder: list.modulesOf("Mathlib.Area7.*").length,
          };
        }""",
        modules,
    )
    assert found["slowest"] < 100, json.dumps(found)
    assert found["part"] == [
        "Mathlib.Area19.Topic99.Part99",
        "Mathlib.Area30.Topic290.Part990",
        "Mathlib.Area31.Topic291.Part991",
    ]
    assert found["both"][0] == "Mathlib.Area7.Topic47.Part47"
    assert (found["none"], found["folder"]) == (0, 238)
