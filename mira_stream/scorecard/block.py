"""Fifteen scores, overall and recommendation as a student is taught to write them, read in one go. Pure.

Nothing in such a block needs a repair, so it is read faster than line by line (reading.py), and never differently. A
reply that departs from it anywhere has no block.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple, cast

from mira_stream.messages import SLOTS, Layout, Verdict
from mira_stream.scorecard.line import MARKUP_AROUND

RUBRICS_KEPT: Final = 64
SCORE: Final = r"(10|[0-9](?:\.[0-9])?)/10"
"""As taught."""
_REASON: Final = r" — \S[^\r\n]*"
_FIELDS: Final = (
    r"overall: (100|[1-9]?[0-9](?:\.[0-9])?)\n" r"training_recommendation: (keep|downsample|drop)(?:\n|\Z)"
)  # fmt: skip


class Block(NamedTuple):
    """`end`: where in the reply it ends, its newline included."""

    scores: list[float]
    overall: float
    recommendation: Verdict
    end: int


def read_block(reply: str, layout: Layout, names: Sequence[str]) -> Block | None:
    """The block that the reply begins with; None if it does not begin with one. `names`: the rubric's, in order."""
    if layout == "scores_first":
        found = _SCORES_FIRST.match(reply)
    else:
        found = _match(reply, names, _REASON) or _match(reply, names, "")
    if found is None:
        return None
    *scores, overall, recommendation = found.groups()
    return Block([float(score) for score in scores], float(overall), cast(Verdict, recommendation), found.end())


def is_plain(name: str) -> bool:
    """Whether the rubric's name needs not be told from markup around it."""
    return bool(name) and name == name.strip().lstrip(MARKUP_AROUND) and name.isprintable()


def _of(lines: Sequence[str]) -> re.Pattern[str]:
    return re.compile("".join(rf"{line}\n" for line in lines) + _FIELDS)


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
