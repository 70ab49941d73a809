"""The folder producer over the in-memory broker: everything once while files come, grow, break and are replaced."""

import asyncio
import gzip
import json
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prometheus_client import CollectorRegistry

from mira_stream.config import Project, Settings
from mira_stream.errors import ConfigError, DependencyError
from mira_stream.ingest import batches as batching
from mira_stream.ingest import folder as ingest_folder
from mira_stream.ingest.due import RETRY_S
from mira_stream.ingest.folder import FolderReader
from mira_stream.messages import DeadLetter, Document, decoder
from mira_stream.parquet import READERS
from mira_stream.records import LogReader
from mira_stream.sections import GroupSection, SourceSection
from mira_stream.streaming.backlog import Backlog
from mira_stream.streaming.folder_watch import Watched
from mira_stream.streaming.ingest_metrics import IngestMetrics
from mira_stream.streaming.topics import topic_specs
from mira_stream.testing.broker import MemoryBroker
from producers.files import produce
from producers.watch import watch

SETTLE_S = 2.0


class World:
    """A folder, a broker, a clock; `looks` runs the producer for as many looks as it has steps."""

    def __init__(self, folder: Path) -> None:
        section = SourceSection(group="text", path="in")
        settings = Settings(groups={"text": GroupSection(family="text")}, sources={"web": section})
        self.folder = folder / "in"
        self.folder.mkdir()
        self.project = Project(folder, settings)
        self.broker = MemoryBroker()
        self.now = 0.0
        self.registry = CollectorRegistry()
        self.metrics = IngestMetrics(self.registry)

    @classmethod
    async def make(cls, folder: Path) -> "World":
        world = cls(folder)
        await world.broker.create_topics(topic_specs(world.project), 1)
        return world

    async def run(self, *steps: Callable[[], object], again: bool = False, lag_max: int = 0) -> Watched:
        """One look, then after each step another one, all by one process."""
        section = self.project.settings.sources["web"]
        reader = FolderReader(
            self.project, "web", section, self.folder, READERS, settle_s=SETTLE_S, again=again
        )  # fmt: skip
        stop, left = asyncio.Event(), list(steps)

        def looked(_: Watched) -> None:
            if not left:
                stop.set()
            else:
                left.pop(0)()

        return await watch(
            self.broker,
            self.project,
            reader,
            self.metrics,
            stop,
            lag_max=lag_max,
            every_s=0.0,
            now=lambda: self.now,
            looked=looked,
        )

    def passed(self, seconds: float = SETTLE_S) -> None:
        self.now += seconds

    def write(self, name: str, text: str, mode: str = "a") -> None:
        with (self.folder / name).open(mode) as file:
            file.write(text)

    def rows(self, name: str, *ids: str, mode: str = "a") -> None:
        self.write(name, "".join(json.dumps({"id": id_, "text": f"text of {id_}"}) + "\n" for id_ in ids), mode)

    def ids(self) -> Counter[str]:
        decode = decoder(Document).decode
        return Counter(decode(record.value or b"").id for record in self.broker.records("mira.documents.text"))

    def letters(self) -> list[str]:
        decode = decoder(DeadLetter).decode
        return [decode(record.value or b"").reason for record in self.broker.records("mira.dead-letters")]

    def refused(self) -> dict[str, float]:
        found = [sample for family in self.registry.collect() for sample in family.samples]
        return {s.labels["cause"]: s.value for s in found if s.name == "mira_ingest_refused_total" and s.value}


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest_folder, "batches", partial(batching.batches, rows_max=3))


