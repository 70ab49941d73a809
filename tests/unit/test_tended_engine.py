"""A dead engine is started anew and its requests outlive that; a document that kills it is found; a crash loop ends."""

import asyncio
from collections import Counter

import pytest

from mira_stream.errors import DependencyError, EngineError, StageStopped
from mira_stream.scoring.engine import Completion, Request, RequestRefused
from mira_stream.scoring.tended import RestartPolicy, TendedEngine
from mira_stream.testing.engine import ScriptedEngine, hashed_answer

REQUEST = Request("r", [{"role": "user", "content": "text"}], 100)
AT_ONCE = RestartPolicy(pauses_s=(0.0, 0.0))


def asking(content: str) -> Request:
    return Request(content, [{"role": "user", "content": content}], 100)


def dying_of(scripted: ScriptedEngine, *poison: str) -> None:
    """From now on a request with such content ends the engine, and all in flight with it."""

    async def generate(request: Request) -> Completion:
        if request.messages[-1]["content"] in poison:
            scripted.die()
            _raise()
        return await ScriptedEngine.generate(scripted, request)

    scripted.generate = generate  # type: ignore[method-assign]


async def test_it_is_started_anew_once_for_all_that_wait() -> None:
    scripted = ScriptedEngine()
    engine = TendedEngine(scripted, "text")
    await engine.start()
    scripted.die()
    replies = await asyncio.gather(*(engine.generate(REQUEST) for _ in range(5)))
    assert len(replies) == 5
    assert (scripted.starts, scripted.stops) == (2, 1)


