"""The order of record: score cards of one partition in, epochs and decisions out. Pure; the aggregator and the
audit run this same code.

A scope (a source, a group, or all) has one current standing at a time, a source one a lineage. A border moves its
thresholds, writes its state and, when the mask changed, the state of the standing that is left: so every standing but
the current one is complete in its record, and a restart knows that whatever comes after the newest record belongs to
the current one. Where thresholds are shared, a border also writes the changed counters of its sources, and one that
brings in a newer policy writes all that has changed: cards after it fall under the scopes of that version.
"""

from collections.abc import Callable, Collection, Iterable
from operator import itemgetter
from typing import Literal, NamedTuple

from mira_stream.epochs import Outcome, correct_target, count_border, decide, thresholds
from mira_stream.errors import DocumentError
from mira_stream.messages import CardPosition, Decision, Epoch, ScoreCard, SourceState
from mira_stream.quality import Judged, judge
from mira_stream.selecting.ledger import Ledger, Standing, book, book_under, freeze, thaw
from mira_stream.selecting.policies import Rules, policy_lost
from mira_stream.selecting.scopes import is_shared_name

RulesAt = Callable[[str, str, str, int], Rules | None]
"""(group, source, lineage, version) -> the rules as they were at that version."""
Cause = Literal["start", "count", "policy"]
Key = tuple[str, str, str]
"""(source, `group:g` or `*`, lineage, mask)"""


class Selection(NamedTuple):
    """What one card became. `states` are those of a border: what must be complete before it, then the one in force.
    `outcome` is the decision, or why there can be none (no_reliable_score)."""

    epoch: Epoch | None
    states: list[SourceState]
    outcome: Decision | DocumentError
    all_complete: bool = False
    """Whether `states` hold all that has changed, of whatever scope."""


