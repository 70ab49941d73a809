"""`bench` in small: every document ends once and is counted, over a broker in memory, with a stand-in engine."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from mira_stream import broker_local
from mira_stream.benching import running
from mira_stream.benching.direct import DirectBench
from mira_stream.benching.flow import FlowBench, Given
from mira_stream.benching.intervals import compare
from mira_stream.benching.load import Load
from mira_stream.benching.own_folder import own_folder, remove_left
from mira_stream.benching.plot import plot
from mira_stream.benching.result import Run
from mira_stream.benching.running import Plan, measure
from mira_stream.benching.saving import load_run, save
from mira_stream.benching.standin import StandInEngine
from mira_stream.benching.turns import beside, take
from mira_stream.broker_local.data_dir import DataDir, Runtime
from mira_stream.cli.main import main
from mira_stream.config import Project
from mira_stream.errors import DependencyError, UsageError
from mira_stream.messages import Document, decoder
from mira_stream.reliability.table import save_table
from mira_stream.scoring.engine import Completion, Engine, Request
from mira_stream.testing.broker import MemoryBroker
from tests.simulation.project import simulated_project
from tests.unit.test_reliability_acceptance import project as in_expected
from tests.unit.test_reliability_acceptance import table
from tests.virtual import in_virtual_time

GROUPS = ["alpha", "text"]
GIVEN = [
    Given(group, Document(id=str(number), source=source, text=f"{source} {number} " * 20))
    for number in range(5)
    for group, source in (("alpha", "news"), ("text", "posts"))
]
POISON = Given("text", Document(id="p", source="posts", text=""))


def stand_in(project: Project, group: str) -> Engine:
    return StandInEngine()


def quiet(line: str) -> None: ...


async def test_the_flow_decides_each_document_once_whatever_the_load() -> None:
    flow = FlowBench(simulated_project(1), GROUPS, [*GIVEN, POISON], stand_in)
    await flow.start(MemoryBroker())
    try:
        for load in (Load(documents=44, outstanding=7), Load(documents=33, rate_per_s=200.0)):
            turn = await beside(take(flow, load, 1, quiet, "t"), *flow.services)
            assert turn.documents == load.documents == sum(window.documents for window in turn.windows)
            assert turn.dead_letters == load.documents // 11
            assert turn.generation_tokens > 0
            assert turn.prompt_tokens > turn.generation_tokens
            assert 0 < turn.engine_busy <= 1
            assert turn.peak_memory_mib > 10
            assert turn.latency_ms.p50 <= turn.latency_ms.p95 <= turn.latency_ms.p99
    finally:
        await flow.close()


async def test_a_turn_sends_each_document_under_an_id_of_its_own() -> None:
    given = [Given("text", Document(id="é", source="posts", text='"bench-id" é', meta={"n": 1})), GIVEN[0]]
    broker = MemoryBroker()
    flow = FlowBench(simulated_project(1), GROUPS, given, stand_in)
    await flow.start(broker)
    read: dict[str, Document] = {}
    try:
        await beside(take(flow, Load(documents=5, outstanding=2), 1, quiet, "t"), *flow.services)
        reader = await broker.reader()
        for topic in {flow.project.documents_topic(group) for group in GROUPS}:
            for partition in await reader.partitions(topic):
                async for record in reader.read(partition, 0, 99):
                    assert record.value is not None
                    document = decoder(Document).decode(record.value)
                    assert record.key == document.id.encode()
                    read[document.id] = replace(document, id="")
    finally:
        await flow.close()
    assert read == {f"1-{number}": replace(given[number % 2].document, id="") for number in range(5)}


async def test_a_closed_loop_keeps_its_number_outstanding() -> None:
    flow = FlowBench(simulated_project(1), GROUPS, GIVEN, stand_in)
    await flow.start(MemoryBroker())
    most, sent, ended = 0, 0, 0
    send = flow.send

    async def counted(first: int, last: int) -> None:
        nonlocal most, sent
        sent = last
        most = max(most, sent - ended)
        await send(first, last)

    flow.send = counted  # type: ignore[method-assign]
    try:
        work = asyncio.ensure_future(take(flow, Load(documents=40, outstanding=6), 1, quiet, "t"))
        await asyncio.sleep(0)
        outcome = flow.outcome

        def told(key: bytes, dead: bool) -> None:
            nonlocal ended
            ended += 1
            outcome(key, dead)

        flow.outcome = told
        await beside(work, *flow.services)
    finally:
        await flow.close()
    assert (sent, ended, most) == (40, 40, 6)


def measured_by_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("direct", "turns"):
        monkeypatch.setattr(f"mira_stream.benching.{module}.monotonic", asyncio.get_running_loop().time)


@in_virtual_time
async def test_the_engine_alone_asks_no_more_than_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    measured_by_the_loop(monkeypatch)
    engines: list[StandInEngine] = []
    most = 0

    class Counting(StandInEngine):
        async def generate(self, request: Request) -> Completion:
            nonlocal most
            self.in_flight += 1
            most = max(most, self.in_flight)
            try:
                return await super().generate(request)
            finally:
                self.in_flight -= 1

    def build(project: Project, group: str) -> Engine:
        engines.append(Counting(0.001))
        return engines[-1]

    direct = DirectBench(simulated_project(0), ["text"], [one for one in GIVEN if one.group == "text"], build)
    await direct.start()
    try:
        turn = await beside(take(direct, Load(documents=50, outstanding=50), 1, quiet, "t"), direct.failed)
    finally:
        await direct.close()
    assert (turn.documents, turn.dead_letters, most) == (50, 0, 6)
    assert turn.waiting > 0.5
    assert engines[0].alive is False


async def test_a_service_that_fails_ends_the_turn() -> None:
    def dead(project: Project, group: str) -> Engine:
        engine = StandInEngine()

        async def start() -> None:
            raise DependencyError("engine_start", "no", "no")

        engine.start = start  # type: ignore[method-assign]
        return engine

    flow = FlowBench(simulated_project(1), GROUPS, GIVEN, dead)
    await flow.start(MemoryBroker())
    try:
        with pytest.raises(DependencyError, match="engine_start"):
            await beside(take(flow, Load(documents=4), 1, quiet, "t"), *flow.services)
    finally:
        await flow.close()


@pytest.fixture
async def finished(monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(running, "_real_engine", stand_in)
    load = Load(documents=40, outstanding=8)
    plan = Plan(kind="engine", groups=["text"], load=load, repetitions=2)
    return await measure(simulated_project(1), plan, GIVEN[1::2], "20260101T000000Z", quiet)


async def test_a_run_is_saved_read_plotted_and_compared(
    finished: Run, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    path = save(finished, tmp_path / "bench")
    assert path.name == "20260101T000000Z-engine.json"
    assert load_run(path) == finished
    assert finished.result.documents == 80
    kept, repeated, *_ = finished.notes  # and on a quick machine, that all end within a millisecond
    assert kept.startswith("the endpoints of group text keep their prefix caches")
    assert repeated == "5 distinct documents, repeated within a turn: prefix caches may hold some of them"
    plot(finished, path.with_suffix(".svg"))
    assert path.with_suffix(".svg").read_text().count("<svg") == 1
    assert await asyncio.to_thread(main, ["bench", "compare", str(path), str(path), "--json"]) == 0
    said = msgspec.json.decode(capsysbinary.readouterr().out)
    assert said == msgspec.to_builtins(compare(finished, finished))
    assert [one["ratio"] for one in said["ratios"]] == [1, 1, 1, 1]
    path.write_text("{}")
    with pytest.raises(UsageError, match="bench_unreadable"):
        load_run(path)


@in_virtual_time
async def test_a_search_ends_with_one_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    measured_by_the_loop(monkeypatch)
    monkeypatch.setattr(running, "_real_engine", lambda project, group: StandInEngine(0.02))
    load = Load(documents=20, rate_per_s=300.0)  # six at a time, 20 ms each: 300/s at most, and there p99 grows
    plan = Plan(kind="engine", groups=["text"], load=load, repetitions=1, ramp_p99_ms=150.0, step_s=0.5)
    run = await measure(simulated_project(0), plan, GIVEN[1::2], "20260101T000000Z", quiet)
    assert run.ramp is not None
    assert {turn.load.rate_per_s for turn in run.turns} == {run.ramp["highest_rate_per_s"]}
    held = [step["rate_per_s"] for step in run.ramp["steps"] if step["holds"]]
    assert run.ramp["highest_rate_per_s"] in held
    assert run.ramp["highest_rate_per_s"] < run.ramp["lowest_refused_per_s"]
    assert all(turn.latency_ms.p99 <= 150.0 for turn in run.turns)


async def test_of_a_kafka_that_does_not_start_the_logs_stay_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = [DependencyError("broker_slow", "no", "read the log"), asyncio.CancelledError()]

    @asynccontextmanager
    async def living(folder: Path, **_: Any) -> AsyncIterator[None]:
        data = DataDir(folder)
        data.log.mkdir()
        data.logs.mkdir()
        data.log_file.write_text("why")
        if errors:
            raise errors.pop(0)
        yield

    monkeypatch.setattr(broker_local, "living", living)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    plan = Plan(kind="kafka", groups=["text"], load=Load(documents=4), repetitions=1)
    said: list[str] = []

    def measured() -> Coroutine[Any, Any, Run]:
        return measure(simulated_project(1), plan, GIVEN, "20260101T000000Z", said.append)

    with pytest.raises(DependencyError, match="broker_slow"):
        await measured()
    (folder,) = tmp_path.glob("mira-bench-*")
    assert [path.name for path in folder.iterdir()] == ["logs"]
    assert DataDir(folder).log_file.read_text() == "why"
    assert said == [f"its logs are kept in {folder / 'logs'}"]
    said.clear()
    with pytest.raises(asyncio.CancelledError):
        await measured()
    assert list(tmp_path.glob("mira-bench-*")) == [folder], "logs that an error has named stay"
    assert said == []


async def test_a_kafka_that_dies_ends_the_bench_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Kafka:
        async def ended(self) -> str:
            return "signal SIGKILL"

    @asynccontextmanager
    async def living(folder: Path, **_: Any) -> AsyncIterator[tuple[Runtime, Kafka]]:
        DataDir(folder).logs.mkdir()
        log = str(DataDir(folder).log_file)
        yield Runtime(
            pid=7, pid_started=1, bootstrap_servers="127.0.0.1:9", port=9, since_ms=0, data_dir="d", log=log, kafka="k",
            java="j", kept="attached",
        ), Kafka()  # fmt: skip

    monkeypatch.setattr(broker_local, "living", living)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    plan = Plan(kind="kafka", groups=["text"], load=Load(documents=4), repetitions=1)
    with pytest.raises(DependencyError, match=r"bench_broker: .*pid 7, ended with signal SIGKILL") as raised:
        await measure(simulated_project(1), plan, GIVEN, "20260101T000000Z", quiet)
    (folder,) = tmp_path.glob("mira-bench-*")
    assert f"read {folder}/logs/" in raised.value.fix
    assert [path.name for path in folder.iterdir()] == ["logs"]


async def test_a_flow_that_is_told_again_to_end_leaves_none_of_its_services() -> None:
    flow = FlowBench(simulated_project(1), GROUPS, GIVEN, stand_in)
    await flow.start(MemoryBroker())
    closing = asyncio.create_task(flow.close())
    for _ in range(2):
        await asyncio.sleep(0)
        closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert all(service.done() for service in flow.services)


def test_what_a_killed_bench_has_left_goes_with_the_next_one_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left, running_broker, new, elsewhere = (
        tmp_path / name for name in ("mira-bench-left", "mira-bench-broker", "mira-bench-new", "other-left")
    )
    for folder in (left, running_broker, new, elsewhere):
        folder.mkdir()
        if folder != new:
            DataDir(folder).lock.touch()
            (folder / "log").mkdir()
    (tmp_path / "mira-bench-link").symlink_to(elsewhere)
    said: list[str] = []
    held = DataDir(running_broker).acquire()
    with own_folder("mira-bench") as own:
        DataDir(own).lock.touch()
        remove_left("mira-bench", said.append)
        assert own.is_dir()
    os.close(held)
    assert said == [f"removed {left}: the bench that had its Kafka there was killed"]
    assert not left.exists()
    assert all(folder.is_dir() for folder in (running_broker, new, elsewhere))
    remove_left("mira-bench", said.append)
    assert not running_broker.exists(), "its broker has ended"
    assert not own.exists()


async def test_a_run_says_in_which_mode_it_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[str] = []

    def build(project: Project, group: str) -> Engine:
        built.append(project.settings.groups[group].mode)
        return StandInEngine()

    monkeypatch.setattr(running, "_real_engine", build)
    project = in_expected(tmp_path)
    project.reliability_path("text").parent.mkdir()
    save_table(project.reliability_path("text"), table())
    given = [Given("text", Document(id=str(n), source="docs", text=f"text {n} " * 20)) for n in range(4)]
    plan = Plan(kind="engine", groups=["text"], load=Load(documents=4, outstanding=4), repetitions=1)
    run = await measure(project, plan, given, "20260101T000000Z", quiet)
    assert built == run.settings["groups"]["text"]["served_modes"] == ["scores"]
    assert run.settings["groups"]["text"]["mode"] == "expected"
    assert any(note.startswith("group text, all sources: judged in mode scores") for note in run.notes)
