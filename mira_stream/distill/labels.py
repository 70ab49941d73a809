"""Teacher labels: which views of which documents are judged, and the rows a teacher's replies become. Pure.

A document of the held-out share has one view, the one its student will be asked about. A document of the training
share has that view and, if asked for, windows that begin further on, each also at shorter cuts: a teacher that
costs nothing can judge as many as training can use.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal, NamedTuple

from msgspec import Struct

from mira_stream.chance import is_heldout, u
from mira_stream.config import GroupSection
from mira_stream.errors import DocumentError
from mira_stream.messages import SLOTS, Document, Verdict
from mira_stream.render import Tokenize, cut, render
from mira_stream.scorecard import Reading

Split = Literal["distill", "heldout"]
MEASURED_SHARE: Final = 0.5
"""Held-out documents with u("audit", id) below this share are for measuring reliability, the others for streaming."""
SHORTEST_TOKENS: Final = 48
WINDOW_CHARACTERS_A_TOKEN: Final = 6


class Label(Struct, frozen=True, kw_only=True):
    """One view and what the teacher says of it. `window` 0 at `cut` 0 is the view that a student is asked about."""

    id: str
    source: str
    split: Split
    window: int
    cut: int
    view: str
    scores: list[float]
    overall: float
    recommendation: Verdict


class Wanted(NamedTuple):
    """A view that a teacher is to judge."""

    id: str
    source: str
    split: Split
    window: int
    cut: int
    view: str


class Augmentation(NamedTuple):
    """Windows a training document gives, and views a window gives (1, 1: the student's own view alone)."""

    windows: int = 1
    cuts: int = 1


SCHEMA: Final[dict[str, Literal["string", "int64", "float64", "floats"]]] = {
    "id": "string",
    "source": "string",
    "split": "string",
    "window": "int64",
    "cut": "int64",
    "view": "string",
    "scores": "floats",
    "overall": "float64",
    "recommendation": "string",
}
"""Columns of a file of labels."""


def is_measured(document_id: str) -> bool:
    """Whether reliability is measured on this document (then a demonstration should rather stream others)."""
    return is_heldout(document_id) and u("audit", document_id) < MEASURED_SHARE


def views(
    document: Document, settings: GroupSection, cutoff_tokens: int, tokenize: Tokenize, more: Augmentation
) -> Iterator[Wanted]:
    """The views of one document that a teacher is to judge. Raises DocumentError like `render` and `cut`."""
    text = render(document, settings.family)
    budget = settings.document_tokens_max
    split: Split = "heldout" if is_heldout(document.id) else "distill"
    own = cut(text, tokenize, cutoff_tokens, budget, settings.too_long).text
    yield Wanted(document.id, document.source, split, 0, 0, own)
    if split == "heldout":
        return
    chance = random.Random(u("seed", document.id))
    for window in range(more.windows):
        if window == 0:
            whole = own
        else:
            start = _line_start(text, chance.randrange(max(1, len(text) - budget)))
            whole = cut(text[start:], tokenize, cutoff_tokens, budget, "head").text
            if not whole.strip():
                continue
            yield Wanted(document.id, document.source, split, window, 0, whole)
        offsets = tokenize(whole)
        for number in range(1, more.cuts):
            # Cut lengths are spread over the window, a little by chance.
            tokens = round(len(offsets) * (number + chance.uniform(-0.3, 0.3)) / more.cuts)
            if SHORTEST_TOKENS <= tokens < len(offsets) and (part := whole[: offsets[tokens - 1][1]]).strip():
                yield Wanted(document.id, document.source, split, window, number, part)


def label(wanted: Wanted, reading: Reading) -> Label:
    """A row of the label file. Raises DocumentError(reply_unreadable) unless all of the reply was read."""
    scores = [score for score in reading.scores if score is not None]
    if len(scores) != len(SLOTS) or reading.overall is None or reading.recommendation is None:
        raise DocumentError("reply_unreadable", f"the teacher's reply lacks scores: {', '.join(reading.repairs)}")
    return Label(
        id=wanted.id,
        source=wanted.source,
        split=wanted.split,
        window=wanted.window,
        cut=wanted.cut,
        view=wanted.view,
        scores=scores,
        overall=reading.overall,
        recommendation=reading.recommendation,
    )


def columns(labels: Sequence[Label]) -> dict[str, list[object]]:
    """The columns of SCHEMA."""
    return {name: [getattr(row, name) for row in labels] for name in SCHEMA}


def rows(table: dict[str, list[object]], build: Callable[[dict[str, object]], Label]) -> list[Label]:
    """Labels of a file's columns; `build` turns a row into a Label (msgspec.convert)."""
    return [build(dict(zip(table, values, strict=True))) for values in zip(*table.values(), strict=True)]


def _line_start(text: str, position: int) -> int:
    return text.rfind("\n", 0, position) + 1