class Selector:
    """All standings of one partition of the score log; the only one who moves their thresholds."""

    def __init__(self, partition: int) -> None:
        self._partition = partition
        self._standings: dict[Key, Standing] = {}
        self._current: dict[tuple[str, str], Standing] = {}
        self._ledgers: dict[str, Ledger] = {}
        self._counted: dict[str, set[Key]] = {}
        """By shared scope: its sources' counters that may have changed since its last border."""
        self._rules_at: RulesAt | None = None
        self._has_shared = False
        """Whether any thresholds are, or ever were, shared."""
        self.seen = -1
        """The newest policy version of any border."""

    def totals(self, sources: Collection[str] | None = None) -> list[tuple[str, int, float]]:
        """(name, documents decided so far, share kept of them) of these sources and of every shared threshold; of all
        without `sources`."""
        return [
            (of, ledger.documents, ledger.kept)
            for of, ledger in self._ledgers.items()
            if sources is None or of in sources or (self._has_shared and is_shared_name(of))
        ]

    def current(self, source: str, lineage: str) -> Standing | None:
        """The standing that the source's next card of this lineage falls under, if it has one of its own."""
        return self._current.get((source, lineage))

    @property
    def in_force(self) -> list[Epoch]:
        """The epochs of all current standings, the newest of a source last."""
        epochs = [standing.in_force for standing in self._current.values() if standing.in_force is not None]
        return sorted(epochs, key=lambda epoch: (epoch.epoch_of, epoch.epoch))

    def select(self, card: ScoreCard, offset: int, rules: Rules) -> Selection:
        """Decide the next card under the newest `rules`. A border comes before the card is judged, so that a
        replay knows under which mask a card without enough scores was refused. A refused card counts nowhere."""
        current = self._current.get(rules.scope.seat)
        if current is not None and rules.version <= _in_force(current).policy:
            rules = current.rules or rules
            cause: Cause | None = "count" if count_border(current.n, current.since_border) else None
            standing, left = current, None
        else:
            cause, standing = self._entered(rules)
            left = None if current is standing else current
        epoch: Epoch | None = None
        states: list[SourceState] = []
        self._has_shared = self._has_shared or rules.scope.is_shared
        all_complete = cause is not None and rules.shares and rules.version > self.seen
        if cause is not None:
            states = [] if left is None else [self._freeze(left, offset)]
            if all_complete:
                states += self._complete_all(standing, offset)
            self.seen = max(self.seen, rules.version)
            epoch = _move(standing, self._ledger(standing.key[0], rules), cause, rules, offset)
            states.append(self._freeze(standing, offset))
            self._current[rules.scope.seat] = standing
            states += self._counters_of(standing, offset)
        try:
            judged = judge(card.scores, rules.lens)
        except DocumentError as refusal:
            return Selection(epoch, states, refusal, all_complete)
        outcome = self._book(card, offset, rules, standing, judged)
        decision = self._decision(card, offset, rules, standing, judged, outcome)
        return Selection(epoch, states, decision, all_complete)

    def replay(self, card: ScoreCard, offset: int) -> Decision | None:
        """Count a card that was settled before, under the epoch it was decided in. The decision it became; None if
        that is in a record already, or if it became none."""
        found = self._replayed_under(card)
        if found is None or offset < found[0].next_offset:
            return None
        standing, rules = found
        try:
            judged = judge(card.scores, rules.lens)
        except DocumentError:
            return None
        outcome = self._book(card, offset, rules, standing, judged)
        return self._decision(card, offset, rules, standing, judged, outcome)

    def restore(self, states: Iterable[SourceState], rules_at: RulesAt) -> None:
        """Take over the newest record of every state. Raises DataLossError(policy_lost)."""
        self._rules_at = rules_at
        for state in sorted(states, key=_recency):
            standing, ledger = thaw(state, _own_rules(state, rules_at))
            self._standings[standing.key] = standing
            self._ledgers[state.source] = ledger
            if state.in_force is None:
                self._current.pop((state.source, state.lineage), None)
            else:
                shared = is_shared_name(state.source)
                self._has_shared = self._has_shared or shared
                self._current[state.source, "" if shared else state.lineage] = standing
                self.seen = max(self.seen, state.in_force.policy)

    def checkpoint(self, next_offset: int) -> list[SourceState]:
        """The states that changed since they were last written, complete up to `next_offset`."""
        return [
            self._freeze(standing, next_offset)
            for _, standing in sorted(self._standings.items(), key=itemgetter(0))
            if standing.changed
        ]

    def _entered(self, rules: Rules) -> tuple[Cause, Standing]:
        """(cause of the border, the standing to go on with): under these rules' own sketch, anew or where it stood."""
        key = rules.scope.key
        standing = self._standings.get(key)
        if standing is not None and not standing.is_under:
            return "policy", standing
        standing = self._standings[key] = Standing.of(rules)
        return "start", standing

    def _complete_all(self, standing: Standing, offset: int) -> list[SourceState]:
        """What a restart must not decide again, since cards from here on may fall under other scopes: all that changed,
        and every shared standing. Not `standing`: its record follows, with its new epoch."""
        shared = {one.key for (of, _), one in self._current.items() if is_shared_name(of)}
        self._counted.clear()  # whoever moves to another scope does so after this
        return [
            self._freeze(one, offset)
            for key, one in sorted(self._standings.items(), key=itemgetter(0))
            if one is not standing and (one.changed or key in shared)
        ]

    def _counters_of(self, standing: Standing, offset: int) -> list[SourceState]:
        """Counters of the sources under a shared standing, as far as they have changed."""
        counted = [self._standings[key] for key in sorted(self._counted.pop(standing.key[0], ()))]
        return [self._freeze(one, offset) for one in counted if one.changed]

    def _book(self, card: ScoreCard, offset: int, rules: Rules, standing: Standing, judged: Judged) -> Outcome:
        epoch = _in_force(standing)
        outcome = decide(
            card.id, judged.quality, card.scores, rules.floors, epoch.keep, epoch.drop, epoch.target_corrected
        )
        book(standing, self._ledger(standing.key[0], rules), card, judged, outcome, offset)
        if rules.scope.is_shared:
            under = self._under(card.source, rules)
            book_under(under, self._ledger(card.source, rules), card, outcome, offset)
            self._counted.setdefault(standing.key[0], set()).add(under.key)
        return outcome

    def _under(self, source: str, rules: Rules) -> Standing:
        """The counters of a source under a shared scope; its own sketch, if it had one, ends."""
        key = (source, rules.mask.lineage, rules.mask.mask)
        standing = self._standings.get(key)
        if standing is None or not standing.is_under:
            standing = self._standings[key] = Standing.under(source, rules.mask)
            self._current.pop((source, rules.mask.lineage), None)
        return standing

    def _replayed_under(self, card: ScoreCard) -> tuple[Standing, Rules] | None:
        """(standing, rules) that a card after the newest records was decided under: those of the last border."""
        if self._rules_at is not None and self._has_shared:
            rules = self._rules_at(card.group, card.source, card.lineage, self.seen)
            if rules is None:
                return None
            standing = self._current.get(rules.scope.seat)
        else:
            standing, rules = self._current.get((card.source, card.lineage)), None
        if standing is None:
            return None
        rules = standing.rules or rules
        return None if rules is None else (standing, rules)

    def _ledger(self, of: str, rules: Rules) -> Ledger:
        return self._ledgers.setdefault(of, Ledger(rules.unit))

    def _freeze(self, standing: Standing, next_offset: int) -> SourceState:
        standing.changed = False
        standing.next_offset = next_offset
        return freeze(standing, self._ledgers[standing.key[0]], next_offset)

    def _decision(
        self, card: ScoreCard, offset: int, rules: Rules, standing: Standing, judged: Judged, outcome: Outcome
    ) -> Decision:
        epoch = _in_force(standing)
        return Decision(
            id=card.id,
            source=card.source,
            group=card.group,
            origin=card.origin,
            card=CardPosition(partition=self._partition, offset=offset),
            lineage=card.lineage,
            mask=rules.mask.mask,
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


def _move(standing: Standing, ledger: Ledger, cause: Cause, rules: Rules, offset: int) -> Epoch:
    """Put a new epoch in force from the card at `offset` on."""
    scope = rules.scope
    ledger.measure_in(rules.unit)
    ledger.epoch += 1
    owed = ledger.due - ledger.selected
    target = correct_target(rules.target, owed, standing.n, ledger.mean_weight, rules.horizon)
    found = thresholds(standing.sketch, rules.unit, standing.n, target, rules.band, scope.kind)
    epoch = Epoch(
        epoch_of=scope.of,
        group=scope.group,
        lineage=scope.lineage,
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
        mask=scope.only_mask,
    )
    standing.rules = None if scope.is_shared else rules
    standing.in_force = epoch
    standing.since_border = 0
    return epoch


def _own_rules(state: SourceState, rules_at: RulesAt) -> Rules | None:
    """The rules of a state with thresholds of its source's own, as they were at its epoch."""
    if state.in_force is None or is_shared_name(state.source):
        return None
    rules = rules_at(state.group, state.source, state.lineage, state.in_force.policy)
    if rules is None or rules.mask.mask != state.mask:
        raise policy_lost(
            f"the policy that source {state.source!r} was decided under is not in the policy topic any more"
        )
    return rules


def _in_force(standing: Standing) -> Epoch:
    if standing.in_force is None:
        raise AssertionError("a standing decides only after its first border")
    return standing.in_force


def _recency(state: SourceState) -> tuple[int, int]:
    return state.next_offset, state.in_force.first_offset if state.in_force else -1
