"""Decisions to Parquet through the real runner: each in scores/ once, each selected one in kept/ once, whatever
goes wrong between."""

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from consumers import exporter
from mira_stream.errors import DataLossError
from mira_stream.exporting import ExportingFactory, OutFolder
from mira_stream.exporting import handler as exporting_handler
from mira_stream.exporting.handler import ExportingHandler
from mira_stream.exporting.staging import StagedTable
from mira_stream.messages import (
    SLOTS,
    Document,
    Epoch,
    ExportedFile,
    Mark,
    Origin,
    encode,
)
from mira_stream.parquet import open_table, read_columns
from mira_stream.records import Outgoing, TopicPartition
from mira_stream.streaming.metrics import Metrics
from tests.flow.exporting_world import PARTITIONS, World, hidden, killed, visible, without_pauses


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    without_pauses(monkeypatch)


async def test_every_decision_with_its_scores_and_selected_ones_with_their_content(tmp_path: Path) -> None:
    world = await World.make(tmp_path, 90)
    await world.run()
    world.check()
    row = next(row for row in world.rows("scores") if row["id"] == "pairs-1")
    assert row | {"A1": None, "A2": 1.0, "A15": 4.0, "quality": 61.5, "overall": 64.0} == row
    assert row | {"origin_topic": "mira.documents.qa", "origin_partition": 0, "origin_offset": 0} == row
    assert row | {"card_partition": 1, "card_offset": 1000, "epoch": 3, "policy": 2, "mask": "m1"} == row
    assert (row["selected"], row["reason"], row["recommendation"], row["brief"]) == (False, "below", None, None)
    assert [f"A{number}" for number in range(1, 16)] == [name for name in row if name in SLOTS]
    kept = {row["id"]: row for row in world.rows("kept")}
    assert (kept["docs-0"]["text"], kept["docs-0"]["messages"], kept["docs-0"]["parts"]) == ("text 0", None, None)
    assert json.loads(kept["docs-0"]["meta"]) == {"url": "u/0", "n": 0}
    assert json.loads(kept["pairs-4"]["parts"]) == {"question": "q?", "answer": "a 4"}
    calls = [{"name": "run", "arguments": "{not json"}]
    assert json.loads(kept["runs-2"]["messages"]) == [{"role": "assistant", "tool_calls": calls}]
    assert {row["content_error"] for row in kept.values()} == {None}
    assert all(read_columns(path, ["source"])["source"][0] == path.parent.name for path in world.out.glob("*/*/*.par*"))


async def test_the_same_log_gives_the_same_files(tmp_path: Path) -> None:
    one, other = await World.make(tmp_path / "one", 60), await World.make(tmp_path / "other", 60)
    await one.run()
    await other.run()
    assert visible(one.out) == visible(other.out)
    assert len(visible(one.out)) > 6


@pytest.mark.parametrize("ended", [False, True])
async def test_killed_in_a_commit(tmp_path: Path, ended: bool) -> None:
    """Before the transaction ends, and after it but before the renames: nothing half is visible, the rerun is whole."""
    world = await World.make(tmp_path, 60)
    for _ in range(3):
        before = visible(world.out)
        hold = world.broker.hold_next_commit("mira.exporter", ended=ended)
        task = world.export()
        async with asyncio.timeout(30):
            await hold.reached.wait()
        staged = hidden(world.out)
        assert staged
        assert all(name.endswith(".staged") for name in staged if ".writing" not in name)
        await killed(task)
        new = visible(world.out)
        assert before.items() <= new.items()
        assert set(Counter(row["id"] for row in world.rows("scores")).values()) <= {1}
    await world.run()
    world.check()


@pytest.mark.parametrize("failure", ["unknown_committed", "unknown_open", "aborted"])
async def test_a_commit_without_an_answer(tmp_path: Path, failure: Any) -> None:
    world = await World.make(tmp_path, 60)
    for _ in range(3):
        world.broker.fail_next_commit(failure, "mira.exporter")
    await world.run()
    world.check()


@pytest.mark.parametrize("renames", range(5))
async def test_killed_between_two_renames(tmp_path: Path, renames: int) -> None:
    world = await World.make(tmp_path, 42)
    replace, done = Path.replace, 0

    def failing(self: Path, target: Path) -> Path:
        nonlocal done
        if not str(target).endswith(".staged"):
            done += 1
            if done > renames:
                raise KeyboardInterrupt  # as good as a kill: nothing is caught on the way
        return replace(self, target)

    with pytest.MonkeyPatch.context() as dying:
        dying.setattr(Path, "replace", failing)
        await seal_and_die(world)
    assert len(visible(world.out)) == renames
    await world.run()
    world.check()


