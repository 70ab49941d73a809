"""The teacher against itself: which views, which seeds, what is compared."""

import numpy as np
import pytest

from mira_stream.errors import DocumentError
from mira_stream.messages import SLOTS
from mira_stream.reliability.retest import LATER_ATTEMPTS, Again, View, choose, read_scores, retest
from mira_stream.reliability.warnings import ceiling_warnings
from mira_stream.scorecard import Reply, write
from mira_stream.sections import MaskLimits
from mira_stream.teaching import Answer, Question

NAMES = [f"Dimension {i}" for i in range(15)]


def views(source: str, count: int, seed: int = 0) -> list[View]:
    chance = np.random.default_rng(seed)
    scores = chance.integers(1, 11, (count, 15)).astype(float).tolist()
    return [View(f"d{i}", source, f"text {i}", row) for i, row in enumerate(scores)]


def test_sources_take_turns_and_the_choice_never_changes() -> None:
    both = [*views("a", 30), *views("b", 3)]
    chosen = choose(both, 10)
    assert [view.source for view in chosen] == ["a", "b", "a", "b", "a", "b", "a", "a", "a", "a"]
    assert choose(both[::-1], 10) == chosen
    assert choose(both, 4) == chosen[:4]
    assert len(choose(both, 99)) == 33


class Recorded:
    """A teacher that writes down how it was asked."""

    model = "kimi"
    temperature = 0.7

    def __init__(self) -> None:
        self.attempts: list[int] = []

    async def ask(self, question: Question, attempt: int) -> Answer:
        self.attempts.append(attempt)
        return Answer("", "stop", 1, 1)


async def test_a_second_opinion_has_seeds_of_its_own() -> None:
    teacher = Recorded()
    again = Again(teacher)
    for attempt in (1, 2, 3):
        await again.ask(Question("retest/g/a/d0", [], 10), attempt)
    assert teacher.attempts == [LATER_ATTEMPTS + attempt for attempt in (1, 2, 3)]
    assert (again.model, again.temperature) == ("kimi", 0.7)


def test_the_ceiling_is_measured_where_there_is_a_second_answer() -> None:
    asked = [*views("a", 60), *views("b", 60, 1)]  # the same ids in both sources
    second = {view.key: [min(10.0, score + i % 2) for score in view.scores] for i, view in enumerate(asked[:100])}
    found = retest(asked, second, "kimi", 0.7)
    assert found is not None
    assert (found.n, found.unanswered, tuple(found.dimensions)) == (100, 20, SLOTS)
    expected = np.mean([abs(a - b) for view in asked[:100] for a, b in [(view.scores[0], second[view.key][0])]])
    assert found.dimensions["A1"].mae == pytest.approx(expected, abs=1e-4)
    assert found.dimensions["A1"].mae_hi > found.dimensions["A1"].mae
    assert (found.temperature, found.note) == (0.7, "")
    assert retest(asked, {}, "kimi", 0.7) is None


def test_a_ceiling_that_is_trivial_says_so() -> None:
    asked = views("a", 30)
    same = {view.key: view.scores for view in asked}
    other = {**same, asked[0].key: [11 - score for score in asked[0].scores]}
    cold, moved, stuck, drawn = (
        retest(asked, second, "kimi", temperature)
        for second, temperature in ((same, 0.0), (other, 0.0), (same, 0.7), (other, 0.7))
    )
    assert cold is not None
    assert moved is not None
    assert stuck is not None
    assert drawn is not None
    assert cold.note.startswith("trivially 1: 30 of 30 second answers are the first ones. At temperature 0")
    assert moved.note.startswith("not informative: only the rounding of its server moves an answer. At temperature 0")
    assert stuck.note.startswith(
        "trivially 1: 30 of 30 second answers are the first ones, though the temperature is 0.7"
    )
    assert "set [teacher] temperature above 0 and label anew" in cold.note
    assert drawn.note == ""
    assert {cell.rho for cell in cold.dimensions.values()} == {1.0}


def test_dimensions_in_which_the_teacher_contradicts_itself_are_named() -> None:
    asked = views("a", 60)
    second = {view.key: [11 - view.scores[0], *view.scores[1:14], 5.0] for view in asked}
    found = retest(asked, second, "kimi", 0.7)
    (warning,) = ceiling_warnings(found, MaskLimits())
    assert warning.startswith("the teacher does not agree with itself in A1, A15 (MAE 1 or more, or rho 0.3 or less)")
    assert ceiling_warnings(None, MaskLimits()) == []
    slightly = {view.key: [score + 0.5 for score in view.scores] for view in asked}
    assert ceiling_warnings(retest(asked, slightly, "kimi", 0.7), MaskLimits()) == []


def test_a_few_views_decide_nothing_about_the_teacher() -> None:
    """Two that it contradicts itself in, or estimates beyond a limit whose bounds are not: said to be undecided."""
    few = views("a", 2)
    turned = {view.key: [11 - score for score in view.scores] for view in few}
    (warning,) = ceiling_warnings(retest(few, turned, "kimi", 0.7), MaskLimits())
    assert warning.startswith("whether the teacher agrees with itself in A1, ")
    assert "is undecided of 2 views judged twice" in warning
    asked = views("a", 30)
    off = {view.key: [score + 3 * (i % 3 == 0) + 0.1 for score in view.scores] for i, view in enumerate(asked)}
    found = retest(asked, off, "kimi", 0.7)
    assert found is not None
    cell = found.dimensions["A1"]
    assert cell.mae_lo is not None
    assert cell.mae_lo < 1 < cell.mae
    assert all(warning.startswith("whether") for warning in ceiling_warnings(found, MaskLimits()))


def test_a_second_answer_is_whole_or_none() -> None:
    whole = write(Reply([7] * 15, 70, "keep"), "scores_first", "scores", [""] * 15)
    assert read_scores(whole, "scores_first", NAMES) == [7.0] * 15
    with pytest.raises(DocumentError, match="reply_unreadable"):
        read_scores(whole.replace("[A9] 7/10", "[A9] seven"), "scores_first", NAMES)
