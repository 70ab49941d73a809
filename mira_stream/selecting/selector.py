"""The order of record: score cards of one partition in, epochs and decisions out. Pure; the aggregator and the
audit run this same code.

At any time a (source, lineage) has one current standing. A border moves thresholds, writes the standing's state
and, when the mask changed, the state of the standing that is left: so every standing but the current one is
complete in its record, and a restart knows that whatever comes after the newest record belongs to the current one.
"""

from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import Literal, NamedTuple

from mira_stream.epochs import Outcome, correct_target, count_border, decide, thresholds
from mira_stream.errors import DataLossError, DocumentError
from mira_stream.messages import CardPosition, Decision, Epoch, ScoreCard, SourceState
from mira_stream.quality import Judged, judge
from mira_stream.selecting.ledger import Ledger, Standing, book, freeze, thaw
from mira_stream.selecting.policies import Rules

RulesAt = Callable[[str, str, str, int], Rules | None]
"""(group, source, lineage, version) -> the rules as they were at that version."""
Cause = Literal["start", "count", "policy"]


class Selection(NamedTuple):
    """What one card became. `states` are those of a border: the one left (if any), then the one in force.
    `outcome` is the decision, or why there can be none (no_reliable_score)."""

    epoch: Epoch | None
    states: list[SourceState]
    outcome: Decision | DocumentError


class Selector:
    """All standings of one partition of the score log; the only one who moves their thresholds."""

    def __init__(self, partition: int) -> None:
        self._partition = partition
        self._standings: dict[tuple[str, str, str], Standing] = {}
        self._current: dict[tuple[str, str], Standing] = {}
        self._ledgers: dict[str, Ledger] = {}

    def current(self, source: str, lineage: str) -> Standing | None:
        """The standing that the source's next card of this lineage falls under, if it has one."""
        return self._current.get((source, lineage))

    def select(self, card: ScoreCard, offset: int, rules: Rules) -> Selection:
        """Decide the next card under the newest `rules`. A border comes before the card is judged, so that a
        replay knows under which mask a card without enough scores was refused. A refused card counts nowhere."""
        current = self._current.get((card.source, card.lineage))
        if current is not None and rules.version <= _in_force(current).policy:
            rules = current.rules
        ledger = self._ledgers.setdefault(card.source, Ledger(rules.unit))
        cause, standing, left = self._standing(card, current, rules)
        epoch: Epoch | None = None
        states: list[SourceState] = []
        if cause is not None:
            if left is not None:
                states.append(self._freeze(card.source, left, ledger, offset))
            epoch = _move(card.source, standing, ledger, cause, rules, offset)
            states.append(self._freeze(card.source, standing, ledger, offset))
            self._current[card.source, card.lineage] = standing
        try:
            judged = judge(card.scores, standing.rules.lens)
        except DocumentError as refusal:
            return Selection(epoch, states, refusal)
        outcome = _outcome(card, standing, judged)
        book(standing, ledger, card, judged, outcome, offset)
        return Selection(epoch, states, self._decision(card, offset, standing, judged, outcome))

    def replay(self, card: ScoreCard, offset: int) -> Decision | None:
        """Count a card that was settled before, under the epoch it was decided in. The decision it became; None if
        that is in a record already, or if it became none."""
        standing = self._current.get((card.source, card.lineage))
        if standing is None or offset < standing.next_offset:
            return None
        try:
            judged = judge(card.scores, standing.rules.lens)
        except DocumentError:
            return None
        outcome = _outcome(card, standing, judged)
        book(standing, self._ledgers[card.source], card, judged, outcome, offset)
        return self._decision(card, offset, standing, judged, outcome)

    def restore(self, states: Iterable[SourceState], rules_at: RulesAt) -> None:
        """Take over the newest record of every state. Raises DataLossError(policy_lost)."""
        for state in sorted(states, key=_recency):
            version = -1 if state.in_force is None else state.in_force.policy
            rules = rules_at(state.group, state.source, state.lineage, version)
            if rules is None or rules.mask.mask != state.mask:
                raise DataLossError(
                    "policy_lost",
                    f"the policy that source {state.source!r} was decided under is not in the policy topic any more",
                    "keep mira.policy for ever (retention.ms = -1, not compacted); restore it from a backup",
                )
            standing, ledger = thaw(state, rules)
            self._standings[state.source, state.lineage, state.mask] = standing
            self._current[state.source, state.lineage] = standing
            self._ledgers[state.source] = ledger

    def checkpoint(self, next_offset: int) -> list[SourceState]:
        """The states that changed since they were last written, complete up to `next_offset`."""
        return [
            self._freeze(source, standing, self._ledgers[source], next_offset)
            for (source, _, _), standing in sorted(self._standings.items(), key=itemgetter(0))
            if standing.changed
        ]

    def _standing(
        self, card: ScoreCard, current: Standing | None, rules: Rules
    ) -> tuple[Cause | None, Standing, Standing | None]:
        """(cause of a border or None, the standing to decide under, the standing that is left or None)."""
        if current is not None and rules is current.rules:
            cause: Cause | None = "count" if count_border(current.n, current.since_border) else None
            return cause, current, None
        key = (card.source, card.lineage, rules.mask.mask)
        standing = self._standings.get(key)
        cause = "start" if standing is None else "policy"
        if standing is None:
            standing = self._standings[key] = Standing(rules)
        return cause, standing, None if current is standing else current

    def _freeze(self, source: str, standing: Standing, ledger: Ledger, next_offset: int) -> SourceState:
        standing.changed = False
        standing.next_offset = next_offset
        return freeze(source, standing, ledger, next_offset)

    def _decision(self, card: ScoreCard, offset: int, standing: Standing, judged: Judged, outcome: Outcome) -> Decision:
        epoch = _in_force(standing)
        return Decision(
            id=card.id,
            source=card.source,
            group=card.group,
            origin=card.origin,
            card=CardPosition(partition=self._partition, offset=offset),
            lineage=card.lineage,
            mask=standing.rules.mask.mask,
            epoch_of=epoch.epoch_of,
            epoch=epoch.epoch,
            policy=epoch.policy,
            decision=outcome.decision,
            selected=outcome.selected,
            reason=outcome.reason,
            quality=judged.quality,
            dimensions_used=list(judged.dimensions_used),
            scores=card.scores,
            ref=card.ref,
            overall=card.overall,
            recommendation=card.recommendation,
            domain_tag=card.domain_tag,
            brief=card.brief,
            tokens=card.tokens,
            event_time_ms=card.event_time_ms,
        )


