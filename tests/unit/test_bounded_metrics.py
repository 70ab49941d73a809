"""However many sources and partitions there are: a bounded number of series, the busiest by name; and the pure rules
behind back-pressure, retention and stalls."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mira_stream.messages import SLOTS, Epoch, Mark
from mira_stream.records import TopicPartition
from mira_stream.reliability.monitor import CellStatus, Status, Unit
from mira_stream.reliability.windows import CellWindow
from mira_stream.streaming.admission import Amount
from mira_stream.streaming.bounded import OTHER, Busiest, Places
from mira_stream.streaming.committed_lag import Left
from mira_stream.streaming.lag import Behind, headroom, level_of
from mira_stream.streaming.metrics import SERIES_MAX, Metrics
from mira_stream.streaming.pressure import Pressure, State
from mira_stream.streaming.score_metrics import GROUPS_MAX
from mira_stream.streaming.stage_metrics import STUCK_MAX
from mira_stream.streaming.stalls import Found
from mira_stream.streaming.watch_metrics import SOURCES_MAX, WatchMetrics
from mira_stream.window_messages import WindowQuality, WindowSummary
from mira_stream.windows import Added


def series(metrics: Metrics) -> list[str]:
    return [line for line in metrics.exposition().decode().splitlines() if not line.startswith("#")]


def epoch(source: str) -> Epoch:
    return Epoch(
        epoch_of=source, group="g", lineage="l", epoch=0, cause="start", first_offset=0, policy=0, basis="prior", n=0,
        weight=0, target=0.5, target_corrected=0.5, keep=Mark(value=60.0, tie_fraction=0.0),
        drop=Mark(value=40.0, tie_fraction=0.0),
    )  # fmt: skip


def summary(source: str, revision: int) -> WindowSummary:
    quality = WindowQuality(mean=0, p05=0, p25=0, p50=0, p75=0, p95=0)
    return WindowSummary(
        source=source, group="g", lineage="l", start_ms=0, end_ms=1, revision=revision, documents=0, tokens=0, keep=0,
        downsample=0, drop=0, selected_documents=0, selected_tokens=0, quality=quality, dimension_means=[None] * 15,
        null_counts=[0] * 15,
    )  # fmt: skip


def test_five_thousand_sources_and_five_hundred_partitions_are_few_series() -> None:
    metrics = Metrics()
    for number in range(5_000):
        source = f"source-{number}"
        for decision in ("keep", "downsample", "drop"):
            metrics.decided(source, decision)
        metrics.took(1.0)
        metrics.moved(epoch(source))
        for too_late in (False, True):
            metrics.windowed(source, Added(ahead=True, late=True, too_late=too_late))
        metrics.content_error(source)
        metrics.summed_up(summary(source, 1))
        metrics.summed_up(summary(source, 2))
    metrics.follows(12)
    for group in range(12):
        metrics.committed_lag.show(f"documents.group-{group}", Left(1, 1.0, 0.5))
        metrics.scored(f"group-{group}", [None, *range(1, 11), 3.5, 5.0, 0.0, 10.0])
        metrics.measured(f"group-{group}", dict.fromkeys(SLOTS, (0.1, 0.9)))
    for group in range(4):
        stage = f"score.{group}"
        partitions = [TopicPartition(f"documents.{group}", number) for number in range(500)]
        metrics.stages.behind(stage, [Behind(one, 5, 2.0, 0.9, 3, 1) for one in partitions])
        metrics.stages.press(stage, State.FULL, {"tokens": 1.0})
        metrics.stages.stall(stage, Found(frozenset({"no_progress"}), frozenset(partitions)))
        metrics.admitted(stage, Amount(1, 1, 1), Amount(2, 2, 2))
        metrics.generated(stage, 1, 1, 1, 1.0)
        metrics.commit_seconds.labels(stage).observe(1.0)
    found = series(metrics)
    assert len(found) <= SERIES_MAX
    assert sum(line.startswith("mira_score_bucket{") for line in found) == (GROUPS_MAX + 1) * 15 * 4
    assert sum(line.startswith("mira_mask_reliability{") for line in found) == GROUPS_MAX * 15 * 2
    assert sum(line.startswith(("mira_epoch{", "mira_sketch_n{")) for line in found) == 50 * 2
    assert 'mira_lag_seconds{partition="other",topic="documents.3"} 2.0' in found
    assert sum(line.startswith("mira_partition_stalled{") for line in found) == (STUCK_MAX + 1) * 4
    assert 'mira_partition_stalled{partition="other",stage="score.3",topic="documents.3"} 490.0' in found
    decided = [line for line in found if line.startswith("mira_decisions_total")]
    assert len(decided) == 51 * 3
    assert sum(float(line.rsplit(" ", 1)[1]) for line in decided) == 15_000


@pytest.mark.parametrize(("groups", "by_name"), [(200, 200), (600, 600), (1_500, 1_500), (5_000, None)])
def test_however_many_groups_there_are_scaling_finds_its_own_as_long_as_there_is_room(
    groups: int, by_name: int | None
) -> None:
    """Beside all that one aggregator shows of other things."""
    metrics = Metrics()
    for number in range(200):
        metrics.decided(f"source-{number}", "keep")
        metrics.moved(epoch(f"source-{number}"))
    metrics.committed_lag.show("mira.decisions", Left(1, 7.0, 0.9))
    for number in range(groups):
        metrics.committed_lag.show(f"mira.documents.g{number:04}", Left(1, float(number), 1.0 - number / 10_000))
    found = series(metrics)
    assert len(found) <= SERIES_MAX
    seconds = {
        line.split('topic="')[1].split('"')[0] for line in found if line.startswith("mira_committed_lag_seconds{")
    }
    assert "mira.decisions" in seconds
    assert ("mira.documents.other" in seconds) is (by_name is None)
    named = len(seconds - {"mira.decisions", "mira.documents.other"})
    assert named == by_name if by_name else named >= 1_500
    if by_name is None:
        assert f'mira_committed_lag_seconds{{topic="mira.documents.other"}} {groups - 1:.1f}' in found
        assert f'mira_committed_headroom_ratio{{topic="mira.documents.other"}} {1 - (groups - 1) / 10_000}' in found
    assert series(metrics) == found


def test_a_source_that_becomes_busy_gets_a_name_and_the_rarest_loses_its_series() -> None:
    metrics = Metrics()
    for number in range(50):
        for _ in range(10 + number):
            metrics.decided(f"s{number}", "keep")
    for _ in range(40):
        metrics.decided("late-comer", "keep")
    found = "\n".join(series(metrics))
    assert 'mira_decisions_total{decision="keep",source="late-comer"}' in found
    assert 'source="s0"' not in found
    assert 'source="s1"' in found
    assert 'mira_decisions_total{decision="keep",source="other"}' in found


def test_a_partition_that_moves_again_loses_its_series() -> None:
    metrics = Metrics()
    first, second = (TopicPartition("t", number) for number in range(2))
    causes = frozenset({"no_progress"})
    metrics.stages.stall("a", Found(causes, frozenset({first, second})))  # type: ignore[arg-type]
    metrics.stages.stall("b", Found(causes, frozenset({first})))  # type: ignore[arg-type]
    metrics.stages.stall("a", Found(frozenset(), frozenset()))
    found = [line for line in series(metrics) if line.startswith("mira_partition_stalled{")]
    assert found == ['mira_partition_stalled{partition="0",stage="b",topic="t"} 1.0']
    assert 'mira_stalled{cause="no_progress",stage="a"} 0.0' in series(metrics)


@given(st.lists(st.integers(0, 40), max_size=400))
def test_labels_are_bounded_and_a_steady_leader_has_one(seen: list[int]) -> None:
    left: list[str] = []
    busiest = Busiest(left.append, places=3)
    labels = {busiest.count(str(number)) for number in seen}
    assert len(labels - {OTHER} - set(left)) <= 3
    for _ in range(2048):
        last = busiest.count("leader")
    assert last == "leader"


def test_partitions_that_went_away_lose_their_series() -> None:
    metrics = Metrics()
    first, second = (TopicPartition("t", number) for number in range(2))
    metrics.stages.behind("a", [Behind(first, 1, 1.0, None, 1, 0), Behind(second, 1, 1.0, 0.5, 1, 0)])
    assert 'mira_retention_headroom_ratio{partition="0",topic="t"}' not in "\n".join(series(metrics))
    metrics.stages.behind("a", [Behind(first, 2, 1.0, None, 1, 0)])
    found = "\n".join(series(metrics))
    assert 'partition="1"' not in found
    assert 'mira_lag_records{partition="0",topic="t"} 2.0' in found


def test_a_partition_two_stages_read_stays_while_one_of_them_has_it() -> None:
    places = Places(places=3)
    key = ("t", 0)
    assert places.choose("a", [key]) == ({key}, [])
    assert places.choose("b", [key, ("t", 1), ("t", 2)])[0] == {key, ("t", 1)}
    assert places.choose("a", []) == (set(), [])
    assert places.choose("b", []) == (set(), [key, ("t", 1)])


def test_waiting_is_put_down_to_what_it_was_for() -> None:
    pressure = Pressure(0.0)
    pressure.turn(State.FULL, "tokens", 1.0)
    pressure.turn(State.FULL, "tokens", 2.0)
    assert pressure.take(4.0) == {"tokens": 3.0}
    pressure.turn(State.FULL, "engine", 5.0)
    pressure.turn(State.THROTTLED, None, 7.0)
    assert pressure.take(100.0) == {"tokens": 1.0, "engine": 2.0}
    assert pressure.take(200.0) == {}


def test_headroom_is_what_retention_leaves() -> None:
    assert headroom(0.0, 1000) == 1.0
    assert headroom(0.75, 1000) == 0.25
    assert headroom(9.0, 1000) == 0.0
    assert headroom(9.0, None) is None
    assert [level_of(left) for left in (None, 1.0, 0.5, 0.49, 0.2, 0.19, 0.0)] == [
        "", "", "", "warning", "warning", "error", "error",
    ]  # fmt: skip


def test_the_watch_shows_sources_under_alarm_first_and_few_series() -> None:
    metrics = Metrics()
    watch = WatchMetrics(metrics.registry)
    window = CellWindow(**dict.fromkeys(CellWindow._fields, 1))
    cells = [
        CellStatus(
            Unit(f"s{number}", "l", "m", "t"), "g", f"A{slot}", True, window._replace(n=100 + number),
            "unreliable" if number == 7 else None, None,
        )
        for number in range(500)
        for slot in range(1, 16)
    ]  # fmt: skip
    watch.shown(Status(cells, []))
    found = series(metrics)
    assert len(found) <= SERIES_MAX
    sources = {line.split('source="')[1].split('"')[0] for line in found if line.startswith("mira_watch_mae{")}
    assert sources == {"s7", *(f"s{number}" for number in range(500 - (SOURCES_MAX - 1), 500))}
