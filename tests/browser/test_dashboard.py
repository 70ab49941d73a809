"""The dashboard in a real browser, fed with Snapshots of a made-up episode."""

import os
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from msgspec import structs
from msgspec.structs import replace
from playwright.async_api import Browser, Page, async_playwright

from mira_stream.http import guarded, serve
from mira_stream.http.dashboard import Newest, dashboard
from mira_stream.observing.snapshot import BrokerRow, KeptRow, Snapshot, Trouble
from mira_stream.streaming.health import Health
from tests.browser.episode import Episode
from tests.machine import CHROMIUM, need

SCREENSHOTS = os.environ.get("MIRA_SCREENSHOTS", "")
PATIENCE_MS = 240_000.0
"""For what stays once it is there: on a machine that does much else, too."""
SIDEWAYS = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
BEYOND = """[...document.querySelectorAll("body *")]
    .filter((one) => one.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5)
    .filter((one) => !one.closest(".scroll"))
    .map((one) => one.outerHTML.slice(0, 100))"""

MARKS = """[...document.querySelectorAll(".axis > span")]
    .map((one) => { const box = one.getBoundingClientRect(); return [box.left, box.right]; })
    .filter(([left, right]) => right > left)"""


pytestmark = [pytest.mark.tools, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """One for all tests: `new_page` gives each a profile of its own, and a start takes longer than most tests."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=need(*CHROMIUM), args=["--no-sandbox"], timeout=PATIENCE_MS
        )
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="module")
async def newest() -> Newest:
    return Newest()


@pytest_asyncio.fixture(loop_scope="module")
async def url(newest: Newest) -> AsyncIterator[str]:
    async with serve(guarded(dashboard(newest, Health())), "127.0.0.1", 0) as url:
        yield url


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: Browser, url: str) -> AsyncIterator[Page]:
    """Fails on anything the page complains of: blocked by its policy, not found, thrown."""
    page = await opened(browser, width=1440)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    foreign: list[str] = []
    page.on("request", lambda request: None if request.url.startswith(url) else foreign.append(request.url))
    yield page
    await page.close()
    assert complaints == []
    assert foreign == []


async def opened(browser: Browser, width: int = 1280, theme: Any = "light") -> Page:
    page = await browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme)
    page.set_default_timeout(PATIENCE_MS)
    return page


def publish(newest: Newest, snapshot: Snapshot) -> None:
    newest.publish(msgspec.json.encode(snapshot))


async def shown(page: Page, url: str) -> None:
    """A Snapshot is on the page; of now, or on a slow machine of a while ago."""
    await page.goto(url)
    await page.wait_for_selector(".live.on, .live.off:has-text('as of')")


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


async def test_a_stage_that_is_not_seen_is_not_said_to_flow(page: Page, url: str, newest: Newest) -> None:
    snapshot = Episode().run(120, arriving=8, judging=14)
    stages = [
        structs.replace(one, state="unknown") if one.name in ("engine", "export") else one for one in snapshot.stages
    ]
    publish(newest, structs.replace(snapshot, stages=stages))
    await shown(page, url)
    assert await page.inner_text("#headline") == "Not seen: engine, export"
    assert (await page.title()).startswith("not seen")
    assert "may stand" in await page.inner_text("#why")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 800])
async def test_no_serious_finding_of_axe(browser: Browser, url: str, newest: Newest, theme: Any, width: int) -> None:
    episode = Episode()
    episode.run(600, arriving=8, judging=14)
    publish(newest, episode.run(600, arriving=22, judging=12))
    page = await opened(browser, width, theme)
    await shown(page, url)
    found = await Axe().run(page)
    serious = [one for one in found.response["violations"] if one["impact"] in ("serious", "critical")]
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in serious] == []
    await page.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 380, 768, 1280])
async def test_no_window_is_so_narrow_that_the_page_scrolls_sideways(
    browser: Browser, url: str, newest: Newest, width: int, theme: Any
) -> None:
    """Long names of a project, sources and services included; what is wider than the window scrolls in its own box."""
    snapshot = Episode().run(600, arriving=22, judging=12)
    name = "crawl-2026-11.common_and.uncommon" * 2
    source = replace(snapshot.sources[0], name=name[:64], group="a-group-with-a-name-of-forty-characters")
    row = replace(snapshot.reliability[0], source=name[:64])
    kept = KeptRow(
        name="score", state="waits", restarts=2, died_ms=snapshot.at_ms, why="exit code 4: error " + name * 4
    )
    publish(
        newest,
        replace(
            snapshot, project=name, sources=[source, *snapshot.sources], reliability=[row, *snapshot.reliability],
            notes=[name * 3], kept=[kept],
        ),
    )  # fmt: skip
    page = await opened(browser, width, theme)
    await shown(page, url)
    assert await page.evaluate(SIDEWAYS) == 0, "the page itself scrolls sideways"
    marks = await page.evaluate(MARKS)
    assert all(right + 4 <= left for (_, right), (left, _) in pairwise(marks)), "times of the axis run together"
    beyond = await page.evaluate(BEYOND)
    assert beyond == [], "what is wider than the window is cut off"
    if width < 700:
        assert await page.evaluate("(box => box.scrollWidth > box.clientWidth)(document.getElementById('heat'))")
    await page.evaluate("document.getElementById('live').textContent = 'no connection, trying again'")
    assert await page.evaluate(SIDEWAYS) == 0, "the words of a lost connection"
    if SCREENSHOTS:
        await page.screenshot(path=Path(SCREENSHOTS) / f"dashboard-{theme}-{width}.png", full_page=True)
    await page.close()


async def test_a_broker_that_is_away_is_the_headline_and_the_way_out_beside_it(
    page: Page, url: str, newest: Newest
) -> None:
    snapshot = Episode().run(60, arriving=8, judging=14)
    error = Trouble(code="broker_unreachable", cause="kafka:9092: refused", fix="start the broker")
    away = BrokerRow(answers=False, since_ms=snapshot.looking_since_ms + 20_000, error=error)
    publish(newest, replace(snapshot, broker=away))
    await shown(page, url)
    assert (await page.inner_text("#headline")).startswith("broker is away since ")
    assert await page.inner_text("#why") == "Kafka:9092: refused. Start the broker."
    assert (await page.title()).startswith("broker away")


async def test_while_a_transaction_does_not_end_the_page_does_not_say_that_everything_flows(
    page: Page, url: str, newest: Newest
) -> None:
    episode = Episode()
    episode.open_s = {"mira.dead-letters": 95.0}
    publish(newest, episode.run(60, arriving=8, judging=14))
    await shown(page, url)
    assert await page.inner_text("#headline") == "A transaction does not end"
    assert "mira.dead-letters has been open for 95 s" in await page.inner_text("#why")
    assert (await page.title()).startswith("transaction open")


async def test_who_died_under_up_is_shown(page: Page, url: str, newest: Newest) -> None:
    kept = [
        KeptRow(
            name="broker",
            state="waits",
            restarts=3,
            died_ms=1_767_225_600_000,
            why="Kafka, pid 7, ended: <b>",
            news=True,
        ),
        KeptRow(name="export", state="runs"),
        KeptRow(name="score", state="runs", restarts=2, died_ms=1_767_225_600_000, why="long ago"),
    ]
    publish(newest, replace(Episode().run(60, arriving=8, judging=14), kept=kept))
    await shown(page, url)
    card = await page.inner_text('[data-kept="broker"]')
    assert "waits to be started again" in card
    assert "started again 3 times" in card
    assert "Kafka, pid 7, ended: <b>" in card
    assert await page.locator('[data-kept="export"], [data-kept="score"]').count() == 0


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
    async with serve(guarded(dashboard(newest, Health())), "127.0.0.1", 0) as url:
        publish(newest, Episode().run(60, arriving=8, judging=14))
        page = await opened(browser)
        await shown(page, url)
    await page.wait_for_selector(".live.off:has-text('no connection')")
    await page.close()


async def test_what_is_not_of_now_says_how_old_it_is_and_since_when_counts_on(
    page: Page, url: str, newest: Newest
) -> None:
    """The page's clock goes on by what the test says, and nothing new comes: the process behind it stands still."""
    snapshot = Episode().run(60, arriving=8, judging=14)
    await page.clock.install(time=snapshot.at_ms / 1000 - 3600)  # it runs until it is paused, and never back
    await page.clock.pause_at(snapshot.at_ms / 1000 + 1)
    error = Trouble(code="broker_silent", cause="the broker does not answer", fix="look")
    since_ms = snapshot.looking_since_ms + 20_000
    publish(newest, replace(snapshot, broker=BrokerRow(answers=False, since_ms=since_ms, error=error)))
    await shown(page, url)
    begun = (snapshot.at_ms - since_ms) // 1000
    assert f"({begun} s)" in await page.inner_text("#headline")
    await page.clock.run_for(7_000)
    assert "as of 7 s ago" in await page.inner_text(".live.off")
    assert f"({begun + 7} s)" in await page.inner_text("#headline")
    publish(newest, replace(snapshot, at_ms=snapshot.at_ms + 7_000))
    await page.wait_for_selector(".live.on")
