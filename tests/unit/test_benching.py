"""The pure parts of `bench`: percentiles, windows, arrivals, intervals."""

import asyncio
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from mira_stream.benching.frame import Frame
from mira_stream.benching.intervals import compare, ratio
from mira_stream.benching.load import Load, arrivals
from mira_stream.benching.result import (
    SCHEMA,
    Kind,
    Latency,
    Run,
    Turn,
    Window,
    at_once_note,
    block_of,
    latency_of,
    percentile,
)
from mira_stream.benching.saving import check_out, load_run, save
from mira_stream.benching.standin import STAND_IN
from mira_stream.benching.tracking import WINDOWS_MAX, Tracker
from mira_stream.benching.turns import aloud
from mira_stream.cli.main import main
from mira_stream.errors import UsageError


def turn(rate: float, p99: float = 30.0, windows: int = 1) -> Turn:
    latency = Latency(10.0, 20.0, p99)
    parts = [Window(start_s=n * 10 / windows, seconds=10 / windows, documents=int(rate * 10 / windows),
                    latency_ms=latency) for n in range(windows)]  # fmt: skip
    return Turn(
        load=Load(documents=int(rate * 10)), documents=int(rate * 10), dead_letters=1, seconds=10.0,
        latency_ms=latency, prompt_tokens=1000, cached_tokens=250, generation_tokens=100, engine_busy=0.5,
        waiting=0.25, lag_mean=3.0, lag_most=9, peak_memory_mib=100.0, cpu_s=1.0, windows=parts,
    )  # fmt: skip


def run(turns: list[Turn], kind: Kind = "kafka", cores: int = 2) -> Run:
    return Run(
        schema=SCHEMA, kind=kind, measured="", stand_in="", taken_at="20260101T000000Z",
        machine={"cores": cores, "load_average": 2.0}, versions={},
        settings={"groups": {"text": {"mode": "scores"}}, "limits": {"a": 1}}, load={}, notes=[],
        result=block_of(turns), turns=turns,
    )  # fmt: skip


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.001, 1))
def test_a_percentile_is_the_least_value_with_that_share_at_or_under_it(values: list[float], share: float) -> None:
    ordered = sorted(values)
    found = percentile(ordered, share)
    assert sum(value <= found for value in ordered) >= share * len(ordered) - 1e-9
    assert sum(value < found for value in ordered) < share * len(ordered) + 1e-9


def test_latency_of_a_hundred() -> None:
    assert latency_of([n / 1000 for n in range(100, 0, -1)]) == Latency(50.0, 95.0, 99.0)


def test_arrivals_have_the_rate_the_seed_and_no_rhythm() -> None:
    times = list(arrivals(50.0, 20_000, 3))
    assert times == list(arrivals(50.0, 20_000, 3)) != list(arrivals(50.0, 20_000, 4))
    gaps = [later - at for at, later in pairwise(times)]
    assert fmean(gaps) == pytest.approx(1 / 50, rel=0.03)
    assert fmean(gap**2 for gap in gaps) == pytest.approx(2 / 50**2, rel=0.1)  # exponential: E[x^2] = 2 / rate^2


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 50), st.booleans()), min_size=1, max_size=60))
def test_every_outcome_is_in_one_window(documents: list[tuple[float, float, bool]]) -> None:
    tracker = Tracker()
    for number, (due, takes, dead) in enumerate(documents):
        key = b"%d" % number
        tracker.sent(key, due)
        assert tracker.ended(key, due + takes, dead=dead)
    windows = tracker.windows()
    assert sum(window.documents for window in windows) == len(documents) == tracker.count_ended
    assert 1 <= len(windows) <= WINDOWS_MAX
    assert sum(window.seconds for window in windows) == pytest.approx(tracker.seconds)
    assert tracker.dead == sum(dead for _, _, dead in documents) == sum(window.dead_letters for window in windows)
    assert 0 < tracker.kept_up() <= 1
    assert tracker.first == min(due for due, _, _ in documents)


