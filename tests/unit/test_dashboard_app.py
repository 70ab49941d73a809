"""Every route of the dashboard: what it answers, what it refuses, what every answer carries; what the page weighs."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import httpx
import msgspec
import pytest

from mira_stream.cli.announced import announced_dashboard
from mira_stream.cli.observed import shown_by_dashboard
from mira_stream.config import Project, Settings
from mira_stream.http import PROBES, guarded, serve
from mira_stream.http.dashboard import HEADERS, LOOK_MAX_S, Newest, dashboard, watched
from mira_stream.observing import services
from mira_stream.streaming.health import Health
from tests.browser.episode import Episode

ROUTES = ("/", "/app.js", "/style.css", "/snapshot.json", "/events", "/nothing", "/..%2fdashboard.py")
TOKEN = "a-token"
PAGE = Path(__file__).resolve().parents[2] / "mira_stream" / "http" / "page"
BYTES_MAX = 150_000


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    newest = Newest()
    newest.publish(b"{}")
    app = guarded(dashboard(newest, Health()), token=TOKEN, names=None, without_token=PROBES)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        yield client


@pytest.mark.parametrize("route", ROUTES)
async def test_no_route_without_the_token(client: httpx.AsyncClient, route: str) -> None:
    assert (await client.get(route)).status_code == 401


@pytest.mark.parametrize("route", [*PROBES, "/livez/", "/livez/../snapshot.json", "//livez"])
async def test_probes_alone_are_open_and_say_nothing_of_the_stream(client: httpx.AsyncClient, route: str) -> None:
    answer = await client.get(route)
    assert (answer.status_code == 401) == (route not in PROBES)
    assert len(answer.content) < 1_000


async def test_a_page_that_shows_no_newer_look_does_not_live() -> None:
    now = [0.0]
    newest = Newest(lambda: now[0])
    async with watched(newest) as health:
        assert not health.started().ok
        newest.publish(b"{}")
        now[0] = LOOK_MAX_S
        assert health.started().ok
        assert health.live().ok
        now[0] = LOOK_MAX_S + 1
        assert not health.live().ok, "the loop goes on, the look hangs"
        assert all(check.cause and check.fix for check in health.live().checks if not check.ok)
        newest.publish(b"{}")
        assert health.live().ok


@pytest.mark.parametrize("route", [route for route in ROUTES if route != "/events"])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_nothing_but_reading(client: httpx.AsyncClient, route: str, method: str) -> None:
    answer = await client.request(method, route, headers={"authorization": f"Bearer {TOKEN}"})
    assert answer.status_code in (404, 405)


@pytest.mark.parametrize("route", ["/", "/app.js", "/style.css", "/icon.svg", "/snapshot.json", "/nothing"])
async def test_every_answer_says_what_the_page_may_do(client: httpx.AsyncClient, route: str) -> None:
    answer = await client.get(route, headers={"authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == (404 if route == "/nothing" else 200)
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS


async def test_files_outside_the_page_are_not_there(client: httpx.AsyncClient) -> None:
    for route in ("/..%2fdashboard.py", "/dashboard.py", "/%2e%2e/dashboard.py", "/page/app.js"):
        assert (await client.get(route, headers={"authorization": f"Bearer {TOKEN}"})).status_code == 404


async def test_a_slow_reader_gets_the_newest_and_holds_nobody_up() -> None:
    newest = Newest()
    newest.publish(b"1")
    updates = newest.updates()
    assert await anext(updates) == b"1"
    newest.publish(b"2")
    newest.publish(b"3")
    assert await anext(updates) == b"3"
    waiting = asyncio.ensure_future(anext(updates))
    await asyncio.sleep(0)
    assert not waiting.done()
    newest.publish(b"4")
    assert await waiting == b"4"
    assert newest.readers == 1
    await updates.aclose()  # type: ignore[attr-defined]
    assert newest.readers == 0


def test_the_page_stays_small() -> None:
    packed = sum(len(gzip.compress(path.read_bytes())) for path in PAGE.iterdir())
    assert packed <= BYTES_MAX


def test_the_page_loads_nothing_from_elsewhere() -> None:
    for path in PAGE.iterdir():
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "innerHTML" not in text
        assert "//" not in text.replace("// ", "").replace("http://HOST:PORT", ""), path.name


@pytest.mark.parametrize(("known", "shown"), [(TOKEN, True), ("another", False), ("", False)])
async def test_status_asks_a_page_that_wants_a_token_if_it_knows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: str, shown: bool
) -> None:
    monkeypatch.setenv("MIRA_DASHBOARD_TOKEN", known)
    monkeypatch.setattr(services, "fetch", partial(services.fetch, timeout_s=60.0))
    newest, snapshot = Newest(), Episode().run(60, arriving=8, judging=14)
    newest.publish(msgspec.json.encode(msgspec.structs.replace(snapshot, project=tmp_path.name)))
    app = guarded(dashboard(newest, Health()), token=TOKEN, names=None, without_token=PROBES)
    async with serve(app, "127.0.0.1", 0) as url:
        with announced_dashboard(tmp_path, url):
            found = await asyncio.to_thread(shown_by_dashboard, Project(tmp_path, Settings()))
    assert (found is not None) == shown