async def seal_and_die(world: World) -> None:
    """One handler, driven by hand up to its first renames."""
    reader = await world.broker.reader()
    partition = TopicPartition("mira.decisions", 0)
    producer = await world.broker.producer("mira.exporter.mira.decisions.0")
    folder = OutFolder(world.out, "mira.exports")
    handler = ExportingFactory(folder, open_table, world.metrics)(partition, reader)
    await handler.open(0)
    async for record in reader.read(partition, 0, 7):
        await handler.handle(record)
    await producer.commit([*await handler.seal(7)], {partition: 7}, "mira.exporter")
    with pytest.raises(KeyboardInterrupt):
        folder.finish(world.exports()[-1])


async def test_an_owner_that_is_cancelled_while_it_stages_spoils_nothing_of_the_next_one(tmp_path: Path) -> None:
    world = await World.make(tmp_path, 12)
    reader = await world.broker.reader()
    stage, staged, go_on = StagedTable.stage, threading.Event(), threading.Event()

    def slow(self: StagedTable) -> ExportedFile:
        file = stage(self)
        staged.set()
        go_on.wait(30)
        return file

    async def sealed() -> Sequence[Outgoing]:
        handler = ExportingFactory(OutFolder(world.out, "mira.exports"), open_table, world.metrics)(decisions, reader)
        await handler.open(0)
        async for record in reader.read(decisions, 0, 6):
            await handler.handle(record)
        return await handler.seal(6)

    decisions = TopicPartition("mira.decisions", 0)
    with pytest.MonkeyPatch.context() as slowly:
        slowly.setattr(StagedTable, "stage", slow)
        loser = asyncio.create_task(sealed())
        assert await asyncio.to_thread(staged.wait, 30)
    loser.cancel()
    producer = await world.broker.producer("mira.exporter.mira.decisions.0")
    await producer.commit(await sealed(), {decisions: 6}, "mira.exporter")
    go_on.set()
    await asyncio.gather(loser, return_exceptions=True)
    await world.run()
    world.check()


async def test_two_exporters_share_the_partitions(tmp_path: Path) -> None:
    world = await World.make(tmp_path, 80)
    first = world.export()
    stop_first = world.stop
    world.metrics = Metrics()  # another process has its own
    second = world.export()
    await world.until_committed(second)
    world.add(40)
    stop_first.set()
    await first
    await world.until_committed(second)
    world.stop.set()
    await second
    world.check()


async def test_content_that_is_gone_is_said(tmp_path: Path) -> None:
    world = await World.make(tmp_path, 24)
    topic = "mira.documents.text"
    world.broker.delete_before(TopicPartition(topic, 0), 1)
    gone = Origin(topic="mira.documents.gone", partition=1, offset=0, timestamp_ms=0)
    world.decide("docs-24", "docs", gone, selected=True)
    world.count += 1
    while world.count % 6 != 0:
        world.add_one(world.document(world.count))
    world.add_one(Document(id="docs-30", source="docs", text="other"), decided_id="docs-30")
    world.add_one(world.document(31))
    kept = world.document(32)
    world.add_one(Document(id=kept.id, source=kept.source))
    await world.run()
    world.check()
    errors = {row["id"]: row["content_error"] for row in world.rows("kept")}
    assert {name: error for name, error in errors.items() if error} == {
        "docs-0": "deleted",
        "docs-24": "deleted",
        "runs-32": "not_inline",
    }
    assert all(row["text"] is None for row in world.rows("kept") if row["content_error"])
    assert sum(export.content_errors for export in world.exports()) == 3
    count = world.metrics.registry.get_sample_value
    assert count("mira_export_content_errors_total", {"source": "docs"}) == 2
    assert count("mira_export_content_errors_total", {"source": "runs"}) == 1


async def test_another_document_at_the_origin(tmp_path: Path) -> None:
    world = await World.make(tmp_path, 0)
    world.add_one(Document(id="someone-else", source="docs", text="x"), decided_id="docs-0")
    world.broker.append("mira.documents.text", b"k", b"\xff not a document", 0)
    bad = Origin(topic="mira.documents.text", partition=0, offset=1, timestamp_ms=0)
    world.decide("docs-1", "docs", bad, selected=True)
    world.decide("docs-2", "docs", bad.__class__(topic=bad.topic, partition=0, offset=9, timestamp_ms=0), selected=True)
    await world.run()
    errors = {row["id"]: row["content_error"] for row in world.rows("kept")}
    assert errors == {"docs-0": "id_differs", "docs-1": "unreadable", "docs-2": "missing"}


async def test_a_consumer_group_that_was_set_back_is_refused(tmp_path: Path) -> None:
    world = await World.make(tmp_path, 60)
    await world.run()
    producer = await world.broker.producer("someone")
    await producer.commit([], {TopicPartition("mira.decisions", 0): 0}, "mira.exporter")
    with pytest.raises(DataLossError, match="progress_differs"):
        await world.run()
    with pytest.raises(DataLossError, match=r"export_rewound.*start it without --accept-loss"):
        await world.run(accept_loss=True)