def test_a_second_outcome_is_counted_and_a_strangers_is_none() -> None:
    tracker = Tracker()
    tracker.sent(b"a", 1.0)
    assert tracker.ended(b"a", 2.0)
    assert not tracker.ended(b"a", 3.0)
    assert not tracker.ended(b"b", 3.0)
    assert (tracker.doubled, tracker.count_ended, tracker.seconds) == (1, 1, 1.0)


def test_the_block_holds_medians_and_the_most() -> None:
    block = block_of([turn(10), turn(30), turn(20)])
    assert (block.documents_per_s, block.repetitions, block.documents, block.dead_letters) == (19.9, 3, 600, 3)
    assert block.prompt_tokens_per_s == 100
    assert block.cached_prompt_share == 0.25
    assert block.cpu_us_per_document == 5_000
    assert block.latency_ms == Latency(10.0, 20.0, 30.0)
    other = [
        replace(turn(10), generation_tokens=tokens, engine_busy=share, waiting=share / 2, lag_mean=lag, lag_most=tokens)
        for tokens, share, lag in ((100, 0.1, 1.0), (900, 0.8, 2.0), (200, 0.2, 6.0))
    ]
    block = block_of(other)
    assert (block.generation_tokens_per_s, block.engine_busy, block.waiting) == (20, 0.2, 0.1)
    assert (block.lag_mean, block.lag_most) == (3.0, 900)


@given(st.lists(st.floats(1, 1000), min_size=2, max_size=12), st.floats(0.2, 5))
def test_a_ratio_lies_in_its_interval_and_a_shift_is_found(values: list[float], factor: float) -> None:
    same = ratio("x", values, values)
    assert same.low is not None
    assert same.high is not None
    assert same.low <= 1 <= same.high
    assert not same.shown
    scaled = ratio("x", values, [factor * value for value in values])
    assert scaled.low is not None
    assert scaled.high is not None
    assert scaled.low - 1e-9 <= scaled.ratio <= scaled.high + 1e-9
    assert scaled.ratio == pytest.approx(factor)


def test_dead_letters_are_no_speed_and_are_said() -> None:
    refusing = replace(turn(20), dead_letters=100)
    found = compare(run([turn(10)] * 5), run([refusing] * 5))
    assert found.ratios[0].ratio == pytest.approx(10 / 9.9)
    assert (found.dead_letters_a, found.dead_letters_b) == (0.01, 0.5)
    with pytest.raises(UsageError, match="bench_dead"):
        compare(run([turn(10)]), run([replace(turn(10), dead_letters=100)]))


def test_of_different_groups_one_line_is_said() -> None:
    def of(*groups: str) -> Run:
        made = {name: {"mode": "scores", "seed": 1} for name in groups}
        return replace(run([turn(1)]), settings={"groups": made, "limits": {"a": 1}}, load={"groups": list(groups)})

    assert compare(of("text"), of("qa")).differences == ["groups: text -> qa: other students and other documents"]
    (line,) = compare(of("text"), of("text", "qa")).differences
    assert line.startswith("groups: text -> qa and text")
    assert compare(of("text"), of("text")).differences == []


SPAN = "its windows last longer or shorter than their turn"


