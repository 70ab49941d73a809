"""A bench run as it is saved and printed: fixed fields, so that runs of any day can be compared. Pure.

Latency counts from when a document was due (open loop) or sent (closed loop) to the outcome that `measured` names.
Percentiles are by nearest rank: a value that really occurred.
"""

from collections.abc import Sequence
from math import ceil
from statistics import fmean, median
from typing import Annotated, Any, Final, Literal, TypedDict

from msgspec import Meta, Struct

from mira_stream.benching.frame import Frame
from mira_stream.benching.load import Load

SCHEMA: Final = "bench.v1"
Kind = Literal["stream", "engine", "kafka"]
TOGETHER_MS: Final = 1.0
"""Outcomes of one transaction are told within it, one after another."""
Above = Annotated[float, Meta(ge=1e-6, le=1e12)]
Seconds = Annotated[float, Meta(ge=1e-10, le=1e9)]
Count = Annotated[int, Meta(ge=0, le=10**12)]
Size = Annotated[float, Meta(ge=0, le=1e12)]
Share = Annotated[float, Meta(ge=0, le=1)]
"""Within them whatever is computed of them is finite."""
MEASURED: Final[dict[Kind, str]] = {
    "stream": "from due to decision: produced, scored by the project's engine, decided, all committed to Kafka",
    "engine": "from due to the reply read: the project's engine and prompts, without Kafka",
    "kafka": "from due to decision: the whole flow over Kafka, replies by a stand-in without a model",
}


class Latency(Struct, frozen=True):
    """Milliseconds."""

    p50: Above
    p95: Above
    p99: Above


class Window(Struct, frozen=True, kw_only=True):
    """A part of a turn, by when documents ended. `latency_ms` is null where none did."""

    start_s: Size
    seconds: Seconds
    documents: Count
    latency_ms: Latency | None
    dead_letters: Count = 0

    @property
    def documents_per_s(self) -> float:
        """Scored: a dead letter is no document that was."""
        return (self.documents - self.dead_letters) / self.seconds


class Turn(Struct, frozen=True, kw_only=True):
    """One measured repetition. Shares are 0 to 1: `engine_busy` of its time with a request in the engine (mean of the
    engines), `waiting` in which the scorer could admit nothing. `lag`: documents sent and not yet read (engine: due and
    not yet asked). `cpu_s`: of this process, load generator included, engine processes not. `kept_up`: of an open
    loop, the rate at which documents left over that at which they came. `prompts` that were answered: of a cascade up
    to two a document, and one more where a reply was not read. `frame`: with how many tokens all of them begin and
    end alike; null of several engines, of one that gives no token ids, and of runs of before."""

    load: Load
    documents: Annotated[int, Meta(gt=0, le=10**12)]
    dead_letters: Count
    seconds: Seconds
    latency_ms: Latency
    prompt_tokens: Count
    cached_tokens: Count
    generation_tokens: Count
    engine_busy: Share
    waiting: Share
    lag_mean: Size
    lag_most: Count
    peak_memory_mib: Size
    cpu_s: Size
    windows: Annotated[list[Window], Meta(min_length=1)]
    kept_up: Size | None = None
    prompts: Count | None = None
    frame: Frame | None = None

    @property
    def scored(self) -> int:
        return self.documents - self.dead_letters

    @property
    def documents_per_s(self) -> float:
        """Scored: a dead letter is no document that was."""
        return self.scored / self.seconds


class Block(Struct, frozen=True, kw_only=True):
    """The result: medians over the repetitions; of lag mean and most, of memory the most; the cached share and tokens a
    prompt are of all. Documents/s are those scored."""

    repetitions: Count
    documents: Count
    dead_letters: Count
    documents_per_s: Annotated[float, Meta(ge=0)]
    prompt_tokens_per_s: Annotated[float, Meta(ge=0)]
    cached_prompt_share: Annotated[float, Meta(ge=0)]
    generation_tokens_per_s: Annotated[float, Meta(ge=0)]
    latency_ms: Latency
    engine_busy: Share
    waiting: Share
    lag_mean: Size
    lag_most: Count
    peak_memory_mib: Size
    cpu_us_per_document: Annotated[float, Meta(ge=0)]
    tokens_per_prompt: Annotated[float, Meta(ge=0)] | None = None
    frame: Frame | None = None


