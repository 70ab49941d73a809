"""A dead engine is started anew; one that keeps dying stops the stage."""

import asyncio

import pytest

from mira_stream.errors import EngineError, StageStopped
from mira_stream.scoring.engine import Request
from mira_stream.scoring.tended import RestartPolicy, TendedEngine
from mira_stream.testing.engine import ScriptedEngine

REQUEST = Request("r", [{"role": "user", "content": "text"}], 100)


async def test_it_is_started_anew_once_for_all_that_wait() -> None:
    scripted = ScriptedEngine()
    engine = TendedEngine(scripted, "text")
    await engine.start()
    scripted.die()
    replies = await asyncio.gather(*(engine.generate(REQUEST) for _ in range(5)))
    assert len(replies) == 5
    assert (scripted.starts, scripted.stops) == (2, 1)


async def test_a_crash_loop_stops_the_stage() -> None:
    scripted = ScriptedEngine()
    engine = TendedEngine(scripted, "text", RestartPolicy(pauses_s=(0.0, 0.0)))
    await engine.start()

    def poison(request: Request) -> str:
        scripted.die()
        raise EngineError("killed by this request", retriable=False)

    scripted.answer = poison
    for _ in range(3):
        with pytest.raises(EngineError):
            await engine.generate(REQUEST)
    with pytest.raises(StageStopped, match="engine_crash_loop"):
        await engine.generate(REQUEST)
    assert scripted.starts == 3
