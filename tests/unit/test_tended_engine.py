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


async def test_an_engine_that_hangs_is_started_anew_and_what_it_held_is_given_back() -> None:
    scripted = ScriptedEngine()
    seconds = iter(range(0, 10_000, 100))
    engine = TendedEngine(scripted, "text", RestartPolicy(pauses_s=(0.0,), stall_s=50.0), now=lambda: next(seconds))
    await engine.start()
    scripted.hold = asyncio.Event()
    outcomes = await asyncio.gather(*(engine.generate(REQUEST) for _ in range(3)), return_exceptions=True)
    assert all(isinstance(outcome, EngineError) and outcome.retriable for outcome in outcomes)
    assert not engine.alive
    assert scripted.cancelled == 3
    scripted.hold = None
    assert (await engine.generate(REQUEST)).finish_reason == "stop"
    assert (scripted.starts, scripted.stops) == (2, 1)


async def test_requests_of_an_engine_that_is_replaced_do_not_wait_for_ever() -> None:
    scripted = ScriptedEngine()
    engine = TendedEngine(scripted, "text")
    await engine.start()
    scripted.hold = asyncio.Event()
    waiting = asyncio.create_task(engine.generate(REQUEST))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert scripted.in_flight == 1
    scripted.die()
    scripted.hold_if = lambda request: False
    await engine.generate(REQUEST)
    with pytest.raises(EngineError, match="started anew"):
        await waiting
