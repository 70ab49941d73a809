"""An engine that is started anew after it has died, while its requests wait."""

import asyncio
from typing import Final, NamedTuple

import structlog

from mira_stream.errors import StageStopped
from mira_stream.render import Offsets
from mira_stream.scoring.engine import Completion, Engine, Request

log: Final = structlog.get_logger("mira_stream.engine")


class RestartPolicy(NamedTuple):
    """Pauses between starts; when all are used up without one reply between, the stage stops."""

    pauses_s: tuple[float, ...] = (0.0, 5.0, 20.0)


class TendedEngine:
    """Keeps the promises of `Engine`. A request that was in flight when the engine died raises EngineError."""

    def __init__(self, engine: Engine, group: str, policy: RestartPolicy = RestartPolicy()) -> None:  # noqa: B008
        self._engine = engine
        self._group = group
        self._policy = policy
        self._reviving = asyncio.Lock()
        self._deaths_in_a_row = 0

    async def start(self) -> None:
        await self._engine.start()

    async def stop(self) -> None:
        await self._engine.stop()

    async def generate(self, request: Request) -> Completion:
        """Raises StageStopped when the engine dies again and again."""
        if not self._engine.alive:
            await self._revive()
        completion = await self._engine.generate(request)
        self._deaths_in_a_row = 0
        return completion

    async def _revive(self) -> None:
        async with self._reviving:
            if self._engine.alive:
                return
            if self._deaths_in_a_row == len(self._policy.pauses_s):
                raise StageStopped(
                    "engine_crash_loop",
                    f"the engine of group {self._group} died {self._deaths_in_a_row} times without a reply between",
                    "read its log; check memory, model folder and the documents the stage was working on",
                )
            pause_s = self._policy.pauses_s[self._deaths_in_a_row]
            self._deaths_in_a_row += 1
            log.warning("engine died, starts anew", group=self._group, pause_s=pause_s)
            await self._engine.stop()
            await asyncio.sleep(pause_s)
            await self._engine.start()

    def tokenize(self, text: str) -> Offsets:
        return self._engine.tokenize(text)

    @property
    def tokens_basis(self) -> str:
        return self._engine.tokens_basis

    @property
    def special_tokens(self) -> tuple[str, ...]:
        return self._engine.special_tokens

    @property
    def alive(self) -> bool:
        return self._engine.alive
