"""When a service that died is started again, and when that has no use any more."""

from typing import Final, NamedTuple

from mira_stream.errors import ConfigError, DataLossError, UsageError

FINAL: Final = frozenset(kind.exit_code for kind in (UsageError, ConfigError, DataLossError))
"""Exit codes of what another start does not mend: a person has to."""


class Patience(NamedTuple):
    """`deaths` within `window_s` are the last one. The first start anew comes after `first_s`, each later one of the
    window after twice the time, `longest_s` at most."""

    deaths: int = 10
    window_s: float = 3600.0
    first_s: float = 1.0
    longest_s: float = 300.0


class Restarts:
    """The deaths of one service. Times are seconds of any one clock."""

    def __init__(self, patience: Patience) -> None:
        self.patience = patience
        self.total = 0
        """Deaths that were, or will be, followed by another start."""
        self._deaths: list[float] = []

    def died(self, now_s: float) -> float | None:
        """Seconds until it is started again; None: give it up. Who lives for a whole window begins anew."""
        patience = self.patience
        self._deaths = [at_s for at_s in self._deaths if now_s - at_s < patience.window_s] + [now_s]
        if len(self._deaths) >= max(1, patience.deaths):
            return None
        self.total += 1
        return float(min(patience.longest_s, patience.first_s * 2.0 ** (len(self._deaths) - 1)))

    def given_up(self) -> str:
        """Why it is not started again."""
        if self.patience.deaths <= 1:
            return "it is not started again (--deaths)"
        return f"{len(self._deaths)} deaths within {self.patience.window_s / 60:.0f} min: it is not started again"
