"""When there is something to say of a teacher that answers nothing. Pure: `now` is passed in."""

from typing import Final

FAILS_S: Final = 5.0
"""So long requests that fail pass for a moment's trouble."""
HANGS_S: Final = 30.0
"""So long a request that is under way passes for a long answer, until longer ones have come."""
LONGER: Final = 3.0
"""So many times the longest wait that ended by an answer, none having failed, passes for a long answer, too."""
WHY_CHARACTERS: Final = 200


class Silence:
    """The time since the last answer, or since a question was sent when none was open. A teacher that is given up
    when it was silent for `longest_s`; None: never."""

    def __init__(self, longest_s: float | None, now: float) -> None:
        self._longest_s = longest_s
        self._since = now
        self._why = ""
        self._said_s = 0.0
        self._broken_s = 0.0
        self._hangs_s = HANGS_S

    def sent(self, now: float, under_way: int) -> None:
        """A question is sent while `under_way` others are: one that was not asked was not silent."""
        if not under_way and not self._why:
            self._since = now

    def failed(self, why: str) -> None:
        self._why = " ".join(why.split())[:WHY_CHARACTERS]

    def answered(self, now: float) -> None:
        """Also by a refusal."""
        if not self._why:
            self._hangs_s = max(self._hangs_s, LONGER * self.seconds(now))
        if self._said_s:
            self._broken_s = self.seconds(now)
        self._since, self._why, self._said_s = now, "", 0.0

    def nobody_waits(self) -> None:
        """No question is open any more: what failed is past, and the next one begins anew."""
        self._why, self._said_s = "", 0.0

    def seconds(self, now: float) -> float:
        return now - self._since

    def news(self, now: float, under_way: int) -> str:
        """A line: why nothing comes and how long it is waited for, again when that is twice as long; or that it is
        over. Empty if there is nothing new."""
        if self._broken_s:
            over, self._broken_s = self._broken_s, 0.0
            return f"the teacher answers again, after {over:.0f} s"
        seconds = self.seconds(now)
        if not (self._why or under_way) or seconds < max(2 * self._said_s, FAILS_S if self._why else self._hangs_s):
            return ""
        self._said_s = seconds
        why = self._why or f"{under_way} request{'s' * (under_way > 1)} under way"
        patience = "waited for without end" if self._longest_s is None else f"given up after {self._longest_s:.0f} s"
        return f"no answer from the teacher for {seconds:.0f} s, {patience}: {why}"
