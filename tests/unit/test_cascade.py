"""The rule that sends documents on: bounds against their definitions, and nothing certain that is not."""

from math import inf

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from bench.cascade import simulate
from bench.cascade_parts.deciding import Marks, full_scoring, is_near
from bench.cascade_parts.streams import KINDS, make, mask_of
from mira_stream.cascade import Calibration, InForce, Pair, errors_allowed, route
from mira_stream.epochs import decide
from mira_stream.messages import DIMENSIONS, SLOTS, Decision, Mark, Mask, Origin, Policy, ScoreCard, encode
from mira_stream.quality import lens
from mira_stream.records import Record
from mira_stream.selecting.policies import PolicyLog
from mira_stream.selecting.selector import Selector

THROUGH = lens(
    Mask(mask="m", group="g", source="s", lineage="l", dimensions=list(SLOTS), means=[0.0] * DIMENSIONS, trim=0.1)
)
Qualities = st.lists(
    st.tuples(st.integers(0, 100), st.integers(0, 100)).map(lambda pair: (pair[0] / 1, pair[1] / 1)),
    min_size=1,
    max_size=120,
)


def fifteen(quality: float) -> list[float]:
    return [quality / 10] * DIMENSIONS


def pairs(qualities: list[tuple[float, float]]) -> list[Pair]:
    return [Pair(str(at), fifteen(cheap), fifteen(full)) for at, (cheap, full) in enumerate(qualities)]


def lost(qualities: list[tuple[float, float]], keep: Mark, drop: Mark, half_width: float) -> int:
    """By the definition: how many are not sent on and decided otherwise."""
    found = InForce("s", 1, keep, drop, THROUGH, half_width)
    count = 0
    for at, (cheap, full) in enumerate(qualities):
        if route(fifteen(cheap), found).is_sure:
            classes = {decide(str(at), one, fifteen(one), {}, keep, drop, 0.0).decision for one in (cheap, full)}
            count += len(classes) - 1
    return count


@settings(deadline=None, max_examples=50)
@given(Qualities, st.integers(0, 100), st.integers(0, 20), st.sampled_from([0.02, 0.05, 0.1, 0.3, 1.0]))
def test_no_more_held_out_documents_are_lost_than_the_bound_allows(
    qualities: list[tuple[float, float]], high: int, below: int, loss: float
) -> None:
    keep, drop = Mark(value=float(high), tie_fraction=0.4), Mark(value=float(max(0, high - below)), tie_fraction=0.7)
    for confidence in (0.95, None):
        width = Calibration(pairs(qualities), THROUGH, {}).half_width(keep, drop, loss, confidence)
        allowed = errors_allowed(len(qualities), loss, confidence)
        if allowed is None:
            assert width == inf
            continue
        assert lost(qualities, keep, drop, width) <= allowed
        if width > 0:  # and it is the least: a cell less loses too many
            assert lost(qualities, keep, drop, width - 0.1) > allowed


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 400), st.sampled_from([0.01, 0.05, 0.1, 0.5]))
def test_errors_allowed_are_clopper_and_pearsons(n: int, loss: float) -> None:
    allowed = errors_allowed(n, loss)

    def bound(k: int) -> float:
        return float(binomtest(k, n, alternative="less").proportion_ci(0.95, "exact").high)

    if allowed is None:
        assert bound(0) > loss
    else:
        assert bound(allowed) <= loss
        assert allowed == n or bound(allowed + 1) > loss


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 400), st.sampled_from([0.01, 0.05, 0.1, 0.5]))
def test_errors_allowed_on_average_are_those_of_conformal_risk_control(n: int, loss: float) -> None:
    allowed = errors_allowed(n, loss, None)
    fitting = [k for k in range(n + 1) if n / (n + 1) * (k / n) + 1 / (n + 1) <= loss + 1e-9]
    assert allowed == (max(fitting) if fitting else None)


