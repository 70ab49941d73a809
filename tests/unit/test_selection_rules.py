"""Which documents are kept under a budget: exact, whatever the order, however little fits into memory."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mira_stream.chance import u
from mira_stream.epochs import is_above
from mira_stream.errors import ConfigError
from mira_stream.messages import Mark
from mira_stream.selection.ranking import EVERYTHING, Chunk, Cut, Ranking, orders, scores_of, ties
from mira_stream.selection.rules import Order, Shares, choose, thresholds
from mira_stream.sketch import Sketch

SOURCES = ("alpha", "beta", "gamma")
GROUPS = {"alpha": "one", "beta": "one", "gamma": "two"}
Row = tuple[float, int, str]
rows = st.lists(
    st.tuples(st.integers(0, 40).map(lambda cell: cell / 10), st.integers(0, 50), st.sampled_from(SOURCES)),
    min_size=1,
    max_size=60,
)
variants = st.sampled_from(["global", "group", "source"])


def kept(documents: list[Row], budget: int | None, variant: str, shares: Shares | None = None) -> NDArray[np.bool_]:
    return choose(
        np.array([score for score, _, _ in documents]),
        np.array([tokens for _, tokens, _ in documents]),
        [source for _, _, source in documents],
        [f"d{i}" for i in range(len(documents))],
        variant=variant,  # type: ignore[arg-type]
        budget_tokens=budget,
        groups=GROUPS,
        shares=shares or Shares(),
    )


@given(rows, st.floats(0, 1), variants)
def test_the_budget_is_met_to_one_document_and_never_passed(documents: list[Row], share: float, variant: str) -> None:
    tokens = np.array([tokens for _, tokens, _ in documents])
    budget = int(tokens.sum() * share)
    selected = int(tokens[kept(documents, budget, variant)].sum())
    assert budget - tokens.max() <= selected <= budget


@given(rows, st.floats(0, 1), variants, st.randoms(use_true_random=False))
def test_the_order_of_the_documents_does_not_matter(documents: list[Row], share: float, variant: str, random) -> None:  # type: ignore[no-untyped-def]
    budget = int(sum(tokens for _, tokens, _ in documents) * share)
    ids = np.array([f"d{i}" for i in range(len(documents))])
    mixed = list(range(len(documents)))
    random.shuffle(mixed)
    again = choose(
        np.array([documents[i][0] for i in mixed]),
        np.array([documents[i][1] for i in mixed]),
        [documents[i][2] for i in mixed],
        [str(ids[i]) for i in mixed],
        variant=variant,  # type: ignore[arg-type]
        budget_tokens=budget,
        groups=GROUPS,
    )
    assert set(ids[mixed][again]) == set(ids[kept(documents, budget, variant)])


@given(rows, st.floats(0, 1), variants)
def test_no_document_is_kept_while_a_better_one_of_its_scope_is_not(
    documents: list[Row], share: float, variant: str
) -> None:
    flags = kept(documents, int(sum(tokens for _, tokens, _ in documents) * share), variant)
    scopes = {"global": dict.fromkeys(SOURCES, ""), "group": GROUPS, "source": {name: name for name in SOURCES}}
    for of in set(scopes[variant].values()):
        mine = [i for i, (_, _, source) in enumerate(documents) if scopes[variant][source] == of]
        kept_keys = [(-documents[i][0], u("tie", f"d{i}")) for i in mine if flags[i]]
        left_keys = [(-documents[i][0], u("tie", f"d{i}")) for i in mine if not flags[i]]
        if kept_keys and left_keys:
            assert max(kept_keys) < min(left_keys)


@given(rows, st.floats(0, 1), st.floats(0, 1))
def test_a_larger_budget_only_adds_documents(documents: list[Row], one: float, other: float) -> None:
    total = sum(tokens for _, tokens, _ in documents)
    small, large = sorted((int(total * one), int(total * other)))
    assert not (kept(documents, small, "global") & ~kept(documents, large, "global")).any()


@settings(deadline=None)
@given(rows, st.floats(0.05, 0.95), variants, st.floats(0, 0.6), st.floats(0.1, 1))
def test_shares_hold_to_one_document_or_are_refused(
    documents: list[Row], share: float, variant: str, least: float, most: float
) -> None:
    tokens = np.array([tokens for _, tokens, _ in documents])
    sources = np.array([source for _, _, source in documents])
    present = set(sources.tolist())
    budget = int(tokens.sum() * share)
    low = {source: least for source in ("alpha",) if source in present}
    high = {source: most for source in ("alpha", "beta") if source in present}
    if not possible(tokens, sources, budget, Shares(low, high)):
        with pytest.raises(ConfigError, match=r"share_unreachable|shares_infeasible"):
            kept(documents, budget, variant, Shares(low, high))
        return
    flags = kept(documents, budget, variant, Shares(low, high))
    selected = {source: int(tokens[flags & (sources == source)].sum()) for source in present}
    longest = int(tokens.max())
    for source, part in low.items():
        assert selected[source] >= round(budget * part) - longest
    for source, part in high.items():
        assert selected[source] <= round(budget * part)
    assert budget - longest * len(present) <= sum(selected.values()) <= budget


def possible(tokens: NDArray[np.int64], sources: NDArray[np.str_], budget: int, shares: Shares) -> bool:
    """Whether some amounts of tokens fill the budget within the bounds, said in another way than the rule says it."""
    least, most = 0, 0
    for source in set(sources.tolist()):
        held = int(tokens[sources == source].sum())
        low = round(budget * shares.minimum.get(source, 0.0))
        high = min(held, round(budget * shares.maximum.get(source, 1.0)))
        if low > high:
            return False
        least, most = least + low, most + high
    return least <= budget <= most


def test_pinned_sources_leave_the_rest_under_one_threshold() -> None:
    documents: list[Row] = [(float(i % 10), 1, SOURCES[i % 3]) for i in range(300)]
    flags = kept(documents, 100, "global", Shares({"alpha": 0.5}, {"beta": 0.2}))
    sources = np.array([source for _, _, source in documents])
    assert {source: int(flags[sources == source].sum()) for source in SOURCES} == {"alpha": 50, "beta": 20, "gamma": 30}


def test_a_source_with_both_bounds_gives_back_no_more_than_a_document() -> None:
    """Pinned at its maximum it is far above its minimum: what others' minimums pass the budget by is not its debt."""
    documents: list[Row] = [(10 + i / 1000, 5 + i % 5, "alpha") for i in range(600)]
    documents += [(i / 1000, 90 + i % 50, name) for name in ("beta", "gamma") for i in range(40)]
    sources = np.array([source for _, _, source in documents])
    tokens = np.array([tokens for _, tokens, _ in documents])
    for budget in range(3_900, 4_400, 7):
        shares = Shares({"alpha": 0.1, "beta": 0.35, "gamma": 0.35}, {"alpha": 0.3})
        flags = kept(documents, budget, "global", shares)
        assert tokens[flags & (sources == "alpha")].sum() >= round(0.3 * budget) - 2 * 139
        assert budget - 2 * 139 <= tokens[flags].sum() <= budget


