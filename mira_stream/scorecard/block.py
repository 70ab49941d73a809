"""Scores, then overall and recommendation, as a student is taught to write them, read in one go. Pure.

Nothing in such lines needs a repair, so they are read faster than line by line (reading.py), and never differently. A
reply that departs from it in a score's line has no block, but runs of such lines. Lines end by `\\n` alone.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import takewhile
from typing import Final, NamedTuple, cast

from mira_stream.messages import SLOTS, Layout, Verdict
from mira_stream.scorecard.line import MARKUP_AROUND

RUBRICS_KEPT: Final = 64
SCORE: Final = r"(10|[0-9](?:\.[0-9])?)/10"
"""As taught."""
_REASON: Final = r" — \S.*"
OVERALL: Final = r"(100|[1-9]?[0-9](?:\.[0-9])?)"
"""As taught."""
_FIELDS: Final = re.compile(rf"overall: {OVERALL}\ntraining_recommendation: (keep|downsample|drop)(?:\n|\Z)")


class Block(NamedTuple):
    """`justified`: whether each score has its reason beside it. `end`: where in the reply the last line ends."""

    scores: list[float]
    justified: bool
    end: int


class Fields(NamedTuple):
    overall: float
    recommendation: Verdict
    end: int


def read_block(reply: str, layout: Layout, names: Sequence[str]) -> Block | None:
    """The fifteen scores that the reply begins with; None if it does not. `names`: the rubric's, in order."""
    justified = False
    if layout == "scores_first":
        found = _SCORES_FIRST.match(reply)
    else:
        found = _match(reply, names, _REASON)
        justified = found is not None
        found = found or _match(reply, names, "")
    return None if found is None else Block([float(score) for score in found.groups()], justified, found.end())


def read_fields(reply: str, at: int) -> Fields | None:
    """The two that stand at `at`."""
    found = _FIELDS.match(reply, at)
    return None if found is None else Fields(float(found[1]), cast(Verdict, found[2]), found.end())


class Run(NamedTuple):
    """Slots that come one after the other, each on its line as taught; `justified`: of each, whether its reason is
    beside it."""

    scores: list[float]
    justified: list[bool]
    end: int


def read_run(reply: str, at: int, layout: Layout, names: Sequence[str], first: int) -> Run | None:
    """What of slots `first`, `first` + 1, ... stands in the reply from `at` on; None if not even the first does."""
    pattern = _run(tuple(names) if layout == "interleaved" else None, first)
    found = None if pattern is None else pattern.match(reply, at)
    if found is None:
        return None
    groups = found.groups()
    scores = [float(score) for score in groups[0::2] if score is not None]
    return Run(scores, [reason is not None for reason in groups[1 : 2 * len(scores) : 2]], found.end())


def is_plain(name: str) -> bool:
    """Whether the rubric's name needs not be told from markup around it."""
    return bool(name) and name == name.strip().lstrip(MARKUP_AROUND) and name.isprintable()


def _of(lines: Sequence[str]) -> re.Pattern[str]:
    return re.compile("".join(rf"{line}\n" for line in lines))


_SCORES_FIRST: Final = _of([rf"\[{slot}\] {SCORE}" for slot in SLOTS])


def _match(reply: str, names: Sequence[str], reason: str) -> re.Match[str] | None:
    pattern = _interleaved(tuple(names), reason)
    return None if pattern is None else pattern.match(reply)


@lru_cache(2 * RUBRICS_KEPT)
def _interleaved(names: tuple[str, ...], reason: str) -> re.Pattern[str] | None:
    """None if a name would have to be told from markup around it."""
    if not all(map(is_plain, names)):
        return None
    return _of([rf"\[{slot}\] {re.escape(name)}: {SCORE}{reason}" for slot, name in zip(SLOTS, names, strict=True)])


@lru_cache(RUBRICS_KEPT)
def _run(names: tuple[str, ...] | None, first: int) -> re.Pattern[str] | None:
    """`names` None: the lines have none and no reasons. It goes on to the first name that is not plain, and ends before
    it; None if that is the first slot's."""
    reason = "(?!)" if names is None else _REASON
    known = (
        [""] * len(SLOTS) if names is None else [f"{re.escape(name)}: " if is_plain(name) else None for name in names]
    )
    pattern = ""
    lines = list(zip(SLOTS, known, strict=True))[first - 1 :]
    for slot, name in reversed(list(takewhile(lambda line: line[1] is not None, lines))):
        rest = f"(?:{pattern})?" if pattern else ""
        pattern = rf"\[{slot}\] {name}{SCORE}(?:{reason}())?\n{rest}"
    return re.compile(pattern) if pattern else None
