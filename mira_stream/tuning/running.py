"""Runs a search: an engine for each of the settings that are compared, the bench's load on each in turn."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from mira_stream.benching.direct import DirectBench
from mira_stream.benching.flow import EngineBuilder, Given
from mira_stream.benching.load import Load
from mira_stream.benching.turns import beside, take
from mira_stream.config import Project
from mira_stream.errors import DependencyError, EngineError
from mira_stream.tuning.search import Failed, Tuned, search
from mira_stream.tuning.space import Choice, Knob, said, with_choice

ALIVE: Final = 2
"""Engines at once: both sides of a duel, idle while the other works. On a GPU one: the other's memory is not there."""
REST_S: Final = 1.5
"""Before the other side's turn: a worker of vLLM waits for its next step with a full core for a second."""
STARTS: Final = ("engine_start", "bench_silent")
Talk = Callable[[str], None]


class Engines:
    """Benches by their settings, at most `alive` of them running; the one that was used least recently makes room."""

    def __init__(
        self,
        project: Project,
        group: str,
        given: Sequence[Given],
        build: EngineBuilder,
        load: Load,
        talk: Talk,
        alive: int = ALIVE,
        rest_s: float = REST_S,
    ) -> None:
        self._project = project
        self._group = group
        self._given = given
        self._build = build
        self._load = load
        self._alive = alive
        self._talk = talk
        self._rest_s = rest_s
        self._running: dict[str, DirectBench] = {}
        self._turns = 0

    async def rate(self, choice: Choice) -> float:
        """Documents scored a second, of one repetition. Raises Failed if no engine runs with these settings."""
        bench = await self._started(choice)
        self._turns += 1
        try:
            turn = await beside(take(bench, self._load, self._turns, _quiet, ""), bench.failed)
        except (EngineError, DependencyError) as error:
            await self._running.pop(shown(choice)).close()
            raise Failed(str(error)) from None
        scored = turn.documents - turn.dead_letters
        if not scored:
            raise Failed(f"none of {turn.documents} documents was scored")
        self._talk(f"{shown(choice)}: {scored / turn.seconds:.1f} documents/s")
        return scored / turn.seconds

    async def close(self) -> None:
        while self._running:
            await self._running.pop(next(iter(self._running))).close()

    async def _started(self, choice: Choice) -> DirectBench:
        key = shown(choice)
        if self._running and key != next(reversed(self._running)):
            await asyncio.sleep(self._rest_s)
        bench = self._running.pop(key, None)
        if bench is None:
            while len(self._running) >= self._alive:
                await self._running.pop(next(iter(self._running))).close()
            bench = await self._start(choice)
        self._running[key] = bench  # the newest is last
        return bench

    async def _start(self, choice: Choice) -> DirectBench:
        self._talk(f"{shown(choice)}: starting, then a repetition that is not counted")
        tried = with_choice(self._project, self._group, choice)
        bench = DirectBench(tried, [self._group], self._given, self._build)
        try:
            await bench.start()
            await beside(take(bench, self._load, 0, _quiet, ""), bench.failed)
        except DependencyError as error:
            await bench.close()
            if error.code not in STARTS:
                raise
            raise Failed(error.cause) from None
        except EngineError as error:
            await bench.close()
            raise Failed(str(error)) from None
        except BaseException:
            await bench.close()
            raise
        return bench


async def run_search(knobs: Sequence[Knob], pairs: int, measured: Engines, talk: Talk) -> Tuned:
    """Raises MiraError if the settings in force do not run."""
    steps = search(knobs, pairs)
    try:
        choice = next(steps)
        start = shown(choice)
        while True:
            try:
                rate = await measured.rate(choice)
            except Failed as failed:
                if shown(choice) == start:
                    raise DependencyError(
                        "tune_start",
                        f"the settings in force do not run: {failed}",
                        "look at it with: mira-stream doctor",
                    ) from None
                talk(f"{start}: failed: {failed}")
                choice = steps.throw(failed)
            else:
                choice = steps.send(rate)
    except StopIteration as end:
        tuned: Tuned = end.value
        return tuned


def shown(choice: Choice) -> str:
    """As a line; also what tells one choice from another."""
    return ", ".join(f"{name} = {said(value)}" for name, value in choice.items())


def _quiet(line: str) -> None: ...
