"""What a source is owed and what it got, and the state of one (source, lineage, mask), as the aggregator holds them.

Both are what a SourceState record says, in mutable form. The ledger belongs to the source and not to the state:
`due` and `selected` carry over to a new lineage or mask. A group and `*` have ledger and states like a source.
"""

from mira_stream.epochs import Outcome
from mira_stream.messages import Epoch, Mask, ScoreCard, SourceState, Unit
from mira_stream.quality import Judged
from mira_stream.selecting.policies import Rules
from mira_stream.sketch import HALVING_CARDS, Sketch, count_scores, from_cells, from_priors, no_scores


class Ledger:
    """Decided and selected so far of one source (or group, or all); complete up to `next_offset`."""

    __slots__ = ("documents", "due", "epoch", "next_offset", "selected_documents", "selected_tokens", "tokens", "unit")

    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        self.next_offset = 0
        self.epoch = 0
        self.documents = 0
        self.tokens = 0
        self.due = 0.0
        self.selected_documents = 0
        self.selected_tokens = 0

    @property
    def selected(self) -> int:
        """Selected so far, in the ledger's unit."""
        return self.selected_documents if self.unit == "documents" else self.selected_tokens

    @property
    def kept(self) -> float:
        """Share selected, in the ledger's unit; 0 before the first card."""
        decided = self.documents if self.unit == "documents" else self.tokens
        return self.selected / decided if decided else 0.0

    @property
    def mean_weight(self) -> float:
        """Mean weight of a decided card in the ledger's unit; 1 before the first."""
        if self.unit == "documents" or self.documents == 0:
            return 1.0
        return self.tokens / self.documents

    def measure_in(self, unit: Unit) -> None:
        """Go over to another unit; what was owed in the old one is forgiven."""
        if unit != self.unit:
            self.unit = unit
            self.due = float(self.selected)

    def count(self, tokens: int, selected: bool, target: float, next_offset: int) -> None:
        """Book one decided card."""
        self.documents += 1
        self.tokens += tokens
        self.due += target * (1 if self.unit == "documents" else tokens)
        self.selected_documents += selected
        self.selected_tokens += tokens * selected
        self.next_offset = next_offset


class Standing:
    """One sketch, or the counters of a source under a shared one: the epoch in force, the rules it was made under.

    `rules` are None where each card brings its own: in a shared scope, and for the sources under it."""

    __slots__ = (
        "changed",
        "counts",
        "group",
        "in_force",
        "key",
        "n",
        "next_offset",
        "rules",
        "since_border",
        "since_halving",
        "sketch",
    )

    def __init__(self, key: tuple[str, str, str], group: str, sketch: Sketch) -> None:
        self.key = key
        self.group = group
        self.rules: Rules | None = None
        self.in_force: Epoch | None = None
        self.next_offset = 0
        self.n = 0
        self.since_border = 0
        self.since_halving = 0
        self.sketch = sketch
        self.counts = no_scores()
        self.changed = False

    @classmethod
    def of(cls, rules: Rules) -> "Standing":
        """The sketch of a scope, before its first card."""
        return cls(rules.scope.key, rules.scope.group, from_priors(rules.scope.priors))

    @classmethod
    def under(cls, source: str, mask: Mask) -> "Standing":
        """The counters of a source whose cards a shared sketch holds."""
        return cls((source, mask.lineage, mask.mask), mask.group, Sketch())

    @property
    def is_under(self) -> bool:
        return self.in_force is None

    def count(self, card: ScoreCard, judged: Judged, next_offset: int) -> None:
        """Take one decided card into the sketch."""
        self.sketch.add(judged.cell, card.tokens)
        self.since_border += 1
        self.since_halving += 1
        if self.since_halving == HALVING_CARDS:
            self.sketch.halve()
            self.since_halving = 0
        self.note(card, next_offset)

    def note(self, card: ScoreCard, next_offset: int) -> None:
        """Count one decided card without a place in the sketch."""
        count_scores(self.counts, card.scores)
        self.n += 1
        self.next_offset = next_offset
        self.changed = True


def book(standing: Standing, ledger: Ledger, card: ScoreCard, judged: Judged, outcome: Outcome, offset: int) -> None:
    """Count a card decided under the standing's epoch; the ledger may cover it already (a sibling's newer record)."""
    standing.count(card, judged, offset + 1)
    if offset >= ledger.next_offset and standing.in_force is not None:
        ledger.count(card.tokens, outcome.selected, standing.in_force.target, offset + 1)


def book_under(standing: Standing, ledger: Ledger, card: ScoreCard, outcome: Outcome, offset: int) -> None:
    """The same for the source of a card that a shared scope has decided: such a source is owed nothing of its own."""
    if offset >= standing.next_offset:
        standing.note(card, offset + 1)
    if offset >= ledger.next_offset:
        ledger.count(card.tokens, outcome.selected, 0.0, offset + 1)
        ledger.due = float(ledger.selected)


def freeze(standing: Standing, ledger: Ledger, next_offset: int) -> SourceState:
    """The record that `thaw` makes the same standing and ledger of; complete up to `next_offset`."""
    sketch = standing.sketch
    of, lineage, mask = standing.key
    return SourceState(
        source=of,
        group=standing.group,
        lineage=lineage,
        mask=mask,
        next_offset=next_offset,
        epoch=ledger.epoch,
        n=float(standing.n),
        since_border=standing.since_border,
        since_halving=standing.since_halving,
        documents=ledger.documents,
        tokens=ledger.tokens,
        due=ledger.due,
        selected_documents=ledger.selected_documents,
        selected_tokens=ledger.selected_tokens,
        cells=sketch.cells("documents"),
        token_cells=sketch.cells("tokens"),
        cell_documents=sketch.weight("documents"),
        cell_tokens=sketch.weight("tokens"),
        dimension_counts=[list(row) for row in standing.counts],
        in_force=standing.in_force,
        unit=ledger.unit,
    )


def thaw(state: SourceState, rules: Rules | None) -> tuple[Standing, Ledger]:
    """Standing and ledger as they were when the record was written. `rules`: of a source with thresholds of its own."""
    sketch = from_cells(state.cells, state.token_cells)
    standing = Standing((state.source, state.lineage, state.mask), state.group, sketch)
    ledger = Ledger(state.unit)  # not the rules': a border of another lineage may have taken it over since
    standing.rules = rules
    standing.in_force = state.in_force
    standing.next_offset = ledger.next_offset = state.next_offset
    standing.n = int(state.n)
    standing.since_border = state.since_border
    standing.since_halving = state.since_halving
    standing.counts = [list(row) for row in state.dimension_counts]
    ledger.epoch = state.epoch
    ledger.documents = state.documents
    ledger.tokens = state.tokens
    ledger.due = state.due
    ledger.selected_documents = state.selected_documents
    ledger.selected_tokens = state.selected_tokens
    return standing, ledger