async def test_a_crash_loop_stops_the_stage_and_convicts_nobody() -> None:
    scripted = ScriptedEngine()
    engine = TendedEngine(scripted, "text", AT_ONCE)
    await engine.start()
    scripted.answer = lambda request: scripted.die() or _raise()  # type: ignore[func-returns-value]
    outcomes = await asyncio.gather(*(engine.generate(asking(f"{n}")) for n in range(4)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StageStopped] * 4
    assert scripted.starts == 3


def _raise() -> str:
    raise EngineError("killed by this request", retriable=False)


async def test_an_engine_that_no_longer_answers_what_it_answered_before_convicts_nobody() -> None:
    scripted = ScriptedEngine()
    engine = TendedEngine(scripted, "text", AT_ONCE)
    await engine.start()
    await engine.generate(asking("probe"))
    dying_of(scripted, "probe", "a", "b")
    outcomes = await asyncio.gather(engine.generate(asking("a")), engine.generate(asking("b")), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StageStopped] * 2
    assert scripted.starts == 3


@pytest.mark.parametrize("number", [1, 2, 5, 16])
async def test_a_document_that_kills_the_engine_is_refused_and_its_neighbours_are_answered(number: int) -> None:
    scripted, causes = ScriptedEngine(), Counter[str]()
    engine = TendedEngine(scripted, "text", AT_ONCE, restarted=lambda cause: causes.update([cause]))
    await engine.start()
    await engine.generate(asking("probe"))
    dying_of(scripted, "3" if number > 3 else "0")
    contents = [str(n) for n in range(number)]
    outcomes = await asyncio.gather(*(engine.generate(asking(c)) for c in contents), return_exceptions=True)
    refused = [c for c, outcome in zip(contents, outcomes, strict=True) if isinstance(outcome, RequestRefused)]
    assert refused == ["3" if number > 3 else "0"]
    assert sum(isinstance(outcome, Completion) for outcome in outcomes) == number - 1
    with pytest.raises(RequestRefused):
        await engine.generate(asking(refused[0]))
    assert (await engine.generate(asking("new"))).finish_reason == "stop"
    assert set(causes) == {"died"}
    assert 2 <= causes["died"] <= max(2, (number - 1).bit_length() + 1)


async def test_an_engine_that_dies_of_every_document_stops_the_stage() -> None:
    scripted = ScriptedEngine()
    engine = TendedEngine(scripted, "text", AT_ONCE)
    await engine.start()
    await engine.generate(asking("probe"))
    contents = [str(n) for n in range(20)]
    dying_of(scripted, *contents)
    outcomes = await asyncio.gather(*(engine.generate(asking(c)) for c in contents), return_exceptions=True)
    kinds = Counter(type(outcome).__name__ for outcome in outcomes)
    assert kinds == {"RequestRefused": 5, "StageStopped": 15}


async def test_an_engine_that_hangs_is_started_anew_and_what_it_held_is_asked_again() -> None:
    scripted = ScriptedEngine()
    seconds = iter(range(0, 100_000, 100))
    engine = TendedEngine(scripted, "text", RestartPolicy(pauses_s=(0.0,), stall_s=50.0), now=lambda: next(seconds))
    await engine.start()
    hold = scripted.hold = asyncio.Event()
    scripted.hold_if = lambda request: scripted.starts == 1
    outcomes = await asyncio.gather(*(engine.generate(REQUEST) for _ in range(3)))
    assert all(outcome.finish_reason == "stop" for outcome in outcomes)
    assert not hold.is_set()
    assert scripted.cancelled == 3
    assert (scripted.starts, scripted.stops) == (2, 1)


async def test_a_request_that_is_cancelled_under_suspicion_holds_nobody_back() -> None:
    scripted = ScriptedEngine()
    engine = TendedEngine(scripted, "text", AT_ONCE)
    await engine.start()
    await engine.generate(asking("probe"))
    scripted.hold = asyncio.Event()
    scripted.hold_if = lambda request: request.messages[-1]["content"] == "slow"
    tasks = [asyncio.create_task(engine.generate(asking(content))) for content in ("slow", "quick")]
    await asyncio.sleep(0)
    scripted.answer = lambda request: scripted.die() or _raise()  # type: ignore[func-returns-value]
    tasks.append(asyncio.create_task(engine.generate(asking("other"))))
    for _ in range(10):
        await asyncio.sleep(0)
    scripted.answer = hashed_answer
    for _ in range(20):
        await asyncio.sleep(0)
    assert scripted.starts >= 2
    assert not tasks[0].done()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (await engine.generate(asking("new"))).finish_reason == "stop"


class SlowEngine(ScriptedEngine):
    """From its second start on it waits for `ready`, which may raise."""

    def __init__(self) -> None:
        super().__init__()
        self.starting = asyncio.Event()
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def start(self) -> None:
        if self.starts:
            self.starting.set()
            await asyncio.shield(self.ready)
        await super().start()


async def test_callers_that_are_cancelled_while_it_starts_are_no_deaths() -> None:
    scripted, causes = SlowEngine(), Counter[str]()
    engine = TendedEngine(scripted, "text", AT_ONCE, restarted=lambda cause: causes.update([cause]))
    await engine.start()
    scripted.die()
    for _ in range(5):
        caller = asyncio.create_task(engine.generate(REQUEST))
        await scripted.starting.wait()
        await asyncio.sleep(0)
        caller.cancel()
        await asyncio.wait([caller])
        assert caller.cancelled()
    waiting = asyncio.create_task(engine.generate(REQUEST))
    scripted.ready.set_result(None)
    assert (await waiting).finish_reason == "stop"
    assert causes == {"died": 1}
    assert (scripted.starts, scripted.stops) == (2, 1)


async def test_a_start_that_fails_is_told_to_all_that_wait_and_counted_once() -> None:
    scripted = SlowEngine()
    engine = TendedEngine(scripted, "text", AT_ONCE)
    await engine.start()
    scripted.die()
    scripted.ready.set_exception(DependencyError("engine_start", "no memory", "free some"))
    outcomes = await asyncio.gather(*(engine.generate(REQUEST) for _ in range(3)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [DependencyError] * 3
    scripted.ready = asyncio.get_running_loop().create_future()
    scripted.ready.set_result(None)
    assert (await engine.generate(REQUEST)).finish_reason == "stop"


async def test_stopped_while_it_starts_anew_it_stays_stopped() -> None:
    scripted = SlowEngine()
    engine = TendedEngine(scripted, "text", AT_ONCE)
    await engine.start()
    scripted.die()
    caller = asyncio.create_task(engine.generate(REQUEST))
    await scripted.starting.wait()
    await engine.stop()
    scripted.ready.set_result(None)
    with pytest.raises(EngineError, match="was stopped"):
        await caller
    with pytest.raises(EngineError, match="was stopped"):
        await engine.generate(REQUEST)
    assert (scripted.starts, scripted.alive) == (1, False)


async def test_a_busy_engine_is_not_a_dead_one() -> None:
    scripted = ScriptedEngine()
    engine = TendedEngine(scripted, "text")
    await engine.start()

    def busy(request: Request) -> str:
        raise EngineError("HTTP 503", retriable=True)

    scripted.answer = busy
    with pytest.raises(EngineError, match="503"):
        await engine.generate(REQUEST)
    assert scripted.starts == 1
