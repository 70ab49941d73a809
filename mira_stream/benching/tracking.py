"""Which documents of a turn were sent when and ended when. Pure: times are passed in."""

from statistics import fmean
from typing import Final, NamedTuple

from mira_stream.benching.result import Latency, Window, latency_of

WINDOW_S: Final = 2.0
"""A window is at least this long: results come in transactions, one every half second or so."""
WINDOWS_MAX: Final = 10


class Ended(NamedTuple):
    """An outcome: when, how long after the document was due (both in seconds), and whether it is a dead letter."""

    at: float
    latency: float
    dead: bool


class Tracker:
    """Each document ends once; one that ends again is counted in `doubled`, one that was never sent is no concern."""

    def __init__(self) -> None:
        self._due: dict[bytes, float] = {}
        self._done: set[bytes] = set()
        self._ended: list[Ended] = []
        self.doubled = 0
        self.first = self.last = 0.0

    def sent(self, key: bytes, due: float) -> None:
        self.first = min(self.first, due) if self._due else due
        self._due[key] = due

    def ended(self, key: bytes, at: float, *, dead: bool = False) -> bool:
        """Whether that was news."""
        if key in self._done:
            self.doubled += 1
            return False
        due = self._due.get(key)
        if due is None:
            return False
        self._done.add(key)
        self._ended.append(Ended(at, at - due, dead))
        self.last = max(self.last, at)
        return True

    @property
    def count_sent(self) -> int:
        return len(self._due)

    @property
    def count_ended(self) -> int:
        return len(self._ended)

    @property
    def dead(self) -> int:
        return sum(one.dead for one in self._ended)

    @property
    def seconds(self) -> float:
        """From the first document due to the last outcome."""
        return self.last - self.first

    def latency(self) -> Latency:
        """Needs an outcome."""
        return latency_of([one.latency for one in self._ended])

    def kept_up(self) -> float:
        """Of an open loop, the rate at which documents left over the rate at which they came, 1 at most: where latency
        grows by g seconds a second, 1 / (1 + g). It is that of the last third that came against the third before: the
        first one fills an empty system."""
        by_due = sorted((one.at - one.latency, one.latency) for one in self._ended)
        third = len(by_due) // 3
        if not third:
            return 1.0
        before, last = by_due[-2 * third : -third], by_due[-third:]
        span = fmean(due for due, _ in last) - fmean(due for due, _ in before)
        grown = fmean(latency for _, latency in last) - fmean(latency for _, latency in before)
        return 1 / (1 + max(0.0, grown / span)) if span > 0 else 1.0

    def windows(self) -> list[Window]:
        """Equal parts of the turn, at most WINDOWS_MAX, each at least WINDOW_S long unless the turn is shorter."""
        number = max(1, min(WINDOWS_MAX, int(self.seconds / WINDOW_S)))
        width = self.seconds / number
        parts: list[list[Ended]] = [[] for _ in range(number)]
        for one in self._ended:
            place = int((one.at - self.first) / width) if width else 0
            parts[min(number - 1, place)].append(one)
        return [
            Window(
                start_s=round(place * width, 3),
                seconds=width,
                documents=len(part),
                dead_letters=sum(one.dead for one in part),
                latency_ms=latency_of([one.latency for one in part]) if part else None,
            )
            for place, part in enumerate(parts)
        ]
