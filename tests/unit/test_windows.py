"""Event-time windows against a count from scratch: out of order, late, killed at any time, closed by the clock."""

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from mira_stream.messages import Decision, Prior, decoder, encode
from mira_stream.sections import WINDOWS_MAX, WindowsSection
from mira_stream.selecting.windowing import CORRECTED_MS, TOO_LATE_OF, Windowing
from mira_stream.window_messages import Drift, WindowsState, WindowSummary
from mira_stream.windows import AHEAD_MS, SourceWindows, event_time, is_drifted, thaw
from tests.unit.windows_model import GRACE_S, SECTION, SIZE_S, T0, Aggregator, decision, totals, truth


class Step(NamedTuple):
    cards: int
    seconds: int
    checkpoint: bool
    killed: bool


STEPS = st.lists(
    st.builds(Step, st.integers(0, 8), st.sampled_from((0, 1, 9, 31, 200)), st.booleans(), st.booleans()), max_size=30
)


def cards(windows: int) -> st.SearchStrategy[list[tuple[int, str, str]]]:
    """(second, source, lineage): event times jump about within so many windows."""
    second = st.integers(0, windows * SIZE_S - 1)
    return st.lists(st.tuples(second, st.sampled_from(("books", "wiki")), st.sampled_from(("l1", "l2"))), max_size=60)


def run(log: list[Decision], steps: list[Step]) -> Aggregator:
    aggregator = Aggregator(log)
    for step in steps:
        aggregator.now_ms += step.seconds * 1_000
        aggregator.transaction(step.cards, checkpoint=step.checkpoint, killed=step.killed)
        check(aggregator)
    while aggregator.committed < len(log):
        aggregator.transaction(7)
    check(aggregator)
    return aggregator


def check(aggregator: Aggregator) -> None:
    """Each closed window's highest revision says what the cards before its offset say; each window closed by event
    time is there. Holds while no window was given up."""
    log = aggregator.log[: aggregator.committed]
    expected = truth(log)
    newest = aggregator.newest()
    for key, summary in newest.items():
        assert totals(summary) == truth(log[: summary.next_offset])[key]
    for source in {one.source for one in log}:
        watermark = max(one.event_time_ms for one in log if one.source == source) - GRACE_S * 1_000
        for key in expected:
            assert key[0] != source or key[2] + SIZE_S * 1_000 > watermark or key in newest