async def test_a_consumer_group_that_was_set_forward_is_refused(tmp_path: Path) -> None:
    """What lies between would never be exported, and nobody would say so."""
    world = await World.make(tmp_path, 60)
    await world.run()
    world.add(60)
    decisions = TopicPartition("mira.decisions", 0)
    stood = (await world.broker.committed("mira.exporter", [decisions]))[decisions]
    producer = await world.broker.producer("someone")
    await producer.commit([], {decisions: stood + 20}, "mira.exporter")
    with pytest.raises(DataLossError, match=rf"progress_differs.*sets it back to {stood}"):
        await world.run()
    await producer.commit([], {decisions: stood}, "mira.exporter")
    await world.run()
    world.check()


@pytest.mark.parametrize("value", [b"", b"{", b'{"schema":"epoch.v1"}', b"\xff"])
async def test_what_is_no_decision_stops_the_exporter(tmp_path: Path, value: bytes) -> None:
    world = await World.make(tmp_path, 3)
    world.broker.append("mira.decisions", b"k", value, 0)
    with pytest.raises(DataLossError, match="decision_unreadable"):
        await world.run()


async def test_a_source_that_leads_out_of_the_folder_stops_the_exporter(tmp_path: Path) -> None:
    world = await World.make(tmp_path, 3)
    value = (world.broker.records("mira.decisions")[0].value or b"").replace(b'"docs"', b'"../x"')
    world.broker.append("mira.decisions", b"k", value, 0)
    with pytest.raises(DataLossError, match="decision_unreadable"):
        await world.run()


async def test_all_epochs_in_one_table(tmp_path: Path) -> None:
    world = await World.make(tmp_path, 0)
    epoch = Epoch(
        epoch_of="docs",
        group="text",
        lineage="abc",
        epoch=0,
        cause="start",
        first_offset=0,
        policy=0,
        basis="cold_hash",
        n=0,
        weight=0.0,
        target=0.5,
        target_corrected=0.5,
        keep=None,
        drop=Mark(value=40.5, tie_fraction=0.25),
    )
    for partition in range(PARTITIONS):
        world.broker.append("mira.epochs", b"docs", encode(epoch), partition)
    for _ in range(2):
        await exporter.export_epochs(world.project, world.broker, world.out)
    columns = read_columns(world.out / "epochs.parquet")
    assert columns["partition"] == [0, 1]
    assert (columns["keep"], columns["drop"], columns["drop_tie_fraction"]) == ([None] * 2, [40.5] * 2, [0.25] * 2)
    assert columns["cause"] == ["start"] * 2


async def test_an_owner_that_slept_while_it_opened_deletes_nothing_of_the_next_one(tmp_path: Path) -> None:
    """It wakes when the other has committed and not yet renamed."""
    world = await World.make(tmp_path, 12)
    reader, decisions = await world.broker.reader(), TopicPartition("mira.decisions", 0)
    asleep, wake = asyncio.Event(), asyncio.Event()

    def handler() -> ExportingHandler:
        return ExportingFactory(OutFolder(world.out, "mira.exports"), open_table, world.metrics)(decisions, reader)

    async def sealed(owner: ExportingHandler) -> Sequence[Outgoing]:
        await owner.open(0)
        async for record in reader.read(decisions, 0, 6):
            await owner.handle(record)
        return await owner.seal(6)

    async def slept(*of: Any) -> None:
        asleep.set()
        await wake.wait()

    await sealed(handler())  # dead before its commit
    left = set(hidden(world.out))
    with pytest.MonkeyPatch.context() as sleeping:
        sleeping.setattr(exporting_handler, "last_export", slept)
        sleeper = asyncio.create_task(handler().open(0))
        await asleep.wait()
    owning = handler()
    producer = await world.broker.producer("mira.exporter.mira.decisions.0")
    await producer.commit(await sealed(owning), {decisions: 6}, "mira.exporter")
    wake.set()
    await sleeper
    assert left < set(hidden(world.out))
    await owning.committed()
    await world.run()
    world.check()


async def test_an_exporter_has_not_started_before_the_broker_has_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await World.make(tmp_path, 6)
    asked, answers, reader = asyncio.Event(), asyncio.Event(), world.broker.reader

    async def slow() -> Any:
        asked.set()
        await answers.wait()
        return await reader()

    monkeypatch.setattr(world.broker, "reader", slow)
    task = world.export()
    await asked.wait()
    for _ in range(100):
        await asyncio.sleep(0)
    assert not world.metrics.health.started().ok
    answers.set()
    await world.until_committed(task)
    assert world.metrics.health.started().ok
    world.stop.set()
    await task
