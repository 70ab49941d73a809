"""An episode of back-pressure from its beginning to its end: real Kafka, services and browser, a slow stand-in engine.

More documents are posted than the engine can judge. The page and `status` say where it is full, why and since when;
producers are told to come again; the load drops, the stream drains, and every document that was answered 202 has one
end. With MIRA_SCREENSHOTS=DIR the pictures of deploy/pictures are written into that folder: the episode then lasts some
minutes longer, so that there is an hour to look at.
"""

import asyncio
import os
import pty
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import msgspec
import orjson
import pytest
from playwright.async_api import Browser, Page, async_playwright

from mira_stream.cli.connect import connect
from mira_stream.cli.observed import shown_by_dashboard
from mira_stream.clock import monotonic, now_ms
from mira_stream.config import load_project
from mira_stream.demo.run import SHIPPED
from mira_stream.messages import DIMENSIONS, DeadLetter, Decision, decoder
from mira_stream.observing.services import running
from mira_stream.observing.snapshot import Snapshot, Stage, StageName
from mira_stream.scorecard import Reply, write
from mira_stream.scoring.engine import Request
from mira_stream.streaming.ports import Broker
from mira_stream.testing.engine import GARBAGE, scores_of, verdict_of
from tests.e2e.open_loop import OpenLoop
from tests.faults.endpoint import Endpoint, serving
from tests.machine import CHROMIUM, need

pytestmark = [pytest.mark.broker, pytest.mark.timeout(1800)]
PATIENCE_S = 600.0
"""For what stays once it is there: on a machine that does much else, too."""
LOOK_S = 0.2
SLOTS, REPLY_S = 8, 0.8
LAG_MAX = 80
ABOVE, BELOW = 30.0, 3.0
"""Documents a second; the engine judges SLOTS / REPLY_S = 10."""
SOURCES = {"forum": -2, "manuals": 2, "web": 0}
UNREADABLE_EVERY = 40
HISTORY_S = 120
SCREENSHOTS = os.environ.get("MIRA_SCREENSHOTS", "")
# One look at the whole page each: the next Snapshot may say something else.
PAGE_IS_CALM = """() => document.getElementById("headline").textContent === "Everything flows"
    && !document.querySelector("#headline.full, .stage.narrow")"""
PAGE_IS_FULL = """() => {
    const words = (selector) => document.querySelector(selector)?.innerText ?? "";
    return words("#headline").startsWith("engine is full since ")
        && words("#why").includes("one takes ")
        && words('[data-stage="producer"]').includes("told to come again")
        && document.querySelector('[data-stage="engine"].narrow') !== null;
}"""
TOML = """
[topics]
partitions = 2
[limits]
in_flight_documents = {slots}
transaction_linger_s = 0.1
[groups.text]
family = "text"
engine = "openai"
base_urls = ["{url}"]
model = "scripted"
"""


def answer(request: Request) -> str:
    """Hashed scores that lean as the document's source does; for some documents no reply that can be read."""
    words = request.messages[-1]["content"]
    if "unreadable" in words:
        return GARBAGE["prose"]
    lean = next((lean for source, lean in SOURCES.items() if f"from {source}" in words), 0)
    scores = [min(10, max(1, score + lean)) for score in scores_of(words)]
    overall = round(sum(scores) * 10 / DIMENSIONS)
    return write(Reply(scores, overall, verdict_of(overall)), "scores_first", "scores", [""] * DIMENSIONS)


def document(number: int) -> dict[str, Any]:
    source = list(SOURCES)[number % len(SOURCES)]
    said = "unreadable" if number % UNREADABLE_EVERY == UNREADABLE_EVERY - 1 else "worth reading"
    return {"id": f"{source}/{number}", "source": source, "text": f"Note {number} from {source} is {said}. " * 5}


async def until(found: Callable[[], Awaitable[Any]], what: str) -> Any:
    """The first result that is not None, False or empty."""
    deadline = monotonic() + PATIENCE_S
    while not (result := await found()):
        assert monotonic() < deadline, f"{what}: not within {PATIENCE_S:g} s"
        await asyncio.sleep(LOOK_S)
    return result


