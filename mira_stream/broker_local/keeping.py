"""The embedded broker, started again at its address and over its data when it dies."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

import structlog

from mira_stream.broker_local.embedded import living
from mira_stream.broker_local.jars import Talk, silent
from mira_stream.errors import DependencyError
from mira_stream.supervision.keeping import Kept
from mira_stream.supervision.restarts import Patience, Restarts

log: Final = structlog.get_logger("mira_stream.up")


class KeptBroker:
    """`servers` is done when it has come up first. `kept` says how it is since then."""

    def __init__(
        self,
        data_dir: Path,
        patience: Patience,
        now_s: Callable[[], float],
        now_ms: Callable[[], int],
        *,
        changed: Callable[[], None] = lambda: None,
        talk: Talk = silent,
    ) -> None:
        self.kept = Kept(name="broker")
        self.servers: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._data_dir = data_dir
        self._restarts = Restarts(patience)
        self._now_s = now_s
        self._now_ms = now_ms
        self._changed = changed
        self._talk = talk
        self._port: int | None = None

    async def run(self) -> NoReturn:
        """One life after another, until cancelled. Raises what the first start raises; DependencyError(broker_died)
        when it has died too often."""
        while True:
            why = await self._live()
            self.kept.died_ms, self.kept.why = self._now_ms(), why
            wait_s = self._restarts.died(self._now_s())
            self.kept.state, self.kept.restarts = "waits" if wait_s is not None else "given_up", self._restarts.total
            self._changed()
            if wait_s is None:
                raise DependencyError(
                    "broker_died",
                    f"{why}\n{self._restarts.given_up()}",
                    f"read {self._data_dir / 'logs'}; then run it again: nothing is lost, it goes on where it stopped",
                )
            log.error("broker_died", how=why, again_in_s=wait_s)
            await asyncio.sleep(wait_s)

    async def _live(self) -> str:
        """One life; how it ended."""
        try:
            async with living(self._data_dir, port=self._port, talk=self._talk) as (runtime, broker):
                self._port = runtime.port
                self.kept.state = "runs"
                if self.servers.done():
                    log.info("broker_started_again", at=runtime.bootstrap_servers, restarts=self.kept.restarts)
                    self._changed()
                else:
                    self.servers.set_result(runtime.bootstrap_servers)
                await broker.ended()
                return f"Kafka, pid {runtime.pid}, ended: {broker.last_words()}"
        except DependencyError as error:
            if not self.servers.done():
                raise
            return f"it could not be started again: {error.cause}"
