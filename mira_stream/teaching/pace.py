"""How fast a teacher may be asked. Pure: `now` is passed in, waiting is the caller's."""

from typing import Final, NamedTuple

from mira_stream.chance import u

MINUTE_S: Final = 60.0
BACKOFF_FIRST_S: Final = 0.5
BACKOFF_MOST_S: Final = 60.0
DOUBLINGS_MAX: Final = 10


class Limits(NamedTuple):
    """What asking keeps to; 0 a minute means no limit of ours.

    `attempts`: how often a question whose answers cannot be read is asked in all. `silent_s`: a teacher that
    answers nothing for so long is given up, and so is one question that fails for so long while others are answered.
    `retry_unread`: what no answer of an earlier run could be read of is asked as often again. `answer_s`: so long a
    teacher takes at most; what was sent when asking ends has that time.
    """

    concurrency: int
    requests_per_minute: float = 0
    tokens_per_minute: float = 0
    attempts: int = 3
    silent_s: float = 600.0
    retry_unread: bool = False
    answer_s: float = 120.0


class Pace:
    """Spreads requests evenly under both rates, so that no minute holds more than a minute may."""

    def __init__(self, limits: Limits) -> None:
        self._request_s = MINUTE_S / limits.requests_per_minute if limits.requests_per_minute else 0.0
        self._token_s = MINUTE_S / limits.tokens_per_minute if limits.tokens_per_minute else 0.0
        self._request_at = 0.0
        self._tokens_at = 0.0
        self._held_until = 0.0

    def reserve(self, now: float, tokens: float) -> float:
        """Take the next place for a request of about so many tokens; seconds to wait before it is sent."""
        start = max(now, self._request_at, self._tokens_at, self._held_until)
        self._request_at = start + self._request_s
        self._tokens_at = start + self._token_s * tokens
        return start - now

    def correct(self, tokens: float) -> None:
        """So many tokens more (or, negative, fewer) than was reserved for were used."""
        self._tokens_at += self._token_s * tokens

    def hold(self, until: float) -> None:
        """Send nothing before then: the teacher said so."""
        self._held_until = max(self._held_until, until)

    def held(self, now: float) -> float:
        """Seconds for which nothing may be sent yet."""
        return max(0.0, self._held_until - now)


def backoff_s(failures: int, key: str) -> float:
    """Seconds to wait after so many failures in a row (from 1): doubling, spread by key so that a crowd disperses."""
    longest = min(BACKOFF_MOST_S, BACKOFF_FIRST_S * 2.0 ** min(failures - 1, DOUBLINGS_MAX))
    return longest * (0.5 + 0.5 * u("seed", f"{key} {failures}"))