@given(rows, st.floats(0.05, 1), variants)
def test_minimum_shares_that_fill_the_budget_do_not_pass_it_together(
    documents: list[Row], share: float, variant: str
) -> None:
    """Each source's last document would pass its minimum; no more of them go than must."""
    tokens = np.array([tokens for _, tokens, _ in documents])
    sources = np.array([source for _, _, source in documents])
    total = int(tokens.sum())
    budget = int(total * share)
    low = {name: int(tokens[sources == name].sum()) / total for name in set(sources.tolist())} if total else {}
    try:
        flags = kept(documents, budget, variant, Shares(low))
    except ConfigError:  # rounded up together
        return
    assert budget - tokens.max() <= tokens[flags].sum() <= budget
    for name, part in low.items():
        assert tokens[flags & (sources == name)].sum() >= round(budget * part) - tokens.max()


@pytest.mark.parametrize(
    ("budget", "shares", "code", "number"),
    [
        (3_001, Shares(), "budget_too_large", "3,001"),
        (200, Shares({"alpha": 0.6}), "share_unreachable", "120"),
        (100, Shares({"alpha": 0.6, "beta": 0.6}), "shares_infeasible", "120"),
        (100, Shares(maximum={"alpha": 0.1, "beta": 0.1, "gamma": 0.1}), "shares_infeasible", "30"),
        (100, Shares({"delta": 0.1}), "source_unknown", "delta"),
    ],
)
def test_what_cannot_be_is_refused_with_its_numbers(budget: int, shares: Shares, code: str, number: str) -> None:
    documents: list[Row] = [(float(i % 10), 1, SOURCES[i % 3]) for i in range(300)]
    with pytest.raises(ConfigError) as refused:
        kept(documents, budget, "global", shares)
    assert refused.value.code == code
    assert number in refused.value.cause


