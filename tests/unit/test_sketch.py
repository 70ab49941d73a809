"""The sketch against plain lists."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mira_stream.messages import Mark, Prior
from mira_stream.sketch import (
    ALL_ABOVE,
    NONE_ABOVE,
    PRIOR_DOCUMENTS,
    Sketch,
    count_scores,
    from_cells,
    from_prior,
    no_scores,
)

documents = st.lists(st.tuples(st.integers(0, 1000), st.integers(1, 5000)), min_size=1, max_size=200)
shares = st.floats(0.001, 0.999)


def sketch_of(cards: list[tuple[int, int]]) -> Sketch:
    sketch = Sketch()
    for cell, tokens in cards:
        sketch.add(cell, tokens)
    return sketch


def share_above(mark: Mark, cards: list[tuple[int, int]], *, by_tokens: bool) -> float:
    """Expected share above the mark, from the plain list."""
    weigh = [(cell / 10, tokens if by_tokens else 1) for cell, tokens in cards]
    above = sum(w for q, w in weigh if q > mark.value) + mark.tie_fraction * sum(w for q, w in weigh if q == mark.value)
    return above / sum(w for _, w in weigh)


@given(documents, shares, st.booleans())
def test_the_mark_has_exactly_the_share_above_it(cards: list[tuple[int, int]], share: float, by_tokens: bool) -> None:
    mark = sketch_of(cards).upper_tail(share, "tokens" if by_tokens else "documents")
    assert mark.value in {cell / 10 for cell, _ in cards}
    assert 0.0 < mark.tie_fraction <= 1.0
    assert share_above(mark, cards, by_tokens=by_tokens) == pytest.approx(share, abs=1e-9)


@given(documents, shares)
def test_against_a_sorted_list(cards: list[tuple[int, int]], share: float) -> None:
    ordered = sorted((cell for cell, _ in cards), reverse=True)
    wanted = share * len(ordered)
    mark = sketch_of(cards).upper_tail(share, "documents")
    assert mark.value == next(cell / 10 for place, cell in enumerate(ordered, 1) if place >= wanted - 1e-9)


@given(documents, shares, shares)
def test_a_smaller_share_never_has_a_lower_mark(cards: list[tuple[int, int]], one: float, other: float) -> None:
    sketch = sketch_of(cards)
    high, low = (sketch.upper_tail(share, "documents") for share in sorted((one, other)))
    assert (high.value, -high.tie_fraction) >= (low.value, -low.tie_fraction)


@given(documents, documents)
def test_merging_is_counting_together_in_any_order(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> None:
    merged, reverse = sketch_of(one), sketch_of(other)
    merged.merge(sketch_of(other))
    reverse.merge(sketch_of(one))
    together = sketch_of(one + other)
    for unit in ("documents", "tokens"):
        assert merged.cells(unit) == reverse.cells(unit) == together.cells(unit)


@given(documents, st.integers(0, 5))
def test_cells_bring_the_sketch_back_to_the_bit(cards: list[tuple[int, int]], halvings: int) -> None:
    sketch = from_prior(Prior(cells={"500": 3, "613": 4}, documents=7, tokens=700))
    sketch.merge(sketch_of(cards))
    for _ in range(halvings):
        sketch.halve()
    again = from_cells(sketch.cells("documents"), sketch.cells("tokens"))
    assert again.cells("documents") == sketch.cells("documents")
    assert again.cells("tokens") == sketch.cells("tokens")
    assert again.weight("tokens") == sketch.weight("tokens")
    assert again.upper_tail(0.3, "tokens") == sketch.upper_tail(0.3, "tokens")


def test_halving_halves_everything() -> None:
    sketch = sketch_of([(500, 10), (500, 20), (700, 30)])
    sketch.halve()
    assert sketch.cells("documents") == {"500": 1.0, "700": 0.5}
    assert sketch.cells("tokens") == {"500": 15.0, "700": 15.0}


def test_shares_of_nothing_and_of_all() -> None:
    sketch = sketch_of([(500, 1)])
    assert sketch.upper_tail(0.0, "documents") == NONE_ABOVE
    assert sketch.upper_tail(1.0, "documents") == ALL_ABOVE
    assert sketch.upper_tail(-0.1, "documents") == NONE_ABOVE


def test_a_prior_weighs_25_documents_in_its_shape() -> None:
    sketch = from_prior(Prior(cells={"400": 30, "800": 10}, documents=40, tokens=4_000))
    assert sketch.cells("documents") == {"400": 18.75, "800": 6.25}
    assert sketch.weight("documents") == PRIOR_DOCUMENTS
    assert sketch.weight("tokens") == PRIOR_DOCUMENTS * 100
    assert sketch.upper_tail(0.25, "documents") == Mark(value=80.0, tie_fraction=1.0)


def test_a_prior_of_unknown_tokens_weighs_one_token_a_document() -> None:
    assert from_prior(Prior(cells={"400": 30}, documents=30, tokens=0)).weight("tokens") == PRIOR_DOCUMENTS


def test_no_prior_is_an_empty_sketch() -> None:
    assert from_prior(None).weight("documents") == 0.0


def test_scores_are_counted_where_they_were_read() -> None:
    counts = no_scores()
    count_scores(counts, [7.0, 0.0, 10.0, None, 6.4, *[None] * 10])
    assert [(i, row.index(1)) for i, row in enumerate(counts) if any(row)] == [(0, 7), (1, 0), (2, 10), (4, 6)]
