"""Score cards of the streams through the real Selector."""

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from bench.retaining.streams import Floats, Ints, Kind, Stream
from mira_stream.messages import DIMENSIONS, SLOTS, Decision, Mask, Origin, Policy, Prior, ScoreCard, Unit, encode
from mira_stream.quality import judge, lens
from mira_stream.records import Record
from mira_stream.selecting.policies import PolicyLog
from mira_stream.selecting.selector import Selector

GROUP, LINEAGE = "text", "0123456789ab"


HELD_OUT: Final = 200


RUN: Final = 500
"""Cards of one source in a row, where many sources share a Selector."""


CLASSES: Final = {"drop": 0, "downsample": 1, "keep": 2}


class Outcome(NamedTuple):
    """What became of a source's documents, in order."""

    name: str
    target: float
    tokens: Ints
    cells: NDArray[np.int16]
    selected: NDArray[np.bool_]
    classes: NDArray[np.int8]

    @classmethod
    def of(cls, name: str, target: float, stream: Stream) -> "Outcome":
        count = len(stream.tokens)
        return cls(
            name,
            target,
            stream.tokens,
            np.zeros(count, np.int16),
            np.zeros(count, np.bool_),
            np.zeros(count, np.int8),
        )

    @property
    def ids(self) -> list[str]:
        return [f"{self.name}-{at}" for at in range(len(self.tokens))]

    def note(self, at: int, decision: Decision) -> None:
        self.cells[at] = round(decision.quality * 10)
        self.selected[at] = decision.selected
        self.classes[at] = CLASSES[decision.decision]

    def weights(self, unit: Unit) -> Ints:
        return np.ones_like(self.tokens) if unit == "documents" else self.tokens

    def error(self, unit: Unit) -> float:
        """|selected / decided - target| in percentage points."""
        weights = self.weights(unit)
        return 100 * abs(float(weights[self.selected].sum()) / float(weights.sum()) - self.target)


def run(kind: Kind, streams: dict[str, Stream], priors: dict[str, Stream], targets: dict[str, float]) -> list[Outcome]:
    """Every stream through one Selector, in turns."""
    log = PolicyLog()
    asked = Policy(unit=kind.unit, band=kind.band, horizon_documents=kind.horizon)
    log.add(_record(0, "*", asked))
    for name in streams:
        log.add(_record(log.next_offset, f"source:{name}", Policy(retention=targets[name])))
        log.add(_record(log.next_offset, f"source:{name}", _mask(name, priors[name])))
    selector = Selector(0)
    found = {name: Outcome.of(name, targets[name], stream) for name, stream in streams.items()}
    for offset, card in enumerate(_cards(streams)):
        rules = log.rules(GROUP, card.source, LINEAGE)
        assert rules is not None
        outcome = selector.select(card, offset, rules).outcome
        assert isinstance(outcome, Decision)
        found[card.source].note(card.origin.offset, outcome)
    return list(found.values())


def _cards(streams: dict[str, Stream]) -> Iterator[ScoreCard]:
    longest = max(len(stream.tokens) for stream in streams.values())
    for first in range(0, longest, RUN):
        for name, stream in streams.items():
            scores, tokens = stream.scores[first : first + RUN].tolist(), stream.tokens[first : first + RUN].tolist()
            for at, (fifteen, length) in enumerate(zip(scores, tokens, strict=True), first):
                origin = Origin(topic="mira.documents.text", partition=0, offset=at, timestamp_ms=0)
                yield ScoreCard(
                    id=f"{name}-{at}",
                    source=name,
                    group=GROUP,
                    origin=origin,
                    lineage=LINEAGE,
                    mode="scores",
                    scores=fifteen,
                    tokens=length,
                )


def _mask(source: str, prior: Stream) -> Mask:
    mask = Mask(
        mask="m1",
        group=GROUP,
        source=source,
        lineage=LINEAGE,
        dimensions=list(SLOTS),
        means=[0.0] * DIMENSIONS,
        trim=0.1,
    )
    through = lens(mask)
    cells: dict[str, float] = {}
    for row in prior.scores.tolist():
        cell = str(judge(row, through).cell)
        cells[cell] = cells.get(cell, 0.0) + 1.0
    return replace(mask, prior=Prior(cells=cells, documents=len(prior.tokens), tokens=int(prior.tokens.sum())))


def prior_cells(prior: Stream) -> Floats:
    known = _mask("any", prior).prior
    assert known is not None
    cells = np.zeros(1001)
    for cell, weight in known.cells.items():
        cells[int(cell)] = weight * 25 / known.documents
    return cells


def _record(offset: int, key: str, message: Policy | Mask) -> Record:
    return Record("mira.policy", 0, offset, 0, key.encode(), encode(message))
