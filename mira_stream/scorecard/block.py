"""Fifteen scores, then overall and recommendation, as a student is taught to write them, read in one go. Pure.

Nothing in such a block needs a repair, so it is read faster than line by line (reading.py), and never differently. A
reply that departs from it in a score's line has no block; where its two fields do, the block ends before them.
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
_REASON: Final = r" — \S.*"
"""Only where no line ends by `\\r`: a dot passes over all but `\\n`, twice as fast as `[^\\r\\n]`."""
OVERALL: Final = r"(100|[1-9]?[0-9](?:\.[0-9])?)"
"""As taught."""
_FIELDS: Final = re.compile(rf"overall: {OVERALL}\ntraining_recommendation: (keep|downsample|drop)(?:\n|\Z)")


class Block(NamedTuple):
    """`end`: where in the reply it ends, its newline included. `overall` and `recommendation` are both None if they do
    not stand behind the scores as taught. `justified`: whether each score has its reason beside it."""

    scores: list[float]
    overall: float | None
    recommendation: Verdict | None
    end: int
    justified: bool


def read_block(reply: str, layout: Layout, names: Sequence[str]) -> Block | None:
    """The block that the reply begins with; None if it does not begin with one. `names`: the rubric's, in order."""
    justified = False
    if layout == "scores_first":
        found = _SCORES_FIRST.match(reply)
    else:
        found = None if "\r" in reply else _match(reply, names, _REASON)
        justified = found is not None
        found = found or _match(reply, names, "")
    if found is None:
        return None
    scores = [float(score) for score in found.groups()]
    fields = _FIELDS.match(reply, found.end())
    if fields is None:
        return Block(scores, None, None, found.end(), justified)
    return Block(scores, float(fields[1]), cast(Verdict, fields[2]), fields.end(), justified)


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
