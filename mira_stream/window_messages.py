"""The messages of event-time windows."""

from typing import Annotated, Final

from msgspec import Meta, Struct

from mira_stream.messages import DIMENSIONS, Fifteen, Wire


class WindowQuality(Struct, frozen=True, kw_only=True):
    """Mean and percentiles of a window's qualities, 0.0 to 100.0."""

    mean: float
    p05: float
    p25: float
    p50: float
    p75: float
    p95: float


class Drift(Struct, frozen=True, kw_only=True):
    """How far a window's qualities are from the mask's prior: Kolmogorov-Smirnov distance (0 to 1) and Wasserstein-1
    distance (quality points)."""

    ks_d: float
    w1: float


class WindowSummary(Wire, frozen=True, kw_only=True, tag="window_summary.v1"):
    """One revision of a closed event-time window [start_ms, end_ms) of a source; the highest revision counts.

    `late` documents came when it was closed. `mask`: null if documents were decided under several; then, with fewer
    than 100 documents or without a prior, `drift` is null. `too_late`: documents of the source so far that no window
    holds. `resized_at`: the offset of the card from which on the source's windows have this size and grace; 0: of all
    cards. Complete up to `next_offset` of the score log's partition.
    """

    source: str
    group: str
    lineage: str
    start_ms: int
    end_ms: int
    revision: int
    documents: int
    tokens: int
    keep: int
    downsample: int
    drop: int
    selected_documents: int
    selected_tokens: int
    quality: WindowQuality
    dimension_means: Annotated[list[float | None], Meta(min_length=DIMENSIONS, max_length=DIMENSIONS)]
    null_counts: Annotated[list[int], Meta(min_length=DIMENSIONS, max_length=DIMENSIONS)]
    recommendation_agreement: float | None = None
    drift: Drift | None = None
    late: int = 0
    drifted: bool = False
    mask: str | None = None
    too_late: int = 0
    grace_ms: int = 0
    resized_at: int = 0
    next_offset: int = 0


class KeptWindow(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One window as the aggregator holds it. `cells`: cell, documents, cell, documents, ...; cell = quality x 10.
    `stale`: it holds documents that are in no summary yet. `group`: of its newest document; empty: the source's."""

    start_ms: int
    lineage: str
    mask: str | None
    policy: int
    cells: list[int]
    score_sums: Fifteen
    null_counts: Annotated[list[int], Meta(min_length=DIMENSIONS, max_length=DIMENSIONS)]
    group: str = ""
    revision: int = 0
    stale: bool = False
    tokens: int = 0
    keep: int = 0
    downsample: int = 0
    drop: int = 0
    selected_documents: int = 0
    selected_tokens: int = 0
    recommended: int = 0
    agreed: int = 0
    late: int = 0


class WindowsState(Wire, frozen=True, kw_only=True, tag="windows_state.v1"):
    """All windows that the aggregator keeps of a source; under the key `@windows|source` of the state topic. Written
    with every SourceState of the source, with its summaries and at checkpoints. `dated`: `largest_ms` is the largest
    time of documents that have one of their own. `resized_at`: as in WindowSummary."""

    source: str
    group: str
    next_offset: int
    size_ms: int
    grace_ms: int
    windows: list[KeptWindow]
    largest_ms: int | None = None
    dated: bool = False
    horizon_ms: int | None = None
    too_late: int = 0
    resized_at: int = 0


WINDOW_MESSAGES: Final[tuple[type[Wire], ...]] = (WindowSummary, WindowsState)