class Machine(TypedDict, total=False):
    """As `benching.machine` tells it; a run of before may lack some."""

    processor: str
    cores: Annotated[int, Meta(ge=1)]
    memory_gib: Size
    memory_free_gib: Size
    gpus: list[str]
    load_average: Size


class Shape(TypedDict, total=False):
    """How the turns were loaded, as was asked for."""

    shape: Literal["closed", "open", "ramp"]
    documents: Count
    groups: list[str]
    outstanding: Count
    rate_per_s: Size | None


class Header(Struct, frozen=True, kw_only=True):
    """What every saved run begins with: when it began, on which machine, with which versions and settings."""

    schema: str
    taken_at: str
    machine: Machine
    versions: dict[str, str]
    settings: dict[str, Any]


class Run(Header, frozen=True, kw_only=True):
    """A saved run. `stand_in`: what was no real engine, in words, or empty. `ramp`: the search, if there was one."""

    kind: Kind
    measured: str
    stand_in: str
    load: Shape
    notes: list[str]
    result: Block
    turns: Annotated[list[Turn], Meta(min_length=1)]
    ramp: dict[str, Any] | None = None


def percentile(ordered: Sequence[float], share: float) -> float:
    """Nearest rank: the smallest value of an ascending sequence (not empty) with `share` of all at or under it."""
    return ordered[max(0, ceil(share * len(ordered)) - 1)]


def latency_of(seconds: Sequence[float]) -> Latency:
    """Of latencies in any order, at least one."""
    ordered = sorted(seconds)
    return Latency(*(round(1000 * percentile(ordered, share), 3) for share in (0.5, 0.95, 0.99)))


def at_once_note(turns: Sequence[Turn]) -> str:
    """What to say where documents of a turn have one latency, as those that are sent together and end in one
    transaction; empty where they have not."""
    alike = sum(turn.documents > 1 and turn.latency_ms.p99 - turn.latency_ms.p50 < TOGETHER_MS for turn in turns)
    if not alike:
        return ""
    return (
        f"in {alike} of {len(turns)} turns p50, p95 and p99 are within a millisecond: the documents ended together,"
        " as those of one transaction do, and tell no percentiles; take more --documents"
    )


def prompts_of(turns: Sequence[Turn]) -> int | None:
    """Prompts of all turns; None if one of them does not say."""
    counts = [turn.prompts for turn in turns if turn.prompts is not None]
    return sum(counts) if len(counts) == len(turns) else None


def frame_of(turns: Sequence[Turn]) -> Frame | None:
    """That of the prompts of all turns; None if one of them does not say."""
    frames = [turn.frame for turn in turns if turn.frame is not None]
    if not frames or len(frames) < len(turns):
        return None
    return Frame(min(one.head for one in frames), min(one.tail for one in frames))


def block_of(turns: Sequence[Turn]) -> Block:
    """Needs a turn."""
    latencies = [turn.latency_ms for turn in turns]
    prompt, prompts = sum(turn.prompt_tokens for turn in turns), prompts_of(turns)
    return Block(
        repetitions=len(turns),
        documents=sum(turn.documents for turn in turns),
        dead_letters=sum(turn.dead_letters for turn in turns),
        documents_per_s=round(median(turn.documents_per_s for turn in turns), 3),
        prompt_tokens_per_s=round(median(turn.prompt_tokens / turn.seconds for turn in turns), 1),
        cached_prompt_share=round(sum(turn.cached_tokens for turn in turns) / prompt, 4) if prompt else 0.0,
        generation_tokens_per_s=round(median(turn.generation_tokens / turn.seconds for turn in turns), 1),
        latency_ms=Latency(*(median(getattr(one, name) for one in latencies) for name in ("p50", "p95", "p99"))),
        engine_busy=round(median(turn.engine_busy for turn in turns), 4),
        waiting=round(median(turn.waiting for turn in turns), 4),
        lag_mean=round(fmean(turn.lag_mean for turn in turns), 1),
        lag_most=max(turn.lag_most for turn in turns),
        peak_memory_mib=max(turn.peak_memory_mib for turn in turns),
        cpu_us_per_document=round(median(1e6 * turn.cpu_s / turn.documents for turn in turns), 1),
        tokens_per_prompt=round(prompt / prompts, 1) if prompts else None,
        frame=frame_of(turns),
    )