def _move(source: str, standing: Standing, ledger: Ledger, cause: Cause, rules: Rules, offset: int) -> Epoch:
    """Put a new epoch in force from the card at `offset` on."""
    ledger.measure_in(rules.unit)
    ledger.epoch += 1
    owed = ledger.due - ledger.selected
    target = correct_target(rules.target, owed, standing.n, ledger.mean_weight, rules.horizon)
    found = thresholds(standing.sketch, rules.unit, standing.n, target, rules.band)
    epoch = Epoch(
        epoch_of=source,
        group=rules.mask.group,
        lineage=rules.mask.lineage,
        epoch=ledger.epoch,
        cause=cause,
        first_offset=offset,
        policy=rules.version,
        basis=found.basis,
        n=standing.n,
        weight=found.weight,
        target=rules.target,
        target_corrected=target,
        keep=found.keep,
        drop=found.drop,
        mask=rules.mask.mask,
    )
    standing.rules = rules
    standing.in_force = epoch
    standing.since_border = 0
    return epoch


def _outcome(card: ScoreCard, standing: Standing, judged: Judged) -> Outcome:
    epoch, floors = _in_force(standing), standing.rules.floors
    return decide(card.id, judged.quality, card.scores, floors, epoch.keep, epoch.drop, epoch.target_corrected)


def _in_force(standing: Standing) -> Epoch:
    if standing.in_force is None:
        raise AssertionError("a standing decides only after its first border")
    return standing.in_force


def _recency(state: SourceState) -> tuple[int, int]:
    return state.next_offset, state.in_force.first_offset if state.in_force else -1
