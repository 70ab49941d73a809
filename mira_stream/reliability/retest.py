"""The teacher against itself: held-out views judged a second time. Pure.

No student can be expected to agree with its teacher better than the teacher agrees with itself; a dimension whose
ceiling is low is a question the teacher cannot answer, not a student that failed.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Final, NamedTuple

import numpy as np

from mira_stream.chance import u
from mira_stream.errors import DocumentError
from mira_stream.messages import SLOTS, Layout
from mira_stream.reliability.measure import DECIMALS
from mira_stream.reliability.metrics import agreements
from mira_stream.reliability.table import Ceiling, Retest
from mira_stream.scorecard import parse
from mira_stream.teaching.port import Answer, Question, Teacher

LATER_ATTEMPTS: Final = 1000
"""Added to the number of an attempt: a retest draws with other seeds than the label it is compared with."""

NOT_INFORMATIVE: Final = "not informative: only the rounding of its server moves an answer"


class View(NamedTuple):
    """One held-out view and the teacher's first fifteen scores of it."""

    id: str
    source: str
    view: str
    scores: Sequence[float]

    @property
    def key(self) -> str:
        """Ids are unique within a source."""
        return f"{self.source}/{self.id}"


class Again:
    """The same teacher, with other seeds."""

    def __init__(self, teacher: Teacher) -> None:
        self._teacher = teacher

    @property
    def model(self) -> str:
        return self._teacher.model

    @property
    def temperature(self) -> float:
        return self._teacher.temperature

    async def ask(self, question: Question, attempt: int) -> Answer:
        """Raises what the teacher raises."""
        return await self._teacher.ask(question, LATER_ATTEMPTS + attempt)


def choose(views: Sequence[View], count: int) -> list[View]:
    """`count` views, the sources taking turns, each source's in an order of its own that never changes."""
    by_source: dict[str, list[View]] = {}
    for view in sorted(views, key=lambda view: (view.source, u("seed", view.id), view.id)):
        by_source.setdefault(view.source, []).append(view)
    turns: Iterator[View] = (view for turn in zip_longest(*by_source.values()) for view in turn if view is not None)
    return [view for view, _ in zip(turns, range(count), strict=False)]


def read_scores(text: str, layout: Layout, names: Sequence[str]) -> list[float]:
    """All fifteen scores of a reply. Raises DocumentError(reply_unreadable) if one is missing."""
    reading = parse(text, layout, names)
    scores = [score for score in reading.scores if score is not None]
    if len(scores) != len(SLOTS):
        raise DocumentError("reply_unreadable", f"the teacher's reply lacks scores: {', '.join(reading.repairs)}")
    return scores


def retest(
    views: Sequence[View], again: Mapping[str, Sequence[float]], teacher: str, temperature: float, prompt: str = ""
) -> Retest | None:
    """The ceilings. `again`: second scores by key; a view without any was not answered. None if all were so.

    `prompt`: sha256 of the templates that the teacher was asked with.
    """
    answered = [view for view in views if view.key in again]
    if not answered:
        return None
    first = np.array([view.scores for view in answered], np.float64)
    second = np.array([again[view.key] for view in answered], np.float64)
    ceilings = {
        slot: Ceiling(
            mae=round(cell.mae, DECIMALS),
            mae_hi=round(cell.mae_hi, DECIMALS),
            rho=None if cell.rho is None else round(cell.rho, DECIMALS),
            rho_lo=None if cell.rho_lo is None else round(cell.rho_lo, DECIMALS),
            mae_lo=round(cell.mae_lo, DECIMALS),
            rho_hi=None if cell.rho_hi is None else round(cell.rho_hi, DECIMALS),
        )
        for slot, cell in zip(SLOTS, agreements(first, second), strict=True)
    }
    return Retest(
        teacher=teacher,
        n=len(answered),
        unanswered=len(views) - len(answered),
        dimensions=ceilings,
        temperature=temperature,
        prompt=prompt,
        note=_note(len(answered), temperature, bool((first == second).all())),
    )


def _note(views: int, temperature: float, same: bool) -> str:
    """A teacher that draws nothing by chance agrees with itself, however unsure it is."""
    if temperature == 0:
        how = f"trivially 1: {views} of {views} second answers are the first ones" if same else NOT_INFORMATIVE
        return (
            f"{how}. At temperature 0 a teacher repeats itself, however unsure it is: for a ceiling that says something"
            " set [teacher] temperature above 0 and label anew"
        )
    if same:
        return (
            f"trivially 1: {views} of {views} second answers are the first ones, though the temperature is"
            f" {temperature:g}. This teacher draws nothing by chance: a stand-in that measures features, or a server"
            " that ignores temperature and seed"
        )
    return ""