def chunked(documents: list[Row], rows_each: int, held: int) -> Ranking:
    chunk = Chunk(
        orders(np.array([score for score, _, _ in documents])),
        ties(np.array([u("tie", f"d{i}") for i in range(len(documents))])),
        np.array([tokens for _, tokens, _ in documents], dtype=np.int64),
        np.array([SOURCES.index(source) for _, _, source in documents], dtype=np.int32),
    )

    def chunks() -> Iterator[Chunk]:
        for start in range(0, len(documents), rows_each):
            yield chunk.at(slice(start, start + rows_each))

    return Ranking(chunks, len(SOURCES), held)


@settings(max_examples=30, deadline=None)
@given(rows, st.floats(0, 1), variants, st.integers(1, 20))
def test_what_does_not_fit_into_memory_is_selected_alike(
    documents: list[Row], share: float, variant: str, rows_each: int
) -> None:
    budget = int(sum(tokens for _, tokens, _ in documents) * share)
    order = Order(variant, budget)  # type: ignore[arg-type]
    ranking = chunked(documents, rows_each, held=2)
    flags = np.concatenate(list(ranking.kept(thresholds(ranking, SOURCES, GROUPS, order))))
    assert (flags == kept(documents, budget, variant)).all()


@given(st.lists(st.floats(allow_nan=False), min_size=1))
def test_orders_put_the_best_score_first_and_come_back(scores: list[float]) -> None:
    made = orders(np.array(scores))
    assert [scores[i] for i in np.argsort(made, kind="stable")] == sorted(scores, reverse=True)
    assert (scores_of(made) == np.array(scores)).all()


@given(rows, st.floats(0, 1))
def test_the_streams_rule_keeps_the_same_under_the_mark_of_a_cut(documents: list[Row], share: float) -> None:
    ranking = chunked(documents, 7, held=4)
    budget = int(sum(tokens for _, tokens, _ in documents) * share)
    (cut, *_) = thresholds(ranking, SOURCES, {}, Order("global", budget))
    flags = kept(documents, budget, "global")
    if cut is None or cut == EVERYTHING:
        assert flags.all() == (cut is not None)
        return
    mark = Mark(value=cut.score, tie_fraction=cut.tie_fraction)
    assert [is_above(mark, score, f"d{i}") for i, (score, _, _) in enumerate(documents)] == flags.tolist()


@given(rows, st.floats(0.01, 0.99), st.sampled_from(["documents", "tokens"]))
def test_a_retention_is_the_sketchs_mark_made_exact(documents: list[Row], share: float, unit: str) -> None:
    """Above the sketch's mark all are kept, below none; on it the sketch expects what the exact rule keeps."""
    mine = [(score, tokens + 1, "alpha") for score, tokens, _ in documents]
    sketch = Sketch()
    for score, tokens, _ in mine:
        sketch.add(round(score * 10), tokens)
    mark = sketch.upper_tail(share, unit)  # type: ignore[arg-type]
    scores, weights = np.array([row[0] for row in mine]), np.array([row[1] for row in mine])
    flags = choose(
        scores,
        weights,
        ["alpha"] * len(mine),
        [f"d{i}" for i in range(len(mine))],
        variant="source",
        budget_tokens=None,
        retention={"alpha": share},
        unit=unit,  # type: ignore[arg-type]
    )
    assert not flags[scores < mark.value].any()
    weight = np.ones(len(mine)) if unit == "documents" else weights
    if not flags[scores > mark.value].all():  # the last document before the mark passed the budget by itself
        assert weight[(scores > mark.value) & ~flags].min() > round(weight.sum() * share) - weight[flags].sum()
    else:
        expected = mark.tie_fraction * weight[scores == mark.value].sum()
        assert abs(weight[flags & (scores == mark.value)].sum() - expected) <= weight.max()


def test_one_id_twice_at_the_cut_is_split_by_its_place() -> None:
    flags = choose(np.ones(4), np.full(4, 5), ["s"] * 4, ["same"] * 4, variant="global", budget_tokens=10)
    assert flags.tolist() == [True, True, False, False]


def test_a_score_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError):
        choose(np.array([np.nan]), np.array([1]), ["s"], ["a"], variant="global", budget_tokens=1)


def test_sources_may_be_codes_and_the_first_too_long_document_ends_a_selection() -> None:
    flags = choose(
        np.array([3.0, 2.0, 1.0]), np.array([9, 1, 1]), [0, 0, 1], list("abc"), variant="global", budget_tokens=5
    )
    assert not flags.any()
    assert Cut(0, 0, -1) != EVERYTHING
