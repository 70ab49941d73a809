"""Reads the justifications out of a reply of mode `rationale`. Pure.

scores_first: `[A1] justification` x 15 behind `training_recommendation`; interleaved: behind each score's dash.
"""

import re
from collections.abc import Sequence
from typing import Final

from mira_stream.messages import SLOTS, Layout
from mira_stream.scorecard.line import MARKUP_AROUND
from mira_stream.scorecard.reading import without_thinking

JUSTIFICATION_CHARACTERS_MAX: Final = 1000
_SLOT: Final = re.compile(r"[*_`#>\s•-]*\[\s*A([0-9]{1,2})\s*\][*_`]*\s*(.*)", re.IGNORECASE)
_RECOMMENDATION: Final = re.compile(r"[*_`#>\s•-]*training[_ ]recommendation\b", re.IGNORECASE)
_SCORE: Final = re.compile(r"[0-9]{1,2}(?:\.[0-9])?\s*/\s*10[*_`]*\s*(?:—|–|-|:)\s*(.*)")


def read_justifications(reply: str, layout: Layout, names: Sequence[str]) -> list[str | None]:
    """Fifteen justifications in slot order, None where there is none, or none for certain (one slot, two texts)."""
    found: dict[int, str | None] = {}
    ended = False
    for line in without_thinking(reply).splitlines():
        ended = ended or _RECOMMENDATION.match(line) is not None
        slot = _SLOT.match(line)
        if slot is None or not 1 <= (number := int(slot[1])) <= len(SLOTS):
            continue
        text = slot[2] if layout == "scores_first" and ended else None
        if layout == "interleaved":
            text = _behind_score(slot[2], names[number - 1])
        text = text.strip(MARKUP_AROUND)[:JUSTIFICATION_CHARACTERS_MAX] if text else None
        if text:
            found[number] = text if found.get(number, text) == text else None
    return [found.get(number) for number in range(1, len(SLOTS) + 1)]


def _behind_score(rest: str, name: str) -> str | None:
    """The text behind `name: 7/10 — `. The name is passed over first: it may hold what looks like a score."""
    text = rest.strip().lstrip(MARKUP_AROUND)
    if name and text.lower().startswith(name.lower()):
        text = text[len(name) :]
    score = _SCORE.search(text)
    return score[1] if score else None
