"""All that a demo run has to say at its end, and its JSON form."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mira_stream.demo.summary import Extreme, MaskEffect, SourceSummary
from mira_stream.messages import DeadLetter, Decision, Epoch


class Seconds(NamedTuple):
    """Since the process started; `stream` is from the first engine ready to the last document settled."""

    to_first_decision: float | None
    stream: float
    total: float


class Counts(NamedTuple):
    """produced = decided + dead."""

    produced: int
    scored: int
    decided: int
    dead: int


class GroupStory(NamedTuple):
    """A source group: its fifteen dimension names, its best and worst documents."""

    group: str
    names: Sequence[str]
    best: Sequence[Extreme]
    worst: Sequence[Extreme]


class Agreement(NamedTuple):
    """A teacher beside a group's student on a few documents: MAE and Spearman's rho a dimension, in slot order."""

    group: str
    teacher: str
    documents: int
    mae: Sequence[float | None]
    rho: Sequence[float | None]


class Audited(NamedTuple):
    """What the audit found; `lines` say it, one under the other."""

    ok: bool
    lines: Sequence[str]


class Outcome(NamedTuple):
    counts: Counts
    sources: Sequence[SourceSummary]
    stories: Sequence[GroupStory]
    effects: Sequence[MaskEffect]
    agreements: Sequence[Agreement]
    audited: Audited
    seconds: Seconds
    out: str
    dead: Sequence[DeadLetter] = ()

    @property
    def documents_per_s(self) -> float | None:
        """Settled documents over the time of streaming."""
        return self.counts.produced / self.seconds.stream if self.seconds.stream > 0 else None


class Evidence(NamedTuple):
    """What the report's plots are drawn from."""

    decisions: Sequence[Decision]
    epochs: Mapping[str, Epoch]


def as_json(outcome: Outcome) -> dict[str, Any]:
    """The object that `mira-stream demo --json` prints."""
    rows = {row.name: _source(row) for row in outcome.sources}
    seconds = {name: None if value is None else round(value, 3) for name, value in outcome.seconds._asdict().items()}
    rate = outcome.documents_per_s
    whole: dict[str, Any] = {
        "documents": outcome.counts._asdict(),
        "sources": rows,
        "seconds": seconds,
        "documents_per_s": None if rate is None else round(rate, 3),
        "out": outcome.out,
    }
    if outcome.agreements:
        whole["teacher"] = {agreement.group: _agreement(agreement) for agreement in outcome.agreements}
    return whole


def _source(row: SourceSummary) -> dict[str, Any]:
    fields = row._asdict()
    del fields["name"], fields["band"]
    return fields


def _agreement(agreement: Agreement) -> dict[str, Any]:
    fields = agreement._asdict()
    del fields["group"]
    return fields
