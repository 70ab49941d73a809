"""An engine that is watched: one that has died or makes no progress is started anew, while its requests wait."""

import asyncio
from typing import Final, NamedTuple

import structlog

from mira_stream.clock import Monotonic, monotonic
from mira_stream.errors import EngineError, StageStopped
from mira_stream.render import Offsets
from mira_stream.scoring.engine import Completion, Engine, Request

log: Final = structlog.get_logger("mira_stream.engine")


class RestartPolicy(NamedTuple):
    """`pauses_s` between starts; when all are used up without one reply between, the stage stops.

    An engine that ends no request for `stall_s` seconds, though it has some, hangs: /health and a living process
    say nothing about that.
    """

    pauses_s: tuple[float, ...] = (0.0, 5.0, 20.0)
    stall_s: float = 120.0


class TendedEngine:
    """Keeps the promises of `Engine`. A request that was in flight when the engine ended raises EngineError."""

    def __init__(
        self, engine: Engine, group: str, policy: RestartPolicy | None = None, now: Monotonic = monotonic
    ) -> None:
        self._engine = engine
        self._group = group
        self._policy = policy or RestartPolicy()
        self._now = now
        self._reviving = asyncio.Lock()
        self._deaths_in_a_row = 0
        self._in_flight = 0
        self._progress_s = now()
        self._stalled = False
        self._over = asyncio.Event()
        """Set when this life of the engine ends."""

    async def start(self) -> None:
        await self._engine.start()

    async def stop(self) -> None:
        self._over.set()
        await self._engine.stop()

    async def generate(self, request: Request) -> Completion:
        """Raises StageStopped when the engine dies again and again."""
        if not self.alive:
            await self._revive()
        if self._in_flight == 0:
            self._progress_s = self._now()
        self._in_flight += 1
        try:
            completion = await self._watched(request)
        finally:
            self._in_flight -= 1
            self._progress_s = self._now()
        self._deaths_in_a_row = 0
        return completion

    async def _watched(self, request: Request) -> Completion:
        over = asyncio.ensure_future(self._over.wait())
        answer = asyncio.ensure_future(self._engine.generate(request))
        try:
            while True:
                left_s = self._policy.stall_s - (self._now() - self._progress_s)
                done, _ = await asyncio.wait({answer, over}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
                if answer in done:
                    return answer.result()
                if over in done:
                    raise EngineError("the engine was started anew meanwhile", retriable=True)
                if self._now() - self._progress_s >= self._policy.stall_s:
                    self._stalled = True
                    raise EngineError(f"the engine ended no request for {self._policy.stall_s:g} s", retriable=True)
        finally:
            over.cancel()
            answer.cancel()

    async def _revive(self) -> None:
        async with self._reviving:
            if self.alive:
                return
            if self._deaths_in_a_row == len(self._policy.pauses_s):
                raise StageStopped(
                    "engine_crash_loop",
                    f"the engine of group {self._group} died {self._deaths_in_a_row} times without a reply between",
                    "read its log; check memory, model folder and the documents the stage was working on",
                )
            pause_s = self._policy.pauses_s[self._deaths_in_a_row]
            self._deaths_in_a_row += 1
            log.warning("engine starts anew", group=self._group, stalled=self._stalled, pause_s=pause_s)
            self._over.set()
            await self._engine.stop()
            await asyncio.sleep(pause_s)
            self._over = asyncio.Event()
            await self._engine.start()
            self._stalled = False

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
        return self._engine.alive and not self._stalled
