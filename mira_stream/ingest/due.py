"""Which files of a watched folder are to be read now. Pure: listings and the time go in."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from mira_stream.ingest.listing import Seen, Stamp

RETRY_S: Final = 30.0
"""How long a file that was refused and does not change is left alone."""
NEVER: Final = float("inf")


class _State(NamedTuple):
    stamp: Stamp
    due: float


class Due:
    """A plain JSON Lines file is due as soon as it changed, any other format once it kept its stamp for `settle_s`:
    what reads it needs its end. Memory: one entry a file that is there."""

    def __init__(self, settle_s: float) -> None:
        self._settle_s = settle_s
        self._states: dict[str, _State] = {}

    def look(self, listing: Iterable[Seen], now: float) -> list[Seen]:
        """The files to read, in the listing's order. A file stays due until it is `taken` or `refused`."""
        before, self._states = self._states, {}
        due = []
        for seen in listing:
            state = before.get(seen.file.uri)
            if state is None or state.stamp != seen.stamp:
                state = _State(seen.stamp, now if seen.file.format == "jsonl" else now + self._settle_s)
            self._states[seen.file.uri] = state
            if state.due <= now:
                due.append(seen)
        return due

    def taken(self, seen: Seen) -> None:
        """Nothing to do for this file until it changes."""
        self._states[seen.file.uri] = _State(seen.stamp, NEVER)

    def refused(self, seen: Seen, now: float) -> None:
        """Try again when it has changed, and after a while: a permission or a mount may have come back."""
        self._states[seen.file.uri] = _State(seen.stamp, now + RETRY_S)
