"""What is refused before an application sees it: counted each time, logged now and then."""

from collections.abc import Callable
from typing import Final

import structlog

from mira_stream.clock import Monotonic, monotonic

LOG_EVERY_S: Final = 60.0
log = structlog.get_logger()


class Refusals:
    """`count` is told the code of each. Of one code a line is logged at most every LOG_EVERY_S: a stranger who asks
    again and again fills no disk, and a caller whose token was changed is heard of within a minute."""

    def __init__(self, count: Callable[[str], None] = lambda code: None, now: Monotonic = monotonic) -> None:
        self._count = count
        self._now = now
        self._logged_s: dict[str, float] = {}
        self._silent: dict[str, int] = {}

    def add(self, code: str, cause: str, client: str) -> None:
        """`code` is one of a few of ours; `client` is the address that was refused."""
        self._count(code)
        self._silent[code] = self._silent.get(code, 0) + 1
        now = self._now()
        if code not in self._logged_s or now - self._logged_s[code] >= LOG_EVERY_S:
            log.warning("refused", code=code, cause=cause, requests=self._silent.pop(code), last_client=client)
            self._logged_s[code] = now
