"""Several settings of one group in turn: an engine for each, the same load on each, so that a comparison is fair."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from mira_stream.benching.direct import DirectBench
from mira_stream.benching.flow import EngineBuilder, Given
from mira_stream.benching.load import Load
from mira_stream.benching.result import Turn
from mira_stream.benching.turns import aloud, beside, take
from mira_stream.config import Project
from mira_stream.errors import DependencyError, EngineError

ALIVE: Final = 2
"""Engines at once: both sides of a comparison, idle while the other works. On a GPU one: the other's memory is not
there."""
REST_S: Final = 1.5
"""Before each turn: a worker of vLLM waits for its next step with a full core for a second. Before a second turn of the
same side, too, so that in a pair both have rested."""
STARTS: Final = ("engine_start", "bench_silent")
Talk = Callable[[str], None]
Side = TypeVar("Side")


class NotRun(Exception):
    """No engine runs with these settings; the text says why."""


class Alternating:
    """Engines by name, at most `alive` of them running; the one that was used least recently makes room."""

    def __init__(
        self,
        group: str,
        given: Sequence[Given],
        build: EngineBuilder,
        load: Load,
        talk: Talk,
        alive: int = ALIVE,
        rest_s: float = REST_S,
    ) -> None:
        self._group = group
        self._given = given
        self._build = build
        self._load = load
        self.alive = alive
        self._talk = talk
        self._rest_s = rest_s
        self._running: dict[str, DirectBench] = {}
        self._turns = 0

    async def turn(self, name: str, project: Project) -> Turn:
        """One repetition with the settings of `project`, which `name` stands for. Raises NotRun."""
        bench = await self.ready(name, project)
        await asyncio.sleep(self._rest_s)
        self._turns += 1
        try:
            turn = await beside(take(bench, self._load, self._turns, _quiet, ""), bench.failed)
        except (EngineError, DependencyError) as error:
            await self._running.pop(name).close()
            raise NotRun(str(error)) from None
        if not turn.scored:
            raise NotRun(f"none of {turn.documents} documents was scored")
        self._talk(f"{name}: {turn.documents_per_s:.1f} documents/s")
        return turn

    async def close(self) -> None:
        while self._running:
            await self._running.pop(next(iter(self._running))).close()

    async def ready(self, name: str, project: Project) -> DirectBench:
        """Have the engine of that name running, as the last to make room. Raises NotRun."""
        bench = self._running.pop(name, None)
        if bench is None:
            while len(self._running) >= self.alive:
                await self._running.pop(next(iter(self._running))).close()
            bench = await self._start(name, project)
        self._running[name] = bench  # the newest is last
        return bench

    async def _start(self, name: str, project: Project) -> DirectBench:
        self._talk(f"{name}: starting, then a repetition that is not counted")
        bench = DirectBench(project, [self._group], self._given, self._build)
        try:
            await aloud(bench.start(), self._talk, f"{name}: starting")
            await beside(take(bench, self._load, 0, _quiet, ""), bench.failed)
        except DependencyError as error:
            await bench.close()
            if error.code not in STARTS:
                raise
            raise NotRun(error.cause) from None
        except EngineError as error:
            await bench.close()
            raise NotRun(str(error)) from None
        except BaseException:
            await bench.close()
            raise
        return bench


def order(sides: Sequence[Side], round_number: int) -> list[Side]:
    """In which order sides are asked in a round, so that over as many rounds as there are sides (twice as many if their
    number is odd) each is first equally often and follows each other one equally often. Williams 1949, "Experimental
    designs balanced for the estimation of residual effects of treatments"."""
    count = len(sides)
    zigzag = [(at + 1) // 2 if at % 2 else -(at // 2) for at in range(count)]
    found = [sides[(place + round_number) % count] for place in zigzag]
    return found[::-1] if count % 2 and round_number // count % 2 else found


def _quiet(line: str) -> None: ...
