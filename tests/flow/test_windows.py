"""Windows through the aggregator: restarts anywhere, masks that change, and the clock of a silent source."""

import asyncio
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.aggregator import aggregate
from consumers.exporter import export_epochs
from mira_stream.parquet import read_columns
from mira_stream.streaming.metrics import Metrics
from mira_stream.window_messages import WindowSummary
from tests.flow.selecting_world import PRIOR, SCORES, World
from tests.unit.selecting_cards import mask
from tests.unit.windows_model import GRACE_S, SIZE_S, T0, totals, truth

PACE_S = 5


def newest(world: World) -> dict[tuple[str, str, int], WindowSummary]:
    """The highest revision of each window; revisions count up from 1, each once."""
    found: dict[tuple[str, str, int], WindowSummary] = {}
    for summary in world.summaries():
        key = (summary.source, summary.lineage, summary.start_ms)
        assert summary.revision == (found[key].revision + 1 if key in found else 1)
        found[key] = summary
    return found


def check(world: World) -> dict[tuple[str, str, int], WindowSummary]:
    """What is closed says what was decided when it was summed up; what is closed by event time is there."""
    decisions = world.decisions()
    expected = truth(decisions)
    found = newest(world)
    for key, summary in found.items():
        assert totals(summary) == truth([d for d in decisions if d.card.offset < summary.next_offset])[key]
    for source in {decision.source for decision in decisions}:
        watermark = max(d.event_time_ms for d in decisions if d.source == source) - GRACE_S * 1_000
        assert {key for key in expected if key[0] == source and key[2] + SIZE_S * 1_000 <= watermark} <= found.keys()
    return found


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 150), max_size=4), st.lists(st.integers(1, 60), min_size=1, max_size=3))
def test_a_restart_anywhere_loses_no_document_of_a_window_and_repeats_no_revision(
    cuts: list[int], transactions: list[int]
) -> None:
    async def run(root: Path) -> None:
        world = await World.create(root)
        world.publish_masks()
        world.fill(150, pace_s=PACE_S)
        for cut in [*sorted(cuts), 150]:
            await world.aggregate(transactions, cut)
            check(world)
        assert len(newest(world)) >= 8

    with tempfile.TemporaryDirectory() as root:
        asyncio.run(run(Path(root)))


async def test_a_transaction_that_was_not_committed_is_summed_up_again(tmp_path: Path) -> None:
    world = await World.create(tmp_path)
    world.publish_masks()
    world.fill(60, pace_s=PACE_S)
    await world.aggregate(end=20)
    reader = await world.broker.reader()
    handler = world.handler(SCORES, reader)
    await handler.open(20)
    async for record in reader.read(SCORES, 20, 60):
        await handler.handle(record)
    assert await handler.seal(60), "something was due, and is void"
    await world.aggregate()
    check(world)


async def test_a_window_under_two_masks_has_no_drift(tmp_path: Path) -> None:
    world = await World.create(tmp_path)
    world.publish_masks()
    world.fill(120, sources=("books",), pace_s=0)
    world.now_ms += 10**6
    await world.aggregate()
    await world.tick(10**7)
    world.publish(mask("m2", source="books", dimensions=["A1", "A4", "A9"], prior=PRIOR))
    world.fill(10, seed=2, sources=("books",))
    await world.aggregate((10,))
    first, second = world.summaries()
    assert (first.mask, first.revision, first.documents) == ("m1", 1, 120)
    assert first.drift is not None
    assert (second.mask, second.revision, second.documents, second.late) == (None, 2, 130, 10)
    assert second.drift is None


async def test_what_the_clock_closed_stays_closed_after_a_restart(tmp_path: Path) -> None:
    world = await World.create(tmp_path)
    world.publish_masks()
    world.fill(30, pace_s=PACE_S)
    await world.aggregate()
    await world.tick(10**7)
    assert set(check(world)) == set(truth(world.decisions()))
    count = len(world.summaries())
    await world.tick(10**7)
    assert len(world.summaries()) == count