@given(cards(WINDOWS_MAX // 2), STEPS)
def test_every_revision_is_complete_and_written_once(told: list[tuple[int, str, str]], steps: list[Step]) -> None:
    log = [decision(at, second, source, lineage=lineage) for at, (second, source, lineage) in enumerate(told)]
    aggregator = run(log, steps)
    aggregator.now_ms += 10_000_000
    aggregator.transaction(0)
    assert {key: totals(summary) for key, summary in aggregator.newest().items()} == truth(log)
    before = len(aggregator.summaries)
    aggregator.start()
    aggregator.now_ms += 10_000_000
    aggregator.transaction(0)
    assert len(aggregator.summaries) == before


@given(cards(40), STEPS)
def test_what_is_not_kept_any_more_is_counted(told: list[tuple[int, str, str]], steps: list[Step]) -> None:
    log = [decision(at, second, source, lineage=lineage) for at, (second, source, lineage) in enumerate(told)]
    aggregator = Aggregator(log)
    for step in [*steps, Step(len(log), 0, False, False)]:
        aggregator.transaction(step.cards, checkpoint=step.checkpoint, killed=step.killed)
    aggregator.now_ms += 10_000_000
    aggregator.transaction(0)
    newest = aggregator.newest()
    for source in {one.source for one in log}:
        state = decoder(WindowsState).decode(aggregator.states[source])
        assert len(state.windows) <= WINDOWS_MAX
        inside = sum(summary.documents for key, summary in newest.items() if key[0] == source)
        assert inside + state.too_late == sum(one.source == source for one in log)


@given(cards(20))
def test_a_state_is_the_windows_it_was_made_of(told: list[tuple[int, str, str]]) -> None:
    """Also for what comes after it."""
    log = [decision(at, second, lineage=lineage) for at, (second, _, lineage) in enumerate(told)]
    whole = SourceWindows("books", "text", SIZE_S * 1_000, GRACE_S * 1_000)
    for at, one in enumerate(log):
        if at == len(log) // 2:
            torn = thaw(decoder(WindowsState).decode(encode(whole.freeze(at))))
        whole.add(one)
        if at >= len(log) // 2:
            torn.add(one)
            assert encode(torn.freeze(at)) == encode(whole.freeze(at))


def test_one_sources_clock_never_moves_anothers() -> None:
    log = [decision(0, 10, "books"), decision(1, 5_000, "wiki"), decision(2, 20, "books")]
    aggregator = Aggregator(log)
    aggregator.transaction(3)
    assert not aggregator.summaries


def test_a_late_document_makes_a_revision_and_many_in_one_transaction_make_one() -> None:
    log = [decision(0, 10), decision(1, 300), decision(2, 20), decision(3, 30), decision(4, 310)]
    aggregator = Aggregator(log)
    aggregator.transaction(2)
    aggregator.transaction(3)
    assert [(s.start_ms - T0, s.revision, s.documents, s.late) for s in aggregator.summaries] == [
        (0, 1, 1, 0), (0, 2, 3, 2),
    ]  # fmt: skip


def test_many_small_transactions_with_late_documents_correct_their_windows_every_ten_seconds() -> None:
    """Four commits a second for a minute, each with a document for one of two closed windows: 11 corrections, with
    six states, not 240."""
    log = [decision(0, 10), decision(1, 110), decision(2, 400)] + [decision(at, at % 2 * 100) for at in range(3, 243)]
    aggregator = Aggregator(log)
    aggregator.transaction(3)
    assert [summary.revision for summary in aggregator.summaries] == [1, 1]
    written = 0
    for _ in range(240):
        written += aggregator.transaction(1)
        aggregator.now_ms += 250
    last = {summary.start_ms - T0: summary.revision for summary in aggregator.summaries}
    assert (last, written) == ({0: 6, 100_000: 7}, 6)
    aggregator.now_ms += CORRECTED_MS
    aggregator.transaction(0)
    assert {key: totals(summary) for key, summary in aggregator.newest().items()}.items() <= truth(log).items()


@given(cards(WINDOWS_MAX // 2), STEPS)
def test_a_late_document_is_in_a_summary_within_ten_seconds(
    told: list[tuple[int, str, str]], steps: list[Step]
) -> None:
    """Of what is committed: at the first transaction or tick from then on, and a restart does not wait any longer.
    Holds while no window was given up."""
    log = [decision(at, second, source, lineage=lineage) for at, (second, source, lineage) in enumerate(told)]
    aggregator = Aggregator(log)
    since_ms: dict[tuple[str, str, int], int] = {}
    for step in [*steps, Step(len(log), 0, False, False)]:
        aggregator.now_ms += step.seconds * 1_000
        aggregator.transaction(step.cards, checkpoint=step.checkpoint, killed=step.killed)
        expected, newest = truth(log[: aggregator.committed]), aggregator.newest()
        waiting = {key for key, summary in newest.items() if totals(summary) != expected[key]}
        since_ms = {key: since_ms.get(key, aggregator.now_ms) for key in waiting}
        on_time = all(aggregator.now_ms - begun_ms < CORRECTED_MS for begun_ms in since_ms.values())
        assert on_time or step.killed  # that transaction was none


def test_a_window_that_is_given_up_is_corrected_at_once() -> None:
    log = [decision(0, 10), decision(1, 300), decision(2, 20), decision(3, 30)]
    log += [decision(at, at * SIZE_S) for at in range(4, 4 + WINDOWS_MAX)]
    aggregator = Aggregator(log)
    for cards_each in (2, 1, 1, WINDOWS_MAX):
        aggregator.transaction(cards_each)
    told = [(s.revision, s.documents) for s in aggregator.summaries if s.start_ms == T0]
    assert told == [(1, 1), (2, 2), (3, 3)]


def test_the_clock_closes_a_window_only_when_its_source_is_silent_and_its_time_is_over() -> None:
    aggregator = Aggregator([decision(0, 10), decision(1, 20)])
    aggregator.transaction(1)
    aggregator.now_ms = T0 + (SIZE_S + GRACE_S) * 1_000 - 1
    aggregator.transaction(0)
    assert not aggregator.summaries
    aggregator.now_ms += 10_000
    aggregator.transaction(1)
    assert not aggregator.summaries, "a card came just now"
    aggregator.now_ms += GRACE_S * 1_000
    aggregator.transaction(0)
    assert [summary.documents for summary in aggregator.summaries] == [2]


def test_a_time_too_far_ahead_or_not_given_is_the_time_of_ingest() -> None:
    ingested = T0 + 5_000
    for claimed, expected, ahead, dated in (
        (ingested + AHEAD_MS, ingested + AHEAD_MS, False, True),
        (ingested + AHEAD_MS + 1, ingested, True, False),
        (0, ingested, False, False),
        (ingested, ingested, False, False),
        (-5, -5, False, True),
    ):
        assert event_time(decision(0, 0, event_time_ms=claimed, ingested_ms=ingested)) == (expected, ahead, dated)


@given(st.integers(0, 12), st.sampled_from((0, T0 + 10**9, T0 + 10**10)))
def test_a_document_without_a_time_of_its_own_moves_no_clock_of_those_that_have_one(at: int, claimed: int) -> None:
    """Wherever it comes, also first: what is late stays the same."""
    times = [10, 50, 120, 90, 131, 20, 140, 232, 199, 240, 110, 250]
    log = [decision(number, second) for number, second in enumerate(times)]
    alone, disturbed = (SourceWindows("books", "text", SIZE_S * 1_000, GRACE_S * 1_000) for _ in range(2))
    expected = [alone.add(one) for one in log]
    found = [disturbed.add(one) for one in log[:at]]
    disturbed.add(decision(99, 0, event_time_ms=claimed))
    disturbed = thaw(decoder(WindowsState).decode(encode(disturbed.freeze(at))))
    found += [disturbed.add(one) for one in log[at:]]
    assert found == expected
    assert disturbed.largest_ms == alone.largest_ms


def test_a_source_that_moved_is_told_of_under_the_group_that_decided() -> None:
    log = [decision(0, 10), decision(1, 110, group="qa"), decision(2, 300, group="qa")]
    aggregator = Aggregator(log)
    aggregator.transaction(2)
    aggregator.transaction(1)
    assert [(s.start_ms - T0, s.group) for s in aggregator.summaries] == [(0, "text"), (100_000, "qa")]


@pytest.mark.parametrize("epoch_of", ["group:text", "group:qa", "*", "books"])
def test_a_border_of_any_group_that_decided_of_a_source_writes_its_windows_once(epoch_of: str) -> None:
    windowing = Windowing(SECTION, lambda *_: None)
    for one in (decision(0, 10), decision(1, 20, group="qa"), decision(2, 30, "wiki", group="agent")):
        windowing.add(one)
    assert "books" in [state.source for state in windowing.at_border(epoch_of, 3)]
    assert "books" not in [state.source for state in windowing.at_border("*", 3)]
    assert not windowing.at_border("group:text", 3)


def test_a_source_without_times_goes_by_the_time_of_ingest() -> None:
    source = SourceWindows("books", "text", SIZE_S * 1_000, GRACE_S * 1_000)
    for at, second in enumerate((10, 300)):
        source.add(decision(at, 0, event_time_ms=0, ingested_ms=T0 + second * 1_000))
    assert [start - T0 for (start, _), _ in source.due()] == [0]


def test_another_size_never_opens_a_window_that_overlaps_an_older_one() -> None:
    source = SourceWindows("books", "text", 100_000, 0)
    source.add(decision(0, 250))
    source.resize(70_000, 0, 1)
    assert source.freeze(1).resized_at == 1
    assert [window.end_ms - T0 for _, window in source.given_up] == [300_000]
    assert source.add(decision(1, 290)).too_late
    assert not source.add(decision(2, 380)).too_late
    assert min(source.windows)[0] >= T0 + 300_000


def test_a_grace_longer_than_the_kept_windows_last_is_refused() -> None:
    assert WindowsSection(size_s=60, grace_s=60 * (WINDOWS_MAX - 2))
    with pytest.raises(ValueError, match="at most 240"):
        WindowsSection(size_s=60, grace_s=241)


def test_a_source_that_is_mostly_too_late_is_warned_of_once_and_again_after_it_was_better() -> None:
    ahead = [decision(at, at * SIZE_S) for at in range(WINDOWS_MAX + 1)]
    log = ahead + [decision(len(ahead) + at, 0) for at in range(2 * TOO_LATE_OF)]
    log += [decision(len(log) + at, WINDOWS_MAX * SIZE_S) for at in range(2 * TOO_LATE_OF)]
    log += [decision(len(log) + at, 0) for at in range(2 * TOO_LATE_OF)]
    aggregator = Aggregator(log)
    with capture_logs() as said:
        while aggregator.committed < len(log):
            aggregator.transaction(50)
        aggregator.start()
        aggregator.transaction(0)
    assert [(line["event"], line["source"]) for line in said] == [("most documents are too late", "books")] * 2


def summed_up(decisions: list[Decision], prior: Prior | None = None) -> WindowSummary:
    source = SourceWindows("books", "text", SIZE_S * 1_000, GRACE_S * 1_000)
    for one in decisions:
        source.add(one)
    ((key, window),) = source.windows.items()
    return source.summary(key, window, prior, len(decisions))


def test_what_a_summary_says() -> None:
    qualities = [50.0, 60.0, 70.0, 80.0]
    summary = summed_up(
        [
            decision(at, 1, quality=quality, scores=[float(at), *[None] * 14], decision="keep", recommendation=said)
            for at, (quality, said) in enumerate(zip(qualities, ("keep", "drop", None, "keep"), strict=True))
        ]
    )
    assert summary.quality.mean == 65.0
    assert (summary.quality.p05, summary.quality.p50, summary.quality.p95) == (50.0, 60.0, 80.0)
    assert summary.dimension_means == [1.5, *[None] * 14]
    assert summary.null_counts == [0, *[4] * 14]
    assert summary.recommendation_agreement == pytest.approx(2 / 3, abs=1e-4)


def prior(low: int, high: int) -> Prior:
    return Prior(cells={str(cell): 1.0 for cell in range(low, high)}, documents=high - low, tokens=0)


def test_drift_is_the_distance_from_the_prior_of_the_windows_one_mask() -> None:
    same = [decision(at, 1, quality=(400 + at) / 10) for at in range(200)]
    shifted = [decision(at, 1, quality=(450 + at) / 10) for at in range(200)]
    mixed = [decision(at, 1, mask="m2" if at else "m1") for at in range(200)]
    assert summed_up(same, prior(400, 600)).drift == Drift(ks_d=0.0, w1=0.0)
    moved = summed_up(shifted, prior(400, 600))
    assert moved.drift == Drift(ks_d=0.25, w1=5.0)
    assert moved.drifted
    assert summed_up(mixed, prior(400, 600)).drift is None
    assert summed_up(same[:99], prior(400, 600)).drift is None


def test_drifted_needs_an_effect_and_more_than_chance() -> None:
    assert is_drifted(Drift(ks_d=0.2, w1=0.5), 1_000, 1_000)
    assert not is_drifted(Drift(ks_d=0.2, w1=5.0), 100, 100)
    assert not is_drifted(Drift(ks_d=0.09, w1=1.9), 10**6, 10**6)
