"""What is to be expected of a reply's score tokens, however the tokenizer cuts a score."""

from math import exp, inf, log, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mira_stream.scorecard import TokenLogprobs, expected_scores

NEVER = -inf


def one(said: str, p: float, **others: float) -> TokenLogprobs:
    """`others` by text; `_10` stands for `10`, since names cannot begin with digits."""
    return TokenLogprobs(said, log(p), tuple((text.removeprefix("_"), log(q)) for text, q in others.items()))


def first(text: str, *tokens: TokenLogprobs, score: float | None = None) -> tuple[float, float, float]:
    """Expected score, entropy and mass of A1; the tokens of the line's ends are certain."""
    line = f"[A1] {text}/10\n"
    found = expected_scores(
        line, [one("[A1] ", 1), *tokens, one("/10\n", 1)], [float(text) if score is None else score]
    )
    assert found[0] is not None
    return found[0]


@given(st.lists(st.floats(1e-6, 1), min_size=11, max_size=11), st.integers(0, 10), st.sampled_from(["whole", "digits"]))
def test_it_is_the_mean_over_the_scores(weights: list[float], said: int, tokens: str) -> None:
    p = [weight / sum(weights) for weight in weights]
    mean = sum(score * share for score, share in enumerate(p))
    if tokens == "whole":  # one token a score, as a student from scratch has them
        others = tuple((f" {score}/10", log(share)) for score, share in enumerate(p) if score != said)
        line = [one("[A1]", 1), TokenLogprobs(f" {said}/10", log(p[said]), others), one("\n", 1)]
    else:  # one token a digit: `1` begins both 1 and 10, and only where it was said is it known which
        said = 10 if said == 10 else 1
        ones = p[1] + p[10]
        others = tuple((str(score), log(p[score])) for score in range(10) if score != 1)
        behind = (("/", log(p[1] / ones)), ("0", log(p[10] / ones)))
        then = TokenLogprobs(
            *(behind[::-1] if said == 10 else behind)[0], others=(behind if said == 10 else behind[::-1])[:1]
        )
        line = [one("[A1]", 1), one(" ", 1), TokenLogprobs("1", log(ones), others), then]
        line += [one("/10\n", 1) if said == 10 else one("10\n", 1)]
    found = expected_scores("".join(token.text for token in line), line, [float(said), None])
    assert found[1] is None
    assert found[0] is not None
    assert found[0].score == pytest.approx(mean)
    assert found[0].mass == pytest.approx(1)
    assert found[0].entropy == pytest.approx(-sum(share * log(share) for share in p))


@given(
    st.lists(st.tuples(st.text("0123456789/. \n[]Ax", max_size=4), st.floats(-40, 1) | st.just(nan) | st.just(NEVER))),
    st.integers(0, 10),
    st.floats(-30, 0),
)
def test_whatever_else_is_thought_of_it_stays_a_score(others: list[tuple[str, float]], said: int, own: float) -> None:
    tokens = [one("[A1] ", 1), TokenLogprobs(str(said), own, tuple(others)), one("/10\n", 1)]
    found = expected_scores(f"[A1] {said}/10\n", tokens, [float(said)])[0]
    assert found is not None
    assert 0 <= found.score <= 10
    assert 0 <= found.mass <= 1
    assert 0 <= found.entropy <= log(11 + 100)


@given(st.integers(0, 10), st.booleans())
def test_a_student_that_is_sure_is_taken_at_its_word(said: int, split: bool) -> None:
    tokens = [one(digit, 1) for digit in str(said)] if split else [one(str(said), 1)]
    assert first(str(said), *tokens) == (said, 0, 1)


def test_words_that_are_no_score_are_what_the_mass_lacks() -> None:
    score, entropy, mass = first("7", one("7", 0.4, **{"8": 0.4, "great": 0.1, "77": 0.05, "-": 0.05}))
    assert [score, mass] == pytest.approx([7.5, 0.8])
    assert entropy == pytest.approx(log(2))


def test_a_one_that_was_not_said_is_shared_between_one_and_ten_as_their_neighbours_are() -> None:
    low = first("2", one("2", 0.5, **{"1": 0.5}))
    high = first("9", one("9", 0.5, **{"1": 0.5}))
    both = first("9", one("9", 0.45, **{"1": 0.4, "2": 0.15}))
    assert low[0] == pytest.approx(1.5)
    assert high[0] == pytest.approx(9.5)
    assert both[0] == pytest.approx(0.45 * 9 + 0.3 * 10 + 0.1 * 1 + 0.15 * 2)
    # where ten is a token of its own, a one is a one
    assert first("9", one("9", 0.5, **{"1": 0.25, "10": 0.25}))[0] == pytest.approx(0.5 * 9 + 0.25 + 2.5)


def test_decimals_count_along_the_reply_and_where_they_stand_in_one_token() -> None:
    said = [one("7", 0.5, **{"8": 0.5}), one(".", 0.5, **{"/": 0.5}), one("5", 1)]
    assert first("7.5", *said)[0] == pytest.approx(0.25 * 7 + 0.25 * 7.5 + 0.5 * 8)
    assert first("7", one("7", 0.5, **{"7.5": 0.5}))[0] == pytest.approx(7.25)


def test_without_probabilities_there_is_nothing_to_expect() -> None:
    line = "[A1] 7/10\n"
    assert expected_scores(line, [], [7.0]) == [None]
    assert expected_scores(line, [one("something else", 1)], [7.0]) == [None]
    assert expected_scores(line, [one("[A1] ", 1), TokenLogprobs("7", nan), one("/10", 1)], [7.0]) == [None]
    assert expected_scores(line, [one("[A1] ", 1), one("7", exp(-1)), one("/10", 1)], [None]) == [None]


def test_the_number_of_a_name_is_not_the_score() -> None:
    name = one(" Beats 9/10 of peers: ", 1)
    tokens = [one("[A1]", 1), name, one("4", 0.5, **{"6": 0.5}), one("/10 — 9/10", 1)]
    text = "".join(token.text for token in tokens)
    found = expected_scores(text, tokens, [4.0])[0]
    assert found is not None
    assert found.score == pytest.approx(5)