class Rig:
    """Commands of one project, each a process with its words in files."""

    def __init__(self, project: Path, logs: Path) -> None:
        self.project = project
        self._logs = logs
        self._commands: list[Command] = []

    @contextmanager
    def command(self, *arguments: str) -> Iterator["Command"]:
        command = Command([*arguments, "--project", str(self.project)], self._logs / f"{len(self._commands)}")
        self._commands.append(command)
        try:
            yield command
        finally:
            command.end()

    async def run(self, *arguments: str) -> "Command":
        """A command that ends by itself."""
        with self.command(*arguments) as command:
            assert await until(command.ended, " ".join(arguments))
        return command

    async def status_where(self, holds: Callable[[Snapshot], bool], what: str) -> Snapshot:
        """What `status --json` says as soon as it holds. The page's own Snapshots say when it is worth asking."""
        found: list[Snapshot] = []

        async def look() -> bool:
            first = self._commands[0]
            assert first.code is None, first.said
            shown = await asyncio.to_thread(shown_by_dashboard, load_project(self.project))
            found[:] = [] if shown is None else [shown]
            if shown is None or not holds(shown):
                return False
            ended = await self.run("status", "--json")
            found[:] = [msgspec.json.decode(ended.out, type=Snapshot)]
            return ended.code == 0 and holds(found[0])

        try:
            await until(look, what)
        except AssertionError as error:
            raise AssertionError(f"{error}; last: {[(one.stages, one.notes, one.services) for one in found]}") from None
        return found[0]


class Command:
    def __init__(self, arguments: list[str], files: Path) -> None:
        self._out, self._err = files.with_suffix(".out"), files.with_suffix(".err")
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mira_stream", *arguments], stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )

    @property
    def code(self) -> int | None:
        return self._process.poll()

    @property
    def out(self) -> bytes:
        return self._out.read_bytes()

    @property
    def said(self) -> str:
        return self._err.read_text(errors="replace")

    async def ended(self) -> bool:
        return self.code is not None

    async def until_said(self, words: str) -> None:
        async def said() -> bool:
            assert self.code is None or words in self.said, self.said
            return words in self.said

        await until(said, words)

    async def stop(self) -> None:
        """SIGTERM, and an end in order."""
        self._process.send_signal(signal.SIGTERM)
        await until(self.ended, "stop")
        assert self.code == 0, self.said

    def end(self) -> None:
        if self.code is None:
            self._process.kill()
            self._process.wait()


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """A project of one group whose engine is the stand-in; its Kafka is the embedded one, which `up` starts."""
    root = tmp_path / "crawl"
    for part in ("rubrics/text.jsonl", "prompts/text/system.txt", "prompts/text/user.txt"):
        (root / part).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(SHIPPED / part, root / part)
    async with serving(Endpoint(REPLY_S, answer)) as endpoint:
        sources = "".join(f'[sources.{source}]\ngroup = "text"\n' for source in SOURCES)
        (root / "mira.toml").write_text(TOML.format(slots=SLOTS, url=endpoint.url) + sources)
        (tmp_path / "said").mkdir()
        yield Rig(root, tmp_path / "said")


@asynccontextmanager
async def posting(port: int) -> AsyncIterator[tuple[OpenLoop, asyncio.Event]]:
    stop = asyncio.Event()
    limits = httpx.Limits(max_connections=64)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", limits=limits, timeout=60.0) as client:
        load = OpenLoop(client, document)
        load.rate = BELOW
        running = asyncio.create_task(load.run(stop))
        try:
            yield load, stop
        finally:
            stop.set()
            await running


def stage(snapshot: Snapshot, name: str) -> Stage:
    return next(one for one in snapshot.stages if one.name == name)


