"""A process shows at most 2,000 series, whatever it is given: 1,000 sources, 200 groups, 64 partitions a topic.

Run with `-s` to see the headroom of each service.
"""

from collections import Counter
from collections.abc import Callable

import pytest

from mira_stream.messages import SLOTS
from mira_stream.records import TopicPartition
from mira_stream.streaming.admission import Amount
from mira_stream.streaming.committed_lag import Left
from mira_stream.streaming.lag import Behind
from mira_stream.streaming.metrics import SERIES_MAX, Metrics
from mira_stream.streaming.pressure import State
from mira_stream.streaming.stalls import Found
from mira_stream.windows import Added
from tests.unit.test_bounded_metrics import epoch, summary

SOURCES, GROUPS, PARTITIONS, BROKERS = 1_000, 200, 64, 9


def stage(metrics: Metrics, name: str, topic: str, results: list[str]) -> None:
    """All that a runner shows of its stage."""
    metrics.begin(name, [topic])
    metrics.records_in.labels(name, topic).inc()
    metrics.skipped.labels(name, topic).inc()
    for result in results:
        metrics.records_out.labels(name, result).inc()
    metrics.commit_seconds.labels(name).observe(1.0)
    metrics.paused.labels(name).set(1)
    metrics.admitted(name, Amount(1, 1, 1), Amount(2, 2, 2))
    partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
    metrics.stages.behind(name, [Behind(one, 5, 2.0, 0.9, 3, 1) for one in partitions])
    metrics.stages.press(name, State.FULL, {"tokens": 1.0})
    metrics.stages.stall(name, Found(frozenset({"no_progress"}), frozenset(partitions)))
    metrics.cluster.held_back.labels(topic).set(1)
    metrics.cluster.behind.labels(topic).set(1)
    for broker in range(BROKERS):
        metrics.cluster.disk_free.labels(str(broker)).set(0.5)


def scorer(metrics: Metrics) -> None:
    metrics.may_die("score")
    for number in range(GROUPS):
        group = f"group-{number:03}"
        metrics.tending(group, lambda: True, lambda: 1.0)
        stage(
            metrics, f"score.{group}", f"mira.documents.{group}", ["mira.scores", "mira.progress", "mira.dead-letters"]
        )
        metrics.generated(group, 1, 1, 1, 1.0)
        metrics.engine_restarted(group, "died")
        for repair in ("thinking", "markup", "range"):
            metrics.repaired(group, repair)
        for sent in ("sure", "near", "unread"):
            metrics.sent_on(group, sent)
        metrics.scored(group, [None, *range(1, 11), 3.5, 5.0, 0.0, 10.0])
        metrics.measured(group, dict.fromkeys(SLOTS, (0.1, 0.9)))


def aggregator(metrics: Metrics) -> None:
    results = [f"mira.{topic}" for topic in ("decisions", "epochs", "windows", "state", "dead-letters")]
    metrics.may_die("aggregate")
    stage(metrics, "aggregate", "mira.scores", results)
    for number in range(SOURCES):
        source = f"source-{number}"
        for decision in ("keep", "downsample", "drop"):
            metrics.decided(source, decision)
        metrics.took(1.0)
        metrics.moved(epoch(source))
        metrics.stands(source, 10, 0.5)
        for too_late in (False, True):
            metrics.windowed(source, Added(ahead=True, late=True, too_late=too_late))
        metrics.summed_up(summary(source, 1))
        metrics.summed_up(summary(source, 2))
    for number in range(GROUPS):
        metrics.committed_lag.show(f"mira.documents.group-{number:03}", Left(1, 1.0, 0.5))


def exporter(metrics: Metrics) -> None:
    stage(metrics, "export", "mira.decisions", ["mira.exports"])
    for number in range(SOURCES):
        metrics.content_error(f"source-{number}")


def shown(metrics: Metrics) -> list[str]:
    return [line for line in metrics.exposition().decode().splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("fill", [scorer, aggregator, exporter])
def test_no_process_shows_more_series_than_its_budget(fill: Callable[[Metrics], None]) -> None:
    metrics = Metrics()
    fill(metrics)
    found = shown(metrics)
    most = Counter(line.partition("{")[0] for line in found).most_common(12)
    print(f"\n{fill.__name__}: {len(found)} of {SERIES_MAX} series, headroom {SERIES_MAX - len(found)}; most: {most}")
    assert 300 < len(found) <= SERIES_MAX


def test_groups_without_a_name_of_their_own_are_counted_and_the_worst_of_them_is_seen() -> None:
    metrics = Metrics()
    scorer(metrics)
    metrics.engine_up.labels("group-150").set_function(lambda: 0)
    metrics.stages._show("mira.documents.group-199", "0", (7, 900.0, 0.1, 1, 1))
    metrics.prompt_tokens.labels("group-199").inc(5)
    found = dict(line.rsplit(" ", 1) for line in shown(metrics))
    up = {name: value for name, value in found.items() if name.startswith("mira_engine_up{")}
    named = len(up) - 1
    assert 4 <= named < GROUPS
    assert up.pop('mira_engine_up{group="other"}') == "0.0"
    assert set(up.values()) == {"1.0"}
    assert float(found['mira_prompt_tokens_total{group="other"}']) == GROUPS - named + 5
    assert float(found['mira_in_flight_limit{stage="score.other",unit="documents"}']) == 2 * (GROUPS - named)
    assert float(found['mira_lag_seconds{partition="0",topic="mira.documents.other"}']) == 900.0
    assert float(found['mira_retention_headroom_ratio{partition="0",topic="mira.documents.other"}']) == 0.1
    assert float(found['mira_engine_seconds_count{group="other"}']) == GROUPS - named
    assert float(found['mira_engine_seconds_bucket{group="other",le="+Inf"}']) == GROUPS - named


def test_names_do_not_come_back_when_there_is_room_again() -> None:
    metrics = Metrics()
    scorer(metrics)
    before = {line.partition(" ")[0] for line in shown(metrics) if line.startswith("mira_engine_up")}
    metrics.commit_seconds.clear()
    assert {line.partition(" ")[0] for line in shown(metrics) if line.startswith("mira_engine_up")} == before


def test_few_groups_keep_all_their_names() -> None:
    metrics = Metrics()
    for number in range(6):
        stage(metrics, f"score.g{number}", f"mira.documents.g{number}", ["mira.scores"])
    assert "other" not in {line.partition('stage="score.')[2].partition('"')[0] for line in shown(metrics)}