def test_what_is_not_known_is_sent_on() -> None:
    mark = Mark(value=50.0, tie_fraction=0.5)
    known = InForce("s", 1, mark, mark, THROUGH, 5.0)
    assert route(fifteen(90), None) == ("no_threshold", None)
    assert route([None] * 13 + [9.0, 9.0], known) == ("unread", None)
    assert route(fifteen(90), known._replace(half_width=inf)) == ("uncalibrated", 90.0)
    assert route(fifteen(55), known) == ("near", 55.0)
    assert route(fifteen(55.1), known) == ("sure", 55.1)
    assert route(fifteen(50), known._replace(half_width=0.0)) == ("near", 50.0)


def test_a_floor_that_only_the_full_stage_sees_widens() -> None:
    keep = drop = Mark(value=50.0, tie_fraction=0.5)
    fatal = [2.0, *fifteen(90)[1:]]
    held_out = [Pair(str(at), fifteen(90), fatal if at < 30 else fifteen(90)) for at in range(300)]
    assert Calibration(held_out, THROUGH, {}).half_width(keep, drop, 0.05) == 0.0
    assert Calibration(held_out, THROUGH, {"A1": 4.0}).half_width(keep, drop, 0.05) == 40.0


def test_simulated_streams_stay_within_the_limit() -> None:
    arms = simulate(KINDS[0], 20, 20, 900, lambda _: None)
    rows = {row["arm"]: row for row in arms}
    found = summary_at(arms, 0.05)
    assert figure(found, "holds") >= 0.8
    assert figure(found, "loss") <= 0.05
    assert figure(found, "savings") > 2
    assert figure(rows["cheap alone"], "loss") > 0.1
    assert figure(found, "gain") > figure(rows["as many by lot"], "gain")


def test_what_a_simulated_stream_saves_is_of_the_whole_of_it() -> None:
    """The thresholds of the first hundred documents are not known: all of them are sent on."""
    for row in simulate(KINDS[1], 4, 1, 300, lambda _: None):
        if str(row["arm"]).startswith("cascade"):
            assert figure(row, "sent") >= 1 / 3


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 300), st.integers(0, 400))
def test_the_simulation_sends_on_what_the_scorer_does(cell: int, high: int, below: int, width: int) -> None:
    keep, drop = (Mark(value=value / 10, tie_fraction=0.5) for value in (high, max(0, high - below)))
    one = route(fifteen(cell / 10), InForce("s", 1, keep, drop, THROUGH, width / 10))
    assert one.is_sure != is_near(np.array([cell / 10]), Marks(keep, drop), width / 10)[0]


def summary_at(rows: list[dict[str, object]], limit: float) -> dict[str, object]:
    return next(row for row in rows if row["loss_limit"] == limit)


def figure(row: dict[str, object], name: str) -> float:
    return float(str(row[name]))


def test_the_simulation_decides_as_the_selector_does() -> None:
    stream = make(KINDS[0], 1_200, np.random.default_rng(3))
    mine = full_scoring(stream)
    log = PolicyLog()
    log.add(Record("mira.policy", 0, 0, 0, b"*", encode(Policy(retention=stream.target, band=0.1))))
    log.add(Record("mira.policy", 0, 1, 0, b"source:simulated", encode(mask_of(stream))))
    rules = log.rules("text", "simulated", "0123456789ab")
    assert rules is not None
    selector = Selector(0)
    for at, quality in enumerate(stream.full[stream.held_out :].tolist()):
        card = ScoreCard(
            id=f"simulated-{at}",
            source="simulated",
            group="text",
            origin=Origin(topic="t", partition=0, offset=at, timestamp_ms=0),
            lineage="0123456789ab",
            mode="scores",
            scores=list(fifteen(quality)),
            tokens=1,
        )
        outcome = selector.select(card, at, rules).outcome
        assert isinstance(outcome, Decision)
        assert outcome.decision == ("drop", "downsample", "keep")[mine.classes[at]]
        assert outcome.selected == mine.selected[at]
