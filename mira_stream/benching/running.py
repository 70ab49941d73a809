"""From a plan to a finished run: what is started, warmed up, measured turn by turn, and stopped again."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from mira_stream.benching.direct import DirectBench
from mira_stream.benching.flow import PREFIX, STOP_S, FlowBench, Given
from mira_stream.benching.header import cache_notes, header, mode_notes
from mira_stream.benching.load import Load
from mira_stream.benching.own_broker import own_broker
from mira_stream.benching.ramp import (
    CONFIRMED,
    KEPT_UP_LEAST,
    RAMP_FROM,
    Step,
    flat_said,
    highest,
    is_flat,
    lowest_refused,
    next_rate,
    reachable_ms,
    said,
    step_documents,
    step_of,
)
from mira_stream.benching.result import MEASURED, SCHEMA, Kind, Run, Shape, Turn, at_once_note, block_of
from mira_stream.benching.standin import STAND_IN, StandInEngine
from mira_stream.benching.turns import Bench, Talk, aloud, beside, take
from mira_stream.config import Project
from mira_stream.errors import CheckFailed
from mira_stream.scoring.engine import Engine

WARM_DOCUMENTS: Final = 200
WARM_SILENT_S: Final = 600.0
"""Engines start meanwhile."""
ALONE: Final = 0.5

Take = Callable[[Load, int, str], Awaitable[Turn]]


class Plan(Struct, frozen=True, kw_only=True):
    """What is asked for. With `ramp_p99_ms` rates are searched, each for `step_s`, beginning at `load.rate_per_s`."""

    kind: Kind
    groups: list[str]
    load: Load
    repetitions: int
    reply_s: float = 0.0
    ramp_p99_ms: float | None = None
    step_s: float = 10.0
    seed: int = 0


async def measure(project: Project, plan: Plan, given: Sequence[Given], taken_at: str, talk: Talk) -> Run:
    """Raises MiraError of whatever fails; nothing of it is saved then."""
    begun = header(project, plan.groups, SCHEMA, taken_at)
    notes = mode_notes(project, plan.groups, published=plan.kind != "engine")
    notes += cache_notes(project, plan.groups) if plan.kind != "kafka" else []
    for note in notes:
        talk(note)
    async with _started(project, plan, given, talk, notes) as (bench, services):

        async def turn(load: Load, number: int, name: str) -> Turn:
            return await beside(take(bench, load, plan.seed + number, talk, name), *services)

        engines = "the engines start, then " if plan.kind == "stream" else ""
        talk(f"{engines}a warm-up that is not counted")
        warm = replace(plan.load, documents=min(plan.load.documents, WARM_DOCUMENTS), rate_per_s=None)
        await beside(take(bench, warm, 0, talk, "warm-up", WARM_SILENT_S), *services)
        if plan.ramp_p99_ms is None:
            turns, ramp = await _repeat(plan, turn, talk), None
        else:
            turns, ramp = await find_rate(plan, plan.ramp_p99_ms, turn, talk)
        if plan.kind != "kafka" and len(given) < max(turn.documents for turn in turns):
            notes.append(
                f"{len(given)} distinct documents, repeated within a turn: prefix caches may hold some of them"
            )
        notes += filter(None, [at_once_note(turns)])
    return Run(
        **begun,
        kind=plan.kind,
        measured=MEASURED[plan.kind],
        stand_in=STAND_IN.format(s=plan.reply_s) if plan.kind == "kafka" else "",
        load=_load(plan),
        notes=notes,
        result=block_of(turns),
        turns=turns,
        ramp=ramp,
    )


def _load(plan: Plan) -> Shape:
    load = plan.load
    found = Shape(shape="closed", documents=load.documents, groups=plan.groups)
    if plan.ramp_p99_ms is None and not load.is_open:
        return {**found, "outstanding": load.outstanding}
    return {**found, "shape": "open" if plan.ramp_p99_ms is None else "ramp", "rate_per_s": load.rate_per_s}


async def _repeat(plan: Plan, turn: Take, talk: Talk) -> list[Turn]:
    turns = []
    for number in range(1, plan.repetitions + 1):
        turns.append(await turn(plan.load, number, f"turn {number}/{plan.repetitions}"))
        _say(f"turn {number}/{plan.repetitions}", turns[-1], talk)
    return turns


async def find_rate(plan: Plan, limit_ms: float, turn: Take, talk: Talk) -> tuple[list[Turn], dict[str, Any]]:
    """The turns at the rate that was found, and the search. Raises CheckFailed(ramp_unmet)."""
    steps: list[Step] = []
    turns: dict[float, list[Turn]] = {}
    start = plan.load.rate_per_s or RAMP_FROM
    while (rate := next_rate(steps, start)) is not None:
        count = step_documents(rate, plan.step_s)
        name = f"step {len(steps) + 1} at {rate:.2f}/s"
        done = await turn(Load(documents=count, rate_per_s=rate), len(steps) + 1, name)
        turns.setdefault(rate, []).append(done)
        steps.append(step_of(rate, done.latency_ms.p99, done.kept_up or 0.0, limit_ms, count / rate))
        _say(name, done, talk)
        talk(f"{name}: {said(steps[-1], limit_ms)}")
        if highest(steps) is None and _alone_too_slow(done, steps[-1], limit_ms):
            raise CheckFailed(
                "ramp_unmet",
                f"half of the documents take {done.latency_ms.p50:.0f} ms or more at {rate:.3g}/s, where they hardly"
                f" meet: at no lower rate is p99 under {limit_ms:g} ms",
                f"use --p99-ms {reachable_ms(steps[-1:])} or more",
            )
        if is_flat(steps):
            raise CheckFailed("ramp_unmet", *flat_said(steps, limit_ms))
    found, refused = highest(steps), lowest_refused(steps)
    if found is None:
        raise CheckFailed(
            "ramp_unmet",
            f"p99 is over {limit_ms:g} ms, or the backlog grows, even at {refused:.3g} documents/s",
            "raise --p99-ms",
        )
    ramp = {
        "p99_limit_ms": limit_ms,
        "kept_up_least": KEPT_UP_LEAST,
        "highest_rate_per_s": found,
        "lowest_refused_per_s": refused,
        "confirmed": len(turns[found]) >= CONFIRMED,
        "steps": [msgspec.to_builtins(step) for step in steps],
    }
    return turns[found], ramp


def _alone_too_slow(turn: Turn, step: Step, limit_ms: float) -> bool:
    """Whether documents miss the limit although fewer than ALONE are there at once (rate times time: Little)."""
    typical_ms = turn.latency_ms.p50
    at_once = step.rate_per_s * typical_ms / 1000
    return typical_ms > limit_ms and at_once < ALONE and step.kept_up >= KEPT_UP_LEAST


def _say(name: str, turn: Turn, talk: Talk) -> None:
    latency = turn.latency_ms
    talk(
        f"{name}: {turn.documents_per_s:.1f} documents/s, p50 {latency.p50:.0f} p95 {latency.p95:.0f}"
        f" p99 {latency.p99:.0f} ms, dead {turn.dead_letters}"
    )


@asynccontextmanager
async def _started(
    project: Project, plan: Plan, given: Sequence[Given], talk: Talk, notes: list[str]
) -> AsyncIterator[tuple[Bench, list[asyncio.Future[None]]]]:
    if plan.kind == "engine":
        direct = DirectBench(project, plan.groups, given, _real_engine)
        try:
            what = f"starting the engine of {' and that of '.join(plan.groups)}"
            talk(f"{what}: half a minute, on a busy machine far more")
            await aloud(direct.start(), talk, what)
            yield direct, [direct.failed]
        finally:
            await direct.close()
        return
    build = _real_engine if plan.kind == "stream" else lambda project, group: StandInEngine(plan.reply_s)
    async with own_broker(project, PREFIX, talk) as own:
        flow = FlowBench(project, plan.groups, given, build, beside=frozenset({own.pid}))
        try:
            await beside(flow.start(own.broker), own.died)
            notes += flow.warnings
            yield flow, [own.died, *flow.services]
        finally:
            await flow.close(0.0 if own.died.done() else STOP_S)


def _real_engine(project: Project, group: str) -> Engine:
    from mira_stream.consumers.scorer import build_engine

    engine: Engine = build_engine(project, group)
    return engine
