"""When dead letters are no document's own fault, the stage must stop instead of emptying the topic into them."""

from collections import Counter, deque
from typing import Final

from mira_stream.errors import StageStopped

CAUSES: Final = frozenset({"reply_unreadable", "engine_refused"})
"""Reasons that speak of the engine, the prompt or the model, not of the document."""
WINDOW: Final = 200


class DeadLetterLimit:
    """Over all partitions of a stage. Documents that die by their own fault are not counted at all."""

    def __init__(self, stage: str, in_a_row_max: int) -> None:
        self._stage = stage
        self._in_a_row_max = in_a_row_max
        self._last: deque[str | None] = deque(maxlen=WINDOW)
        self._causes: Counter[str] = Counter()
        self._row: tuple[str | None, int] = (None, 0)

    def judged(self) -> None:
        """A document got its card."""
        self._observe(None)

    def died(self, reason: str, error: str) -> None:
        """Raises StageStopped at the limit."""
        if reason not in CAUSES:
            return
        self._observe(reason)
        in_a_row, of_last = self._row[1], self._causes[reason]
        if in_a_row >= self._in_a_row_max or of_last > WINDOW // 2:
            raise StageStopped(
                "too_many_dead_letters",
                f"{self._stage}: {reason} {in_a_row} in a row, {of_last} of the last {WINDOW}; the last: {error[:300]}",
                "check that model, prompts and rubric belong together; then start the stage again",
            )

    def _observe(self, outcome: str | None) -> None:
        if len(self._last) == WINDOW and (oldest := self._last[0]) is not None:
            self._causes[oldest] -= 1
        self._last.append(outcome)
        if outcome is not None:
            self._causes[outcome] += 1
        same = outcome is not None and outcome == self._row[0]
        self._row = (outcome, self._row[1] + 1 if same else int(outcome is not None))