@pytest.mark.parametrize(("changes", "said"), [
    ({"seconds": 0.0}, "seconds"), ({"seconds": -1.0}, "seconds"), ({"seconds": 1e308}, "seconds"),
    ({"seconds": 1e-320}, "seconds"), ({"seconds": 9.9}, SPAN), ({"windows": []}, "length >= 1"),
    ({"windows": [replace(turn(10).windows[0], seconds=100.0)]}, SPAN),
    ({"windows": [replace(turn(10).windows[0], latency_ms=Latency(3.0, 2.0, 4.0))]}, "out of order"),
    ({"documents": 0}, "documents"), ({"documents": 99}, "do not add up"), ({"documents": 10**400}, "documents"),
    ({"dead_letters": 101}, "do not add up"), ({"prompt_tokens": -1}, "prompt_tokens"),
    ({"latency_ms": Latency(0.0, 1.0, 1.0)}, "latency_ms"), ({"latency_ms": Latency(1e-300, 1.0, 1.0)}, "latency_ms"),
    ({"latency_ms": Latency(5000.0, 10.0, 1.0)}, "out of order"),
    ({"latency_ms": Latency(1.0, 3.0, 2.0)}, "out of order"),
    ({"latency_ms": Latency(1e308, 1e308, 1e308)}, "latency_ms"),
    ({"latency_ms": Latency(1.0, 2.0, 10_002.0)}, "takes longer than its turn"),
    ({"prompts": 100, "frame": Frame(9, 2)}, "shorter than their frame"), ({"prompts": -1}, "prompts"),
    ({"prompts": 100, "frame": Frame(-1, 2)}, "frame"),
])  # fmt: skip
def test_figures_that_no_run_has_are_refused_when_it_is_read(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes], changes: dict[str, Any], said: str
) -> None:
    good = save(run([turn(10)]), tmp_path / "good")
    path = save(replace(run([turn(10)]), turns=[replace(turn(10), **changes)]), tmp_path)
    with pytest.raises(UsageError, match=f"bench_unreadable: .*{said}"):
        load_run(path)
    assert main(["bench", "compare", str(good), str(path)]) == 2
    assert b"error bench_unreadable" in capsysbinary.readouterr().err
    with pytest.raises(UsageError, match="bench_unreadable"):
        load_run(save(replace(run([turn(10)]), turns=[]), tmp_path))


@pytest.mark.parametrize("settings", [{}, {"groups": {}}, {"groups": []}, {"groups": {"text": {}}}])
def test_a_run_of_no_group_is_refused_when_it_is_read(tmp_path: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"bench_unreadable: .* no group"):
        load_run(save(replace(run([turn(10)]), settings=settings), tmp_path))


def test_beside_means_stand_the_medians_that_each_run_shows() -> None:
    a, b = run([turn(rate) for rate in (10, 20, 90)]), run([turn(rate) for rate in (10, 30, 90)])
    found = compare(a, b)
    rate = found.ratios[0]
    assert found.statistic == "mean over repetitions"
    assert (rate.a_median, rate.b_median) == (a.result.documents_per_s, b.result.documents_per_s)
    assert rate.a_median is not None
    assert rate.a > rate.a_median


def test_documents_that_end_together_tell_no_percentiles_and_that_is_said() -> None:
    together = replace(turn(10), latency_ms=Latency(1519.256, 1519.323, 1519.328))
    assert at_once_note([turn(10)]) == ""
    assert at_once_note([replace(together, documents=1)]) == "", "one document is one latency"
    assert at_once_note([turn(10), together]).startswith("in 1 of 2 turns p50, p95 and p99 are within a millisecond")
    _, note = compare(run([turn(10)]), run([together])).notes
    assert note.startswith("B: in 1 of 1 turns")


def test_what_has_its_comparison_in_it_is_refused_with_the_kinds_that_have_not(tmp_path: Path) -> None:
    path = save(replace(run([turn(10)]), schema="bench-modes.v1"), tmp_path)
    with pytest.raises(UsageError, match="bench stream, engine or kafka"):
        load_run(path)


def test_two_runs_of_one_second_are_both_there(tmp_path: Path) -> None:
    saved = [save(run([turn(rate)]), tmp_path) for rate in (1, 2, 3)]
    assert [path.name for path in saved] == [f"20260101T000000Z-kafka{more}.json" for more in ("", "-2", "-3")]
    assert [load_run(path).turns[0].documents for path in saved] == [10, 20, 30]
    (tmp_path / "file").touch()
    for use in (check_out, lambda folder: save(run([turn(1)]), folder)):
        with pytest.raises(UsageError, match="out_unwritable"):
            use(tmp_path / "file")


async def test_what_takes_long_says_that_it_still_does() -> None:
    lines: list[str] = []
    told = asyncio.Event()

    def talk(line: str) -> None:
        lines.append(line)
        told.set()

    async def work() -> int:
        await told.wait()
        return 7

    assert await aloud(work(), talk, "starting", 0.01) == 7
    assert lines[0].startswith("starting: 0 s")