async def test_the_runner_asks_a_quiet_partition_and_moves_no_offset(tmp_path: Path) -> None:
    """Decided, then silent: the clock closes the window, once, in a transaction of its own."""
    world = await World.create(tmp_path)
    world.publish_masks()
    cards = world.fill(5, sources=("books",))
    metrics, stop = Metrics(), asyncio.Event()

    async def until(size: int, topic: str) -> None:
        while len(world.broker.records(topic)) < size:
            await asyncio.sleep(0)
            assert not running.done()

    running = asyncio.create_task(
        aggregate(world.project, world.broker, metrics, stop, now=lambda: world.now_ms, tick_s=0.01)
    )
    await until(len(cards), "mira.decisions")
    group = world.project.consumer_group("aggregator")
    while (await world.broker.committed(group, [SCORES])).get(SCORES) != len(cards):  # noqa: ASYNC110
        await asyncio.sleep(0)
    world.now_ms = T0 + 10**7
    await until(1, "mira.windows")
    world.fill(1, sources=("books",))
    await until(2, "mira.windows")
    stop.set()
    await running
    assert [(s.revision, s.documents, s.late, s.next_offset) for s in world.summaries()] == [(1, 5, 0, 5), (2, 6, 1, 6)]
    assert (await world.broker.committed(group, [SCORES]))[SCORES] == 6
    sample = metrics.registry.get_sample_value
    assert sample("mira_windows_total", {"source": "books", "kind": "closed"}) == 1
    assert sample("mira_windows_total", {"source": "books", "kind": "corrected"}) == 1
    assert sample("mira_late_documents_total", {"source": "books", "kept": "yes"}) == 1


async def test_an_aggregator_that_stops_in_order_holds_no_correction_back(tmp_path: Path) -> None:
    """Its clock stands still, so that all but the first corrections of a source are held back."""
    world = await World.create(tmp_path)
    world.publish_masks()
    stop = asyncio.Event()
    running = asyncio.create_task(
        aggregate(world.project, world.broker, Metrics(), stop, now=lambda: world.now_ms, tick_s=3_600.0)
    )
    for turn in range(4):
        world.fill(20, seed=turn, pace_s=PACE_S, spread_s=3 * SIZE_S)
        while len(world.decisions()) < 20 * (turn + 1):
            await asyncio.sleep(0)
            assert not running.done()
    held = {key for key, summary in newest(world).items() if totals(summary) != truth(world.decisions())[key]}
    assert held
    commit = world.broker.hold_next_commit()
    stop.set()
    await asyncio.wait_for(commit.reached.wait(), 30)
    for _ in range(100):  # a stop that does not wait for it has cut it off by then
        await asyncio.sleep(0)
    commit.release()
    await running
    assert {key: totals(summary) for key, summary in check(world).items()}.items() <= truth(world.decisions()).items()


async def test_every_revision_is_a_row_of_the_export(tmp_path: Path) -> None:
    world = await World.create(tmp_path)
    world.publish_masks()
    world.fill(100, pace_s=PACE_S)
    await world.aggregate()
    for _ in range(2):
        await export_epochs(world.project, world.broker, tmp_path / "out")
    columns = read_columns(tmp_path / "out" / "windows.parquet")
    summaries = world.summaries()
    assert len(columns["offset"]) == len(summaries) > 5
    for name in ("source", "start_ms", "revision", "documents", "selected_tokens", "late", "next_offset"):
        assert columns[name] == [getattr(summary, name) for summary in summaries]
    assert columns["quality_p95"] == [summary.quality.p95 for summary in summaries]
    assert columns["A3_mean"] == [summary.dimension_means[2] for summary in summaries]
    assert columns["A15_nulls"] == [summary.null_counts[14] for summary in summaries]


async def test_a_source_that_jumps_over_windows_keeps_the_newest_and_counts_the_rest(tmp_path: Path) -> None:
    world = await World.create(tmp_path)
    world.publish_masks()
    world.fill(100, pace_s=200, spread_s=20_000)
    await world.aggregate((1, 30))
    await world.tick(10**7)
    told = truth(world.decisions())
    found = newest(world)
    assert all(summary.documents <= told[key].documents for key, summary in found.items())
    too_late = sum(added.too_late for _, added in world.tally.added)
    assert sum(summary.documents for summary in found.values()) + too_late == 100
    assert too_late > 0
