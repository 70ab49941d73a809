"""The dashboard in a real browser, fed with Snapshots of a made-up episode."""

import gzip
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from axe_playwright_python.async_playwright import Axe
from msgspec.structs import replace
from playwright.async_api import Browser, Page, async_playwright

from mira_stream.http import guarded, serve
from mira_stream.http.dashboard import Newest, dashboard
from mira_stream.observing.snapshot import Snapshot
from tests.browser.episode import Episode
from tests.machine import CHROMIUM, need

PAGE = Path(__file__).resolve().parents[2] / "mira_stream" / "http" / "page"
BYTES_MAX = 150_000


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=need(*CHROMIUM), args=["--no-sandbox"])
        yield browser
        await browser.close()


@pytest.fixture
async def newest() -> Newest:
    return Newest()


@pytest.fixture
async def url(newest: Newest) -> AsyncIterator[str]:
    async with serve(guarded(dashboard(newest)), "127.0.0.1", 0) as url:
        yield url


@pytest.fixture
async def page(browser: Browser, url: str) -> AsyncIterator[Page]:
    """Fails on anything the page complains of: blocked by its policy, not found, thrown."""
    page = await browser.new_page(viewport={"width": 1440, "height": 900})
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    foreign: list[str] = []
    page.on("request", lambda request: None if request.url.startswith(url) else foreign.append(request.url))
    yield page
    assert complaints == []
    assert foreign == []


def publish(newest: Newest, snapshot: Snapshot) -> None:
    newest.publish(msgspec.json.encode(snapshot))


async def shown(page: Page, url: str) -> None:
    await page.goto(url)
    await page.wait_for_selector(".live.on")


async def test_an_operator_sees_where_it_is_full_why_and_since_when(page: Page, url: str, newest: Newest) -> None:
    episode = Episode()
    publish(newest, episode.run(120, arriving=8, judging=14))
    await shown(page, url)
    assert await page.inner_text("#headline") == "Everything flows"
    publish(newest, episode.run(600, arriving=22, judging=12))
    await page.wait_for_selector('[data-stage="engine"].narrow')  # the page heard of it without being loaded again
    headline = await page.inner_text("#headline")
    assert headline.startswith("engine is full since ")
    assert "one takes 7.8 s" in await page.inner_text("#why")
    assert "producer, scorer" in await page.inner_text("#why")
    assert await page.locator(".stage.narrow").count() == 1
    assert "told to come again" in await page.inner_text('[data-stage="producer"]')
    publish(newest, episode.run(900, arriving=1, judging=14))
    await page.wait_for_selector("#headline:not(.full)")
    assert await page.inner_text("#headline") == "Everything flows"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 800])
async def test_no_serious_finding_of_axe(browser: Browser, url: str, newest: Newest, theme: Any, width: int) -> None:
    episode = Episode()
    episode.run(600, arriving=8, judging=14)
    publish(newest, episode.run(600, arriving=22, judging=12))
    page = await browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme)
    await shown(page, url)
    found = await Axe().run(page)
    serious = [one for one in found.response["violations"] if one["impact"] in ("serious", "critical")]
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in serious] == []
    wide = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide == 0, "the page itself scrolls sideways"


async def test_a_records_words_are_text(page: Page, url: str, newest: Newest) -> None:
    evil = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
    snapshot = Episode().run(60, arriving=8, judging=14)
    stage = replace(snapshot.stages[0], cause=evil)
    publish(
        newest,
        replace(
            snapshot,
            project=evil,
            notes=[evil],
            stages=[stage, *snapshot.stages[1:]],
            sources=[replace(snapshot.sources[0], name=evil, group=evil, basis=evil)],
            reliability=[replace(snapshot.reliability[0], source=evil)],
            dead_newest=[replace(snapshot.dead_newest[0], source=evil, id=evil, error=evil, reason=evil)],
            services=[replace(snapshot.services[0], name=evil, url=evil, answers=False, error=evil)],
        ),
    )
    await shown(page, url)
    for part in ("#project", "#notes", "#stages", "#sources-body", "#heat", "#letters-body", "#services-body"):
        assert "<script>" in await page.inner_text(part), part
    assert await page.locator("main script, main img").count() == 0
    assert await page.title() != "owned"


async def test_keys_alone_reach_everything(page: Page, url: str, newest: Newest) -> None:
    publish(newest, Episode().run(60, arriving=8, judging=14))
    await shown(page, url)
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.textContent") == "Skip to the stream"
    await page.focus("#heat td[tabindex='0']")
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("ArrowRight")
    assert (await page.inner_text("#heat-detail")).startswith("old-crawl A2: reliable, MAE")
    before = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    await page.focus("#theme")
    await page.keyboard.press("Enter")
    assert await page.evaluate("getComputedStyle(document.body).backgroundColor") != before


async def test_a_service_that_ends_is_said_to(browser: Browser, newest: Newest) -> None:
    """The page says so when nobody answers any more, instead of showing the last numbers as if they were new."""
    async with serve(guarded(dashboard(newest)), "127.0.0.1", 0) as url:
        publish(newest, Episode().run(60, arriving=8, judging=14))
        page = await browser.new_page()
        await shown(page, url)
    await page.wait_for_selector(".live.off")
    assert "no connection" in await page.inner_text("#live")
    await page.close()


def test_the_page_stays_small() -> None:
    packed = sum(len(gzip.compress(path.read_bytes())) for path in PAGE.iterdir())
    assert packed <= BYTES_MAX


def test_the_page_loads_nothing_from_elsewhere() -> None:
    for path in PAGE.iterdir():
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "innerHTML" not in text
        assert "//" not in text.replace("// ", "").replace("http://HOST:PORT", ""), path.name
