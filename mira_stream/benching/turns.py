"""One turn: documents are sent by the load's rule, outcomes awaited, and what happens meanwhile is sampled."""

import asyncio
import time
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from statistics import fmean
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from mira_stream.benching.load import Load, arrivals
from mira_stream.benching.machine import memory_mib
from mira_stream.benching.observing import ObservedEngine, Used
from mira_stream.benching.result import Turn
from mira_stream.benching.tracking import Tracker
from mira_stream.clock import monotonic
from mira_stream.errors import CheckFailed, DependencyError

TICK_S: Final = 0.05
"""Documents that fall due within it are sent together: a transaction is five round trips."""
SAMPLE_S: Final = 0.25
TALK_S: Final = 5.0
SILENT_S: Final = 180.0
START_TALK_S: Final = 20.0
T = TypeVar("T")


class Sampled(NamedTuple):
    """Read off the services: seconds in which nothing could be admitted (mean of the groups), documents read."""

    waiting_s: float
    read: int


class Bench(Protocol):
    """Something that takes documents. Keys are unique in a turn; their outcome is told to `outcome`."""

    engines: list[ObservedEngine]
    outcome: Callable[[bytes, bool], None]
    """Set by the turn: (key, whether it is a dead letter)."""
    beside: frozenset[int]
    """Processes whose memory is not the service's: the broker."""

    async def prepare(self, count: int) -> Sequence[bytes]:
        """Make ready so many documents; their keys."""
        ...

    async def send(self, first: int, last: int) -> None:
        """Documents number `first` to `last` (exclusive) of those prepared."""
        ...

    def sampled(self) -> Sampled: ...


Talk = Callable[[str], None]


async def take(bench: Bench, load: Load, seed: int, talk: Talk, name: str, silent_s: float = SILENT_S) -> Turn:
    """Raises DependencyError(bench_silent) when nothing ends any more, CheckFailed if a document ended twice."""
    keys = await bench.prepare(load.documents)
    tracker, changed = Tracker(), asyncio.Event()

    def ended(key: bytes, dead: bool) -> None:
        if tracker.ended(key, monotonic(), dead=dead):
            changed.set()

    bench.outcome = ended
    before, at_first = [engine.used() for engine in bench.engines], bench.sampled()
    cpu = time.process_time()
    samples: list[tuple[int, float]] = []
    watching = asyncio.create_task(_watch(bench, tracker, at_first, samples, talk, name, load.documents))
    try:
        await _send(bench, load, seed, keys, tracker, changed, silent_s)
        while tracker.count_ended < load.documents:
            await _news(changed, silent_s, tracker)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    if tracker.doubled:
        raise CheckFailed("bench_doubled", f"{tracker.doubled} documents ended twice", "report it, with the log")
    spent, now = time.process_time() - cpu, bench.sampled()
    before += [Used()] * (len(bench.engines) - len(before))  # in a warm-up engines are made meanwhile
    used = [engine.used().since(then) for engine, then in zip(bench.engines, before, strict=True)]
    seconds = max(tracker.seconds, 1e-9)
    samples.append(_sample(bench, tracker, at_first))
    return Turn(
        load=load,
        documents=tracker.count_ended,
        dead_letters=tracker.dead,
        seconds=seconds,
        latency_ms=tracker.latency(),
        prompts=sum(one.prompts for one in used),
        frame=bench.engines[0].frames.frame if len(bench.engines) == 1 else None,
        prompt_tokens=sum(one.prompt_tokens for one in used),
        cached_tokens=sum(one.cached_tokens for one in used),
        generation_tokens=sum(one.generation_tokens for one in used),
        engine_busy=min(1.0, max(0.0, fmean(one.busy_s for one in used) / seconds)),
        waiting=min(1.0, max(0.0, now.waiting_s - at_first.waiting_s) / seconds),
        lag_mean=fmean(lag for lag, _ in samples),
        lag_most=max(lag for lag, _ in samples),
        peak_memory_mib=max(memory for _, memory in samples),
        cpu_s=spent,
        windows=tracker.windows(),
        kept_up=tracker.kept_up() if load.is_open else None,
    )


async def _send(
    bench: Bench,
    load: Load,
    seed: int,
    keys: Sequence[bytes],
    tracker: Tracker,
    changed: asyncio.Event,
    silent_s: float,
) -> None:
    start, count, sent = monotonic(), load.documents, 0
    due = [start + at for at in arrivals(load.rate_per_s, count, seed)] if load.rate_per_s else []
    while sent < count:
        now = monotonic()
        upto = bisect_right(due, now) if due else min(count, tracker.count_ended + load.outstanding)
        if upto <= sent:
            if due:
                await asyncio.sleep(max(TICK_S, due[sent] - now))
            else:
                await _news(changed, silent_s, tracker)
            continue
        for number in range(sent, upto):
            tracker.sent(keys[number], due[number] if due else now)
        await bench.send(sent, upto)
        sent = upto


async def _news(changed: asyncio.Event, silent_s: float, tracker: Tracker) -> None:
    try:
        await asyncio.wait_for(changed.wait(), silent_s)
    except TimeoutError:
        raise DependencyError(
            "bench_silent",
            f"no outcome for {silent_s:.0f} s; {tracker.count_ended} of {tracker.count_sent} documents sent have one",
            "read the log above; an engine that is slower than that needs fewer --documents outstanding",
        ) from None
    changed.clear()


async def _watch(
    bench: Bench,
    tracker: Tracker,
    at_first: Sampled,
    samples: list[tuple[int, float]],
    talk: Talk,
    name: str,
    count: int,
) -> None:
    last, ended = monotonic(), 0
    while True:
        sample = _sample(bench, tracker, at_first)
        samples.append(sample)
        now = monotonic()
        if now - last >= TALK_S:
            rate = (tracker.count_ended - ended) / (now - last)
            talk(f"{name}: {tracker.count_ended}/{count} ended  {rate:.1f}/s  lag {sample[0]}  {sample[1]:.0f} MiB")
            last, ended = now, tracker.count_ended
        await asyncio.sleep(SAMPLE_S)


def _sample(bench: Bench, tracker: Tracker, at_first: Sampled) -> tuple[int, float]:
    return max(0, tracker.count_sent - (bench.sampled().read - at_first.read)), memory_mib(bench.beside)


async def aloud(work: Coroutine[Any, Any, T], talk: Talk, what: str, every_s: float = START_TALK_S) -> T:
    """The work's result; while it lasts, it is said that it still does."""
    task, started = asyncio.create_task(work), monotonic()
    try:
        while not (await asyncio.wait({task}, timeout=every_s))[0]:
            talk(f"{what}: {monotonic() - started:.0f} s so far")
        return await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def beside(work: Awaitable[T], *tasks: "asyncio.Future[None]") -> T:
    """The work's result, unless a service beside it ends first: then its error."""
    task = asyncio.ensure_future(work)
    waited: list[asyncio.Future[Any]] = [task, *tasks]
    try:
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        for service in tasks:
            if service.done():
                service.result()
                raise DependencyError("bench_service", "a service ended by itself", "read the log above")
        return await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