async def test_an_episode_of_back_pressure(rig: Rig) -> None:
    with ExitStack() as stack:
        up = stack.enter_context(rig.command("up", "--json"))
        await up.until_said("Ctrl-C stops")
        patient = ("--lag-max", str(LAG_MAX), "--answer-s", "60")
        http = stack.enter_context(rig.command("produce", "http", "--port", "0", *patient))
        port = await port_of(http)
        assert "metrics: http://127.0.0.1:" in http.said
        second = await rig.run("produce", "http", "--port", "0")
        assert (second.code, "already_running" in second.said, str(port) in second.said) == (4, True, True)
        lines = stack.enter_context(rig.command("status", "--watch", "--json"))
        async with posting(port) as (load, stop), browser() as chromium:
            page = await opened(chromium, await shown_at(rig.project))
            calm = await everything_flows(rig, page)
            await until(lambda: said_last(lines, None), "`status --watch` has begun")
            load.rate = ABOVE
            await it_is_full(rig, page, load, calm)
            await until(lambda: said_last(lines, "engine"), "`status --watch` says that it is full")
            await asyncio.to_thread(terminal_says_so, rig.project)
            if SCREENSHOTS:
                await pictured(chromium, page.url, rig)
            load.rate = BELOW
            await it_drains(rig, page)
            refused = list(load.told_again)[:5]
            await asyncio.gather(*map(load.post, refused))  # told to come again, they come again
            assert not load.told_again.keys() & set(refused)
            stop.set()
            await load.over.wait()
            assert (load.other, load.unavailable) == ([], set())
            await load.post_again()
        assert load.other == []
        assert set(load.accepted.values()) == {1}
        await http.stop()
        assert "produce-http" not in running(rig.project)
        await every_document_ended_once(rig, set(load.accepted))
        await until(lambda: said_last(lines, None), "`status --watch` says that it is over")
        await lines.stop()
        seen = bottlenecks(lines)
        assert "engine" in seen[seen.index(None) :]
        await up.stop()
        assert orjson.loads(up.out)["stopped"]
        words = up.said.splitlines()
        assert [line for line in words if line.startswith("stopping: ")]
        assert words[-1] == "stopped"


async def port_of(producer: Command) -> int:
    """Where `produce http --port 0` listens, by its own word."""
    await producer.until_said("/v1/documents")
    return int(producer.said.partition("POST http://127.0.0.1:")[2].partition("/")[0])


def bottlenecks(lines: Command) -> list[StageName | None]:
    """Look by look, of `status --watch --json`. Its last line may be half written."""
    whole = lines.out[: lines.out.rfind(b"\n") + 1].splitlines()
    return [msgspec.json.decode(line, type=Snapshot).bottleneck for line in whole]


async def said_last(lines: Command, name: StageName | None) -> bool:
    return bottlenecks(lines)[-1:] == [name]


async def shown_at(project: Path) -> str:
    """The address of the dashboard that `up` has started."""

    async def said() -> str:
        with suppress(OSError, ValueError):
            return str(orjson.loads((project / "run" / "dashboard.json").read_bytes())["url"])
        return ""

    return str(await until(said, "a dashboard"))


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(
            executable_path=need(*CHROMIUM), args=["--no-sandbox"], timeout=PATIENCE_S * 1000
        )
        yield chromium
        await chromium.close()


async def opened(chromium: Browser, url: str, theme: Any = "light") -> Page:
    page = await chromium.new_page(viewport={"width": 1440, "height": 900}, color_scheme=theme)
    page.set_default_timeout(PATIENCE_S * 1000)
    await page.goto(url)
    return page


async def everything_flows(rig: Rig, page: Page) -> Snapshot:
    """Below its capacity no stage is full, and the producer that was started beside `up` is seen; the last such
    Snapshot."""
    names = {"up", "score", "aggregate", "export", "produce-http"}

    def flows(found: Snapshot) -> bool:
        answer = {one.name for one in found.services if one.answers}
        rates = [stage(found, name).rate_in for name in ("producer", "export")]
        return found.bottleneck is None and answer == names and all(rates)

    await page.wait_for_function(PAGE_IS_CALM)
    return await rig.status_where(flows, "documents flow")


