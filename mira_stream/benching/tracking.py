"""Which documents of a turn were sent when and ended when. Pure: times are passed in."""

from typing import Final

from mira_stream.benching.result import Latency, Window, latency_of

WINDOW_S: Final = 2.0
"""A window is at least this long: results come in transactions, one every half second or so."""
WINDOWS_MAX: Final = 10


class Tracker:
    """Each document ends once; one that ends again is counted in `doubled`, one that was never sent is no concern."""

    def __init__(self) -> None:
        self._due: dict[bytes, float] = {}
        self._done: set[bytes] = set()
        self._ended: list[tuple[float, float]] = []
        self.dead = self.doubled = 0
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
        self._ended.append((at, at - due))
        self.dead += dead
        self.last = max(self.last, at)
        return True

    @property
    def count_sent(self) -> int:
        return len(self._due)

    @property
    def count_ended(self) -> int:
        return len(self._ended)

    @property
    def seconds(self) -> float:
        """From the first document due to the last outcome."""
        return self.last - self.first

    def latency(self) -> Latency:
        """Needs an outcome."""
        return latency_of([seconds for _, seconds in self._ended])

    def windows(self) -> list[Window]:
        """Equal parts of the turn, at most WINDOWS_MAX, each at least WINDOW_S long unless the turn is shorter."""
        number = max(1, min(WINDOWS_MAX, int(self.seconds / WINDOW_S)))
        width = self.seconds / number
        parts: list[list[float]] = [[] for _ in range(number)]
        for at, latency in self._ended:
            place = int((at - self.first) / width) if width else 0
            parts[min(number - 1, place)].append(latency)
        return [
            Window(
                start_s=round(place * width, 3),
                seconds=width,
                documents=len(part),
                latency_ms=latency_of(part) if part else None,
            )
            for place, part in enumerate(parts)
        ]