async def test_lines_are_taken_while_a_file_grows_and_its_tail_waits(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    seen: list[list[str]] = []
    world.write("a.jsonl", '{"id":"half","te')

    def more() -> None:
        seen.append(sorted(world.ids()))
        world.write("a.jsonl", 'xt":"x"}\n{oops\n{"id":"next","text":"y"}')

    def end() -> None:
        seen.append(sorted(world.ids()))
        world.write("a.jsonl", "\n")

    watched = await world.run(more, end)
    assert seen == [[], ["half"]]
    assert world.ids() == Counter(["half", "next"])
    assert world.letters() == ["invalid_json"]
    assert (watched.documents, watched.rejected, watched.looks, watched.refused) == (2, 1, 3, {})


async def test_restarts_and_the_file_producer_go_on_where_the_other_stopped(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    world.rows("a.jsonl", *(f"a{n}" for n in range(8)))
    assert (await world.run()).documents == 8
    world.rows("a.jsonl", "b0")
    world.write("a.jsonl", '{"id":"b1","text":"x"}')
    assert (await world.run()).documents == 1
    counts = await produce(world.broker, world.project, {"web": world.project.settings.sources["web"]})
    assert counts["web"].new == 1  # a file that is read to its end has a last line, newline or not
    assert (await world.run(lambda: world.write("a.jsonl", "\n"))).documents == 0
    assert (await world.run(lambda: world.rows("a.jsonl", "c0"))).documents == 1
    assert world.ids() == Counter([*(f"a{n}" for n in range(8)), "b0", "b1", "c0"])


async def test_whole_formats_wait_until_they_stand_still(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    packed = gzip.compress(b"".join(b'{"id":"g%d","text":"x"}\n' % n for n in range(5)))
    (world.folder / "a.jsonl.gz").write_bytes(packed[:20])
    pq.write_table(pa.table({"id": ["p0", "p1"], "text": ["x", "y"]}), world.folder / "b.parquet")
    counts: list[int] = []

    def grow() -> None:
        world.passed(1.5)
        (world.folder / "a.jsonl.gz").write_bytes(packed)

    def wait() -> None:
        counts.append(sum(world.ids().values()))
        world.passed(1.5)

    watched = await world.run(grow, wait, wait, world.passed)
    assert counts == [0, 2]
    assert world.ids() == Counter([*(f"g{n}" for n in range(5)), "p0", "p1"])
    assert watched.refused == {}


@pytest.mark.parametrize("cut", ["truncated", "replaced", "inode"])
async def test_a_replaced_file_is_refused_with_its_cause_and_spoils_no_other(tmp_path: Path, cut: str) -> None:
    world = await World.make(tmp_path)
    world.rows("a.jsonl", *(f"a{n}" for n in range(5)))

    def replace() -> None:
        if cut == "truncated":
            world.rows("a.jsonl", "n0", mode="w")
        elif cut == "replaced":
            world.rows("a.jsonl", *(f"n{n}" for n in range(9)), mode="w")
        else:
            world.rows("a.tmp", "n0", "n1", "n2", "n3", "n4")
            (world.folder / "a.tmp").replace(world.folder / "a.jsonl")
        world.rows("b.jsonl", "b0")

    watched = await world.run(replace, partial(world.passed, RETRY_S))
    assert world.ids() == Counter([*(f"a{n}" for n in range(5)), "b0"])
    assert watched.refused == {"in/a.jsonl": "source_changed"}
    assert world.refused() == {"source_changed": 1}
    lines = len((world.folder / "a.jsonl").read_text().splitlines())
    watched = await world.run(again=True)
    assert (watched.documents, watched.refused) == (lines, {})
    assert (await world.run()).documents == 0


async def test_a_copy_that_begins_alike_is_growth_whatever_its_inode(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    world.rows("a.jsonl", "a0")

    def copy() -> None:
        world.rows("copy.tmp", "a0", "a1")
        (world.folder / "copy.tmp").replace(world.folder / "a.jsonl")

    watched = await world.run(copy)
    assert (watched.documents, world.ids(), watched.refused) == (2, Counter(["a0", "a1"]), {})


async def test_a_deleted_file_is_no_error_and_a_damaged_one_goes_on_when_it_is_whole(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    world.rows("a.jsonl", "a0")
    packed = gzip.compress(b"".join(b'{"id":"g%04d","text":"%d"}\n' % (n, n * n) for n in range(2000)))
    (world.folder / "g.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    (world.folder / "p.parquet").write_bytes(b"PAR1 and no end")

    def repair() -> None:
        assert 0 < sum(world.ids().values()) < 2000
        (world.folder / "a.jsonl").unlink()
        (world.folder / "g.jsonl.gz").write_bytes(packed)
        pq.write_table(pa.table({"id": ["p0"], "text": ["x"]}), world.folder / "p.parquet")

    watched = await world.run(world.passed, repair, world.passed)
    assert world.ids() == Counter(["a0", "p0", *(f"g{n:04d}" for n in range(2000))])
    assert (watched.refused, world.refused()) == ({}, {"source_damaged": 2})


async def test_the_folder_may_be_away_for_a_while_but_must_be_there_first(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    world.rows("a.jsonl", "a0")
    away = tmp_path / "away"

    def back() -> None:
        away.rename(world.folder)
        world.rows("b.jsonl", "b0")

    watched = await world.run(
        lambda: world.folder.rename(away),
        lambda: None,
        back,
    )
    assert (world.ids(), watched.looks) == (Counter(["a0", "b0"]), 4)
    assert world.refused() == {"source_missing": 1}
    world.folder.rename(away)
    with pytest.raises(ConfigError, match="source_missing"):
        await world.run()


@pytest.mark.parametrize("rows", [2, 8])  # a look of one transaction, and of three
@pytest.mark.parametrize("failure", ["unknown_committed", "unknown_open"])
async def test_a_commit_without_an_answer_loses_and_doubles_nothing(tmp_path: Path, failure: str, rows: int) -> None:
    world = await World.make(tmp_path)
    world.rows("a.jsonl", *(f"a{n}" for n in range(8)))

    def fail() -> None:
        world.rows("a.jsonl", *(f"b{n}" for n in range(rows)))
        world.broker.fail_next_commit(failure, "mira.produce")  # type: ignore[arg-type]

    await world.run(fail, lambda: None)
    assert world.ids() == Counter([*(f"a{n}" for n in range(8)), *(f"b{n}" for n in range(rows))])
    assert world.broker.open_transactions() == []


@pytest.mark.parametrize("ended", [False, True])
async def test_killed_around_a_commit_it_goes_on(tmp_path: Path, ended: bool) -> None:
    world = await World.make(tmp_path)
    world.rows("a.jsonl", *(f"a{n}" for n in range(10)))
    first = world.broker.hold_next_commit("mira.produce")
    task = asyncio.ensure_future(world.run())
    await first.reached.wait()
    hold = world.broker.hold_next_commit("mira.produce", ended=ended)
    first.release()
    await hold.reached.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await world.run()
    assert world.ids() == Counter(f"a{n}" for n in range(10))


async def test_a_second_watch_of_the_folder_takes_over(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    world.rows("a.jsonl", "a0")
    hold = world.broker.hold_next_commit("mira.produce")
    task = asyncio.ensure_future(world.run())
    await hold.reached.wait()
    await world.run()
    hold.release()
    with pytest.raises(DependencyError, match="producer_fenced"):
        await task
    assert world.ids() == Counter(["a0"])


async def test_a_broker_that_fails_is_tried_again_ever_more_seldom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await World.make(tmp_path)
    world.rows("a.jsonl", "a0")
    pauses: list[float] = []

    async def wait(stop: asyncio.Event, seconds: float) -> None:
        pauses.extend([seconds] if seconds else [])
        await asyncio.sleep(0)

    monkeypatch.setattr("mira_stream.streaming.folder_watch._wait", wait)

    def fail() -> None:
        world.rows("a.jsonl", "a1")
        for _ in range(7):
            world.broker.fail_next_commit("aborted", "mira.produce")

    def fail_once_more() -> None:
        world.rows("a.jsonl", "a2")
        world.broker.fail_next_commit("aborted", "mira.produce")

    watched = await world.run(fail, fail_once_more)
    assert watched.documents == 3
    assert world.ids() == Counter(["a0", "a1", "a2"])
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 1]
    assert world.refused() == {"commit_refused": 8}


async def test_without_a_known_backlog_it_waits_and_a_defect_of_its_measuring_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await World.make(tmp_path)
    world.rows("a.jsonl", "a0")
    looks = 0

    async def look(backlog: Backlog, reader: LogReader) -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            raise ZeroDivisionError
        raise DependencyError("broker_refused", "GroupAuthorizationFailed", "give it the right")

    monkeypatch.setattr(Backlog, "look", look)
    monkeypatch.setattr("mira_stream.streaming.backlog.EVERY_S", 0.0)
    with pytest.raises(ZeroDivisionError):
        await world.run(lag_max=2)
    assert world.ids() == Counter()


async def test_told_to_stop_it_ends_behind_the_transaction_under_way(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    world.rows("a.jsonl", *(f"a{n}" for n in range(30)))
    section = world.project.settings.sources["web"]
    reader = FolderReader(world.project, "web", section, world.folder, READERS, settle_s=SETTLE_S)
    stop = asyncio.Event()
    opening = world.broker.hold_next_commit("mira.produce")
    task = asyncio.ensure_future(watch(world.broker, world.project, reader, world.metrics, stop, every_s=60.0))
    await opening.reached.wait()
    hold = world.broker.hold_next_commit("mira.produce")
    opening.release()
    await hold.reached.wait()
    stop.set()
    hold.release()
    assert (await task).documents == 3
    assert world.ids() == Counter(["a0", "a1", "a2"])
    assert (await world.run()).documents == 27


async def test_it_waits_while_the_scorer_is_too_far_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = await World.make(tmp_path)
    world.rows("a.jsonl", *(f"a{n}" for n in range(9)))
    waits, scored = 0, 3

    def full(backlog: Backlog, topic: str) -> bool:
        """As a scorer would make it that finishes three documents whenever it is waited for."""
        nonlocal waits, scored
        assert topic == "mira.documents.text"
        behind = sum(world.ids().values()) - scored
        waits, scored = waits + (behind > backlog.lag_max), scored + (3 if behind > backlog.lag_max else 0)
        return behind > backlog.lag_max

    monkeypatch.setattr(Backlog, "full", full)
    watched = await world.run(lag_max=2)
    assert (watched.documents, waits) == (9, 2)  # before the third three, and before the position behind them