async def it_is_full(rig: Rig, page: Page, load: OpenLoop, calm: Snapshot) -> None:
    """Where, why, since when; and producers are told."""
    causes = {
        "engine": "works on as many documents as it can at once; one takes ",
        "producer": "told to come again: the scorer is further behind than --lag-max",
        "scorer": "as many documents as it may have are in work",
    }

    def is_full(found: Snapshot) -> bool:
        behind = {stage(found, name).state for name in ("scores", "aggregator", "export")}
        return (
            found.bottleneck == "engine"
            and all(stage(found, name).state == "full" and causes[name] in stage(found, name).cause for name in causes)
            and (stage(found, "documents").backlog or 0) > LAG_MAX / 2
            and behind <= {"free", "busy"}
        )

    full = await rig.status_where(is_full, "the engine is full")
    engine = stage(full, "engine")
    assert engine.since_ms is not None
    assert calm.at_ms < engine.since_ms <= full.at_ms

    async def told() -> bool:
        return bool(load.told_again)

    await until(told, "a producer is told to come again")
    assert set(load.told_again.values()) == {5.0}
    await page.wait_for_function(PAGE_IS_FULL)
    later = await rig.status_where(lambda found: found.at_ms > full.at_ms and is_full(found), "a later look")
    assert stage(later, "engine").since_ms == engine.since_ms, "one episode, one beginning"


def terminal_says_so(project: Path) -> None:
    """`status --watch` on a terminal, until Ctrl-C."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "mira_stream", "status", "--watch", "--project", str(project)]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True) as process:
        os.close(theirs)
        deadline = threading.Timer(PATIENCE_S, process.kill)  # reading ends with it
        deadline.start()
        try:
            assert _says(ours, b"engine is full")
            process.send_signal(signal.SIGINT)
            assert not _says(ours, b"\0")
            assert process.wait(PATIENCE_S) == 0
        finally:
            deadline.cancel()
            process.kill()
            os.close(ours)


def _says(terminal: int, words: bytes) -> bool:
    """Whether they are said before the terminal's other side is closed."""
    said = b""
    while words not in said:
        try:
            said += os.read(terminal, 65_536)
        except OSError:
            return False
    return True


async def it_drains(rig: Rig, page: Page) -> None:
    def is_calm(found: Snapshot) -> bool:
        taken = stage(found, "producer").state in ("free", "busy")
        return found.bottleneck is None and taken and (stage(found, "documents").backlog or 0) < SLOTS

    await rig.status_where(is_calm, "the stream drains")
    await page.wait_for_function(PAGE_IS_CALM)


async def every_document_ended_once(rig: Rig, accepted: set[str]) -> None:
    """As the audit counts, and as the topics themselves say."""

    async def audited() -> Any:
        ended = await rig.run("audit", "--out", str(rig.project / "export"), "--json")
        found = orjson.loads(ended.out)
        return None if found["waiting"] or found["not_yet_exported"] else found

    found = await until(audited, "every document has an end")
    assert found["ok"], found
    assert found["documents"] == found["decisions"] + found["dead_letters"] == len(accepted)
    project = load_project(rig.project)
    broker = connect(project)
    try:
        decisions = await ids_in(broker, project.topic("decisions"), decoder(Decision).decode)
        letters = await ids_in(broker, project.topic("dead-letters"), decoder(DeadLetter).decode)
    finally:
        await broker.close()
    assert decisions + letters == Counter(accepted)
    unreadable = {id_ for id_ in accepted if int(id_.split("/")[1]) % UNREADABLE_EVERY == UNREADABLE_EVERY - 1}
    assert set(letters) == unreadable


async def ids_in(broker: Broker, topic: str, decode: Callable[[bytes], Decision | DeadLetter]) -> Counter[str]:
    """How often each document's id is in the topic."""
    reader = await broker.reader()
    try:
        bounds = await reader.bounds(await reader.partitions(topic))
        return Counter(
            [
                str(decode(record.value or b"").id)
                for partition, (first, end) in bounds.items()
                async for record in reader.read(partition, first, end)
            ]
        )
    finally:
        await reader.close()


async def pictured(chromium: Browser, url: str, rig: Rig) -> None:
    """Light and dark, when there is some history to see."""
    folder = Path(SCREENSHOTS)
    folder.mkdir(parents=True, exist_ok=True)
    enough_ms = now_ms() + HISTORY_S * 1000
    await rig.status_where(lambda found: found.at_ms > enough_ms and found.bottleneck == "engine", "some history")
    for theme in ("light", "dark"):
        page = await opened(chromium, url, theme)
        await page.wait_for_selector('[data-stage="engine"].narrow')
        await page.screenshot(path=folder / f"episode-{theme}.png")
        await page.close()
