"""The embedded broker, started again at its address and over its data when it dies."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

import structlog

from mira_stream.broker_local.embedded import living
from mira_stream.broker_local.jars import Talk, silent
from mira_stream.errors import DependencyError, MiraError
from mira_stream.supervision.keeping import Kept, State
from mira_stream.supervision.restarts import FINAL, Patience, Restarts

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
        """One life after another, until cancelled. Raises what the first start raises; later only what no start mends,
        and DependencyError(broker_died) when it has died too often."""
        while True:
            why = await self._live()
            wait_s = self._restarts.died(self._now_s())
            self._ended(why, "waits" if wait_s is not None else "given_up")
            if wait_s is None:
                raise DependencyError(
                    "broker_died",
                    f"{why}\n{self._restarts.given_up()}",
                    f"read {self._data_dir / 'logs'}; then run it again: nothing is lost, it goes on where it stopped",
                )
            log.error("broker_died", how=why, again_in_s=wait_s)
            await asyncio.sleep(wait_s)

    def _ended(self, why: str, state: State) -> None:
        kept = self.kept
        kept.died_ms, kept.why, kept.state, kept.restarts = self._now_ms(), why, state, self._restarts.total
        self._changed()

    async def _live(self) -> str:
        """One life; how it ended. Whatever keeps it from starting again (a full disk, a folder that is gone) counts
        as a death, unless no start mends it: that is raised."""
        try:
            async with living(self._data_dir, port=self._port, talk=self._talk) as (runtime, broker):
                self._port = runtime.port
                self.kept.state = "runs"
                if self.servers.done():
                    log.info("broker_started_again", at=runtime.bootstrap_servers, restarts=self.kept.restarts)
                    self._changed()
                else:
                    self.servers.set_result(runtime.bootstrap_servers)
                return f"Kafka, pid {runtime.pid}, ended with {await broker.ended()}"
        except Exception as error:
            if not self.servers.done():
                raise
            cause = error.cause if isinstance(error, MiraError) else f"{type(error).__name__}: {error}"
            why = f"it could not be started again: {cause}"
            if isinstance(error, MiraError) and error.exit_code in FINAL:
                self._ended(why, "given_up")
                raise
            return why