def test_a_single_unit_has_no_interval() -> None:
    found = ratio("x", [1.0], [2.0, 3.0])
    assert (found.ratio, found.low, found.high, found.shown) == (2.5, None, None, False)


@pytest.mark.parametrize(("repetitions", "shown"), [(1, False), (2, True), (3, True), (5, True)])
def test_runs_are_compared_over_repetitions_however_few(repetitions: int, shown: bool) -> None:
    found = compare(run([turn(10, windows=5)] * repetitions), run([turn(20, windows=5)] * 6))
    assert (found.repetitions_a, found.repetitions_b) == (repetitions, 6)
    assert found.ratios[0].ratio == pytest.approx(199 / 99)
    assert [one.shown for one in found.ratios] == [shown, False, False, False]
    assert all((one.low is None) == (repetitions == 1) for one in found.ratios)


def test_what_no_interval_holds_is_said() -> None:
    (alone,) = compare(run([turn(1)]), replace(run([turn(1)]), taken_at="20260101T000001Z")).notes
    assert "of one repetition there is no interval and nothing is shown (--repeat 5 on both sides)" in alone
    assert "wide" not in alone
    (few,) = compare(run([turn(10)] * 3), run([turn(10)] * 6)).notes
    assert "hold how repetitions differ within a run, and none holds how runs differ" in few
    assert "Of 3 repetitions they are wide, as is right: --repeat 5 gives narrower ones" in few
    assert compare(run([turn(1)]), run([turn(1)])).notes == ["A and B are one and the same run: nothing is compared"]
    (five,) = compare(run([turn(10)] * 5), run([turn(10)] * 6)).notes
    assert "hold how repetitions differ within a run" in five
    assert "wide" not in five


def test_what_else_differs_is_said_and_another_kind_is_refused() -> None:
    assert compare(run([turn(1)]), run([turn(1)], cores=4)).differences == ["machine.cores: 2 -> 4"]
    with pytest.raises(UsageError, match="bench_kinds"):
        compare(run([turn(1)]), run([turn(1)], "engine"))


def test_stand_ins_and_limits_of_a_search_that_differ_are_said() -> None:
    """`bench kafka --reply-s` is of the stand-in, not of the project: 0.3 s of it are not what Kafka costs."""
    at_once, slow = (replace(run([turn(1)]), stand_in=STAND_IN.format(s=s)) for s in (0.0, 0.3))
    (said,) = compare(at_once, slow).differences
    assert said.startswith("stand_in: the engine is a stand-in")
    assert "after 0 s -> " in said
    assert said.endswith("after 0.3 s")
    assert compare(slow, slow).differences == []
    short, long = (run([replace(turn(10), prompts=prompts)]) for prompts in (10, 5))
    assert compare(short, long).differences == ["tokens a prompt: 100.0 -> 200.0: other documents, or other prompts"]
    assert compare(short, run([turn(10)])).differences == []
    wide, narrow = (replace(run([turn(1)]), ramp={"p99_limit_ms": limit}) for limit in (500.0, 100.0))
    assert compare(wide, narrow).differences == ["ramp.p99_limit_ms: 500.0 -> 100.0"]


def test_loads_are_said_from_a_cores_worth_on() -> None:
    def at(load: float | None) -> Run:
        return replace(run([turn(1)]), machine={} if load is None else {"load_average": load})

    said = ["machine.load_average: 20.31 -> 5.0 when the runs began"]
    assert compare(at(20.31), at(5.0)).differences == said
    assert compare(at(1.0), at(2.5)).differences != []
    assert compare(at(1.5), at(2.5)).differences == compare(at(None), at(20.0)).differences == []


def test_a_run_whose_prompts_hold_their_frame_is_read(tmp_path: Path) -> None:
    """1,000 tokens in 100 prompts, all alike in nine of ten."""
    whole = run([replace(turn(10), prompts=100, frame=Frame(8, 2))])
    assert load_run(save(whole, tmp_path)) == whole
