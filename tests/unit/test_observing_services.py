"""Which services are asked: each by its address, also where a name stands for several."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from mira_stream.errors import UsageError
from mira_stream.observing import services
from mira_stream.observing.services import ask, named


class Metrics(BaseHTTPRequestHandler):
    """As a service of ours it answers under its address alone, whatever name led to it."""

    def do_GET(self) -> None:
        known = self.headers["Host"].startswith("127.0.0.1:")
        self.send_response(200 if known else 421)
        self.end_headers()
        self.wfile.write(b"mira_engine_up 1\n")

    def log_message(self, format: str, *arguments: object) -> None:
        """Quiet."""


@contextmanager
def served() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Metrics) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


async def test_a_name_with_several_addresses_is_asked_at_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "fetch", partial(services.fetch, timeout_s=60.0))
    with served() as port:
        answers = await ask(named([f"score=dns+http://localhost:{port}"]))
        assert answers["score-127.0.0.1"].scrape
        by_name = await ask(named([f"score=http://localhost:{port}"]))
        assert by_name["score"].scrape is None, "it answers under its address alone"


async def test_a_name_without_an_address_is_a_service_that_does_not_answer() -> None:
    (answer,) = (await ask(named(["score=dns+http://nobody.invalid:9464"]))).values()
    assert answer.scrape is None
    assert "no address" in answer.error


@pytest.mark.parametrize("option", ["score", "=http://h:1", "score=dns+ftp://h:1", "score=dns+http://"])
def test_what_is_no_service_is_refused(option: str) -> None:
    with pytest.raises(UsageError, match="service_invalid"):
        named([option])
