"""Several URLs that serve the same model: least loaded first, a failing one rests for a while."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

from mira_stream.clock import Monotonic, monotonic
from mira_stream.errors import ConfigError

REST_FIRST_S: Final = 1.0
REST_MOST_S: Final = 30.0


class Endpoint:
    """One URL, its load and its rest."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.in_flight = 0
        self.failures_in_a_row = 0
        self.rests_until = 0.0

    def __repr__(self) -> str:
        return f"<Endpoint {self.url} in_flight={self.in_flight} failures={self.failures_in_a_row}>"


class Endpoints:
    """`last_failure`: why one of them rests. Raises ConfigError for a URL that is not plain http(s)."""

    def __init__(self, urls: Sequence[str], now: Monotonic = monotonic) -> None:
        if not urls:
            raise ConfigError("endpoint_missing", "no base_urls", 'name at least one, as "http://host:8000/v1"')
        self.all = [Endpoint(check_url(url)) for url in urls]
        self.last_failure = ""
        self._now = now

    @contextmanager
    def use(self, tried: set[str]) -> Iterator[Endpoint | None]:
        """The least loaded endpoint that neither rests nor was tried before; None if there is none."""
        now = self._now()
        fit = [one for one in self.all if one.rests_until <= now and one.url not in tried]
        if not fit:
            yield None
            return
        chosen = min(fit, key=lambda one: one.in_flight)
        chosen.in_flight += 1
        try:
            yield chosen
        finally:
            chosen.in_flight -= 1

    def failed(self, endpoint: Endpoint, why: str) -> None:
        """It did not answer: let it rest, longer each time. Requests that were on their way when its rest began tell
        nothing new."""
        if self._now() < endpoint.rests_until:
            return
        self.last_failure = why
        rest_s = min(REST_MOST_S, REST_FIRST_S * 2 ** min(endpoint.failures_in_a_row, 10))
        endpoint.failures_in_a_row += 1
        endpoint.rests_until = self._now() + rest_s

    def answered(self, endpoint: Endpoint) -> None:
        endpoint.failures_in_a_row = 0
        endpoint.rests_until = 0.0


def check_url(url: str) -> str:
    """The URL without a slash at its end. Raises ConfigError(endpoint_invalid)."""
    parts = urlsplit(url)
    try:
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # a port that is no number
        valid = False
    if not valid or parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigError(
            "endpoint_invalid",
            f"{parts.scheme}://{parts.hostname} is no plain http(s) URL",
            'write "http://host:8000/v1", without user, query or fragment; keys go into api_key_env',
        )
    return url.rstrip("/")
