"""The Snapshot: all that the dashboard and `mira-stream status` show, and nothing else. Times are milliseconds since
the epoch, rates documents a second, shares 0 to 1. Null: not known."""

from typing import Final, Literal

from msgspec import Struct

StageName = Literal["producer", "documents", "scorer", "engine", "scores", "aggregator", "export"]
State = Literal["free", "busy", "full", "down", "unknown"]
STAGES: Final[tuple[StageName, ...]] = (
    "producer", "documents", "scorer", "engine", "scores", "aggregator", "export",
)  # fmt: skip
"""The row of stages, in the direction of the flow. `documents` and `scores` are topics."""
QUALITY_BINS: Final = 40
"""Bins of a quality distribution: each 2.5 points wide, over 0 to 100."""


class Stage(Struct, frozen=True, kw_only=True):
    """`fill`: how much of its limit is taken. `waiting`: share of time in which it could admit nothing. `cause`: why
    it is in its state, a sentence. `since_ms`: when that state began, as far as was looked. `backlog`: records that
    wait in a topic; `backlog_s`: age of the oldest of them."""

    name: StageName
    state: State
    cause: str
    rate_in: float | None = None
    rate_out: float | None = None
    fill: float | None = None
    waiting: float | None = None
    since_ms: int | None = None
    backlog: int | None = None
    backlog_s: float | None = None
    bottleneck: bool = False


class Threshold(Struct, frozen=True, kw_only=True):
    """The marks of one epoch; null while they are not set by quality."""

    at_ms: int
    epoch: int
    keep: float | None
    drop: float | None


class Drifting(Struct, frozen=True, kw_only=True):
    """The newest closed window against what the student was measured on; `ks_d` and `w1` null: too few documents."""

    end_ms: int
    documents: int
    ks_d: float | None
    w1: float | None
    drifted: bool


class SourceRow(Struct, frozen=True, kw_only=True):
    """`name` is a source, or `group:g` or `*` of a shared threshold. `documents`: decided so far; `kept`: share
    selected of them; `as_of_epoch`: null while the aggregator says both itself, else the epoch at whose begin both
    were; `quality`: its distribution, a share a bin; `rate`: decisions a second."""

    name: str
    group: str
    documents: int
    kept: float | None
    as_of_epoch: int | None
    target: float | None
    epoch: int | None
    basis: str
    thresholds: list[Threshold]
    quality: list[float]
    drift: Drifting | None
    rate: float | None


class HeatCell(Struct, frozen=True, kw_only=True):
    """One (source, dimension): how the student agrees with the teacher there, and whether the mask in force uses it."""

    slot: str
    verdict: str
    mae: float | None
    rho: float | None
    used: bool


class HeatRow(Struct, frozen=True, kw_only=True):
    """`own`: false where the source has no table of its own, and its group's counts. `in_force`: whether a mask is."""

    source: str
    group: str
    own: bool
    in_force: bool
    cells: list[HeatCell]


class DeadCount(Struct, frozen=True, kw_only=True):
    stage: str
    reason: str
    letters: int


class DeadRow(Struct, frozen=True, kw_only=True):
    """`place`: partition@offset, as `mira-stream dlq show` takes it."""

    at_ms: int
    place: str
    stage: str
    reason: str
    source: str
    id: str
    error: str


class ServiceRow(Struct, frozen=True, kw_only=True):
    """`error`: what happened instead of an answer; empty if there was one."""

    name: str
    url: str
    answers: bool
    error: str


class KeptRow(Struct, frozen=True, kw_only=True):
    """A service that `up` starts again when it dies: whether it runs, waits for its next start or is given up, how
    often it was started again, when it died last, and how, in its own last words. `news`: whether that is to be told
    still."""

    name: str
    state: Literal["runs", "waits", "given_up"]
    restarts: int = 0
    died_ms: int | None = None
    why: str = ""
    news: bool = False


class Trouble(Struct, frozen=True, kw_only=True):
    """An error as every command tells it: what, why, and the way out."""

    code: str
    cause: str
    fix: str


class BrokerRow(Struct, frozen=True, kw_only=True):
    """`answers`: null if nobody asked it. `since_ms`: when it was first found away, as far as was looked."""

    answers: bool | None = None
    since_ms: int | None = None
    error: Trouble | None = None


class Lane(Struct, frozen=True, kw_only=True):
    """The last hour of one stage, oldest first: what went out, how full it was, and its state."""

    name: StageName
    rate: list[float | None]
    fill: list[float | None]
    state: list[State]


class History(Struct, frozen=True, kw_only=True):
    at_ms: list[int]
    lanes: list[Lane]


class Snapshot(Struct, frozen=True, kw_only=True, tag_field="schema", tag="snapshot.v1"):
    """`looking_since_ms`: nothing before it is known to `since_ms` and `history`. `bottleneck`: the full stage nearest
    to the end of the row; null while the broker is away. `sources_left_out`: sources beyond the busiest. `dead_read`:
    whether dead letters could be read; `dead_earlier`: offsets before the newest, which `dead_counts` leaves out.
    `held`: transactions that should have ended, of topics for which no stage stands, too. `notes`: what was not read,
    and what to do about it."""

    at_ms: int
    looking_since_ms: int
    project: str
    broker: BrokerRow
    stages: list[Stage]
    bottleneck: StageName | None
    sources: list[SourceRow]
    sources_left_out: int
    reliability: list[HeatRow]
    dead_counts: list[DeadCount]
    dead_newest: list[DeadRow]
    dead_read: bool
    dead_earlier: int
    services: list[ServiceRow]
    kept: list[KeptRow]
    history: History
    held: list[str]
    notes: list[str]
