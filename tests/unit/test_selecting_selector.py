"""The state machine without any I/O: borders, carry-over, cuts at any place, retention."""

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from mira_stream.errors import DataLossError, DocumentError
from mira_stream.messages import Decision, Epoch, Mask, Policy, Prior, ScoreCard, SourceState, encode
from mira_stream.selecting.handler import state_key
from mira_stream.selecting.policies import PolicyLog
from mira_stream.selecting.selector import Selection, Selector
from tests.unit.selecting_cards import GROUP, LINEAGE, card, mask, policy_log, policy_record, random_card, rules

PRIOR = Prior(cells={str(cell): 1.0 for cell in range(400, 800, 8)}, documents=50, tokens=5_000)
UNREAD: list[float | None] = [None] * 15
OF_A_SOURCE = 6
"""From this choice on a publication is about one source."""
Publication = tuple[int, int, str, str]
"""(before which card, what, source, lineage)"""


def test_the_first_card_of_a_state_is_at_a_border_with_its_prior() -> None:
    selection = Selector(3).select(card(1), 17, rules(Policy(retention=0.4), mask(prior=PRIOR)))
    epoch = selection.epoch
    assert epoch is not None
    assert (epoch.cause, epoch.basis, epoch.epoch, epoch.first_offset, epoch.policy) == ("start", "prior", 1, 17, 1)
    assert (epoch.n, epoch.weight, epoch.target, epoch.target_corrected) == (0, 25.0, 0.4, 0.4)
    assert isinstance(selection.outcome, Decision)
    assert (selection.outcome.card.partition, selection.outcome.card.offset) == (3, 17)
    assert (selection.outcome.epoch, selection.outcome.policy, selection.outcome.mask) == (1, 1, "m1")
    assert [(state.next_offset, state.n, state.in_force) for state in selection.states] == [(17, 0.0, epoch)]


def test_borders_by_count() -> None:
    selector, now = Selector(0), rules(mask(prior=PRIOR))
    epochs = [
        selection.epoch for offset in range(200) if (selection := selector.select(card(offset), offset, now)).epoch
    ]
    assert [(e.cause, e.n, e.first_offset) for e in epochs if e] == [
        ("start", 0, 0), ("count", 10, 10), ("count", 20, 20), ("count", 39, 39), ("count", 77, 77),
        ("count", 153, 153),
    ]  # fmt: skip


def test_a_newer_policy_is_a_border_at_the_next_card_of_its_source_only() -> None:
    log = policy_log(mask(), mask(source="other"))
    selector = Selector(0)

    def select(offset: int, source: str) -> Epoch | None:
        now = log.rules(GROUP, source, LINEAGE)
        assert now is not None
        selection = selector.select(card(offset, source=source), offset, now)
        assert len(selection.states) == (selection.epoch is not None)
        return selection.epoch

    assert [select(0, "books"), select(1, "other")] != [None, None]
    log.add(policy_record(2, Policy(retention=0.1), "source:books"))
    assert select(2, "other") is None
    moved = select(3, "books")
    assert moved is not None
    assert (moved.cause, moved.policy, moved.target) == ("policy", 2, 0.1)
    assert select(4, "books") is None


def test_rules_older_than_those_in_force_change_nothing() -> None:
    selector = Selector(0)
    log = policy_log(mask(), Policy(retention=0.1))
    selector.select(card(0), 0, log.rules(GROUP, "books", LINEAGE, 1))  # type: ignore[arg-type]
    assert selector.select(card(1), 1, log.rules(GROUP, "books", LINEAGE, 0)).epoch is None  # type: ignore[arg-type]


def test_what_is_owed_carries_over_to_a_new_mask_and_lineage() -> None:
    selector = Selector(0)
    log = policy_log(Policy(retention=0.5, floors={"A1": 9.0}), mask("m1"), mask("m2"), mask("m3", lineage="new"))
    old = log.rules(GROUP, "books", LINEAGE, 1)
    assert old is not None
    for offset in range(20):  # every card undercuts the floor: ten documents are owed
        selector.select(card(offset), offset, old)
    newer = log.rules(GROUP, "books", LINEAGE)
    assert newer is not None
    selection = selector.select(card(20), 20, newer)
    assert selection.epoch is not None
    assert (selection.epoch.cause, selection.epoch.mask, selection.epoch.n) == ("start", "m2", 0)
    assert selection.epoch.target_corrected == min(1.0, 0.5 + 10 / 25)
    assert [(s.mask, s.next_offset, s.n, s.due, s.documents) for s in selection.states] == [
        ("m1", 20, 20.0, 10.0, 20), ("m2", 20, 0.0, 10.0, 20),
    ]  # fmt: skip
    other = log.rules(GROUP, "books", "new")
    assert other is not None
    lineage = selector.select(card(21, lineage="new"), 21, other)
    assert lineage.epoch is not None
    assert (lineage.epoch.epoch, lineage.states[-1].due, lineage.states[-1].documents) == (4, 10.5, 21)


def test_a_new_unit_forgives_what_was_owed_in_the_old_one() -> None:
    selector = Selector(0)
    log = policy_log(mask(), Policy(retention=0.5, floors={"A1": 9.0}))
    for offset in range(5):
        selector.select(card(offset, tokens=1_000), offset, log.rules(GROUP, "books", LINEAGE))  # type: ignore[arg-type]
    log.add(policy_record(2, Policy(retention=0.5, unit="tokens")))
    selection = selector.select(card(5, tokens=1_000), 5, log.rules(GROUP, "books", LINEAGE))  # type: ignore[arg-type]
    assert selection.epoch is not None
    assert selection.epoch.target_corrected == 0.5


def test_a_card_without_enough_scores_is_refused_and_counts_nowhere() -> None:
    selector, now = Selector(0), rules(mask(prior=PRIOR))
    selection = selector.select(card(0, [None] * 13 + [5.0, 5.0]), 0, now)
    assert isinstance(selection.outcome, DocumentError)
    assert selection.outcome.reason == "no_reliable_score"
    assert selection.epoch is not None
    standing = selector.current("books", LINEAGE)
    assert standing is not None
    assert standing.n == 0
    assert standing.sketch.weight("documents") == 25.0


def test_cells_are_halved_every_thousand_cards() -> None:
    selector, now = Selector(0), rules(mask())
    for offset in range(1_000):
        selector.select(card(offset), offset, now)
    standing = selector.current("books", LINEAGE)
    assert standing is not None
    assert standing.sketch.weight("documents") == 500.0
    assert (standing.n, standing.since_halving) == (1_000, 0)
    assert sum(map(sum, standing.counts)) == 15_000


class Run:
    """An aggregator's life over one partition: what it wrote, and the newest record of every state."""

    def __init__(self, cards: Sequence[ScoreCard], publications: Sequence[Publication]) -> None:
        self.cards = cards
        self.policies = PolicyLog()
        self.publications = list(publications)
        self.selector = Selector(0)
        self.written: list[bytes] = []
        self.states: dict[bytes, SourceState] = {}
        self.checkpoint = 0

    def go(self, first: int, end: int, checkpoint_cards: int) -> None:
        for offset in range(first, end):
            while self.publications and self.publications[0][0] <= offset:
                self._publish(*self.publications.pop(0)[1:])
            found = self.cards[offset]
            now = self.policies.rules(GROUP, found.source, found.lineage)
            if now is not None:
                self._write(self.selector.select(found, offset, now))
            if (offset + 1) % checkpoint_cards == 0:
                self._keep(self.selector.checkpoint(offset + 1))
                self.checkpoint = offset + 1

    def restart(self, at: int) -> None:
        """A new owner: nothing is left but the records."""
        self.selector = Selector(0)
        self.selector.restore(list(self.states.values()), self.policies.rules)
        for offset in range(self.checkpoint, at):
            self.selector.replay(self.cards[offset], offset)

    def _publish(self, what: int, source: str, lineage: str) -> None:
        choices: list[Policy | Mask] = [
            mask("m1", source, lineage, prior=PRIOR),
            mask("m2", source, lineage, dimensions=["A1", "A2", "A3", "A4"], prior=PRIOR),
            Policy(retention=0.3, unit="documents"),
            Policy(retention=0.7, unit="tokens", floors={"A3": 4.0}),
            Policy(retention=0.4, threshold_scope="group"),
            Policy(retention=0.6, unit="tokens", threshold_scope="global"),
            Policy(threshold_scope="source"),
            Policy(threshold_scope="group"),
        ]
        key = f"source:{source}" if what >= OF_A_SOURCE else None
        self.policies.add(policy_record(self.policies.next_offset, choices[what], key))

    def _write(self, selection: Selection) -> None:
        if selection.epoch is not None:
            self.written.append(encode(selection.epoch))
        self._keep(selection.states)
        if isinstance(selection.outcome, Decision):
            self.written.append(encode(selection.outcome))

    def _keep(self, states: Sequence[SourceState]) -> None:
        for state in states:
            self.states[state_key(state)] = state
            self.written.append(encode(state))


sources = st.sampled_from(["books", "wiki"])
lineages = st.sampled_from([LINEAGE, "newer-lineage"])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_cut_anywhere_and_restored_the_same_bytes_come_out(data: st.DataObject) -> None:
    count = data.draw(st.integers(2, 240), "cards")
    rng = random.Random(data.draw(st.integers(0, 10**6), "seed"))
    refused = data.draw(st.sampled_from([0.0, 0.3]), "refused")
    cards = [
        replace(card, scores=UNREAD) if rng.random() < refused else card
        for i in range(count)
        for card in [random_card(i, rng, ("books", "wiki"), lineage=rng.choice([LINEAGE, "newer-lineage"]))]
    ]
    publication = st.tuples(st.integers(0, count), st.integers(0, 7), sources, lineages)
    first = [(0, 0, "books", LINEAGE), (0, 0, "wiki", LINEAGE)]
    publications = first + sorted(data.draw(st.lists(publication, max_size=8), "publications"))
    checkpoint_cards = data.draw(st.integers(5, 80), "checkpoint_cards")
    cuts = sorted(data.draw(st.lists(st.integers(0, count), max_size=4), "cuts"))

    whole = Run(cards, publications)
    whole.go(0, count, checkpoint_cards)
    torn = Run(cards, publications)
    at = 0
    for cut in cuts:
        torn.go(at, cut, checkpoint_cards)
        torn.restart(cut)
        at = cut
    torn.go(at, count, checkpoint_cards)
    assert torn.written == whole.written


@pytest.mark.parametrize(
    ("count", "seed", "publications", "cut"),
    [
        # a lineage becomes the older one, and its source gets thresholds of its own
        (15, 47814, [(0, 0, "books", "newer-lineage"), (0, 4, "books", LINEAGE), (12, 0, "books", LINEAGE)], 14),
        # the first card under the new policy is of an older lineage: it brings the scopes, without being under one
        (20, 350, [(0, 0, "wiki", "newer-lineage"), (17, 4, "books", LINEAGE)], 19),
        # a source moves from one shared scope to another
        (94, 2, [(0, 5, "books", LINEAGE), (91, 7, "wiki", LINEAGE)], 93),
    ],
)
def test_sources_that_move_between_scopes_write_the_same_bytes_also_after_a_restart(
    count: int, seed: int, publications: list[Publication], cut: int
) -> None:
    rng = random.Random(seed)
    cards = [
        random_card(i, rng, ("books", "wiki"), lineage=rng.choice([LINEAGE, "newer-lineage"])) for i in range(count)
    ]
    masks = [(0, 0, "books", LINEAGE), (0, 0, "wiki", LINEAGE)]
    whole, torn = Run(cards, masks + publications), Run(cards, masks + publications)
    whole.go(0, count, 5)
    torn.go(0, cut, 5)
    torn.restart(cut)
    torn.go(cut, count, 5)
    assert torn.written == whole.written


def test_going_back_to_an_earlier_mask_goes_on_with_its_sketch_also_after_a_restart() -> None:
    rng = random.Random(5)
    cards = [random_card(i, rng) for i in range(120)]
    publications = [(0, 0, "books", LINEAGE), (50, 1, "books", LINEAGE), (80, 0, "books", LINEAGE)]
    whole, torn = Run(cards, publications), Run(cards, publications)
    whole.go(0, 120, 1_000)
    for cut in (45, 49, 50, 51, 79, 80, 81, 120):
        torn.go(len([w for w in torn.written if b'"decision.v1"' in w]), cut, 1_000)
        torn.restart(cut)
    assert torn.written == whole.written
    back = next(e for e in whole.written if b'"epoch.v1"' in e and b'"first_offset":80' in e)
    assert b'"cause":"policy"' in back
    assert b'"n":50' in back


def test_a_halving_comes_when_it_is_due_also_after_a_restart() -> None:
    rng = random.Random(6)
    cards = [random_card(i, rng) for i in range(1_300)]
    whole, torn = Run(cards, [(0, 0, "books", LINEAGE)]), Run(cards, [(0, 0, "books", LINEAGE)])
    whole.go(0, 1_300, 400)
    torn.go(0, 990, 400)
    torn.restart(990)
    torn.go(990, 1_300, 400)
    assert torn.written == whole.written


def test_epochs_are_numbered_by_source_also_when_the_last_one_was_another_lineages() -> None:
    rng = random.Random(7)
    cards = [random_card(i, rng, lineage="newer-lineage" if i == 15 else LINEAGE) for i in range(60)]
    masks = [(0, 0, "books", LINEAGE), (0, 0, "books", "newer-lineage")]
    whole, torn = Run(cards, masks), Run(cards, masks)
    whole.go(0, 60, 18)
    torn.go(0, 19, 18)
    torn.restart(19)
    torn.go(19, 60, 18)
    assert torn.written == whole.written


def test_a_unit_that_came_with_a_refused_card_of_another_lineage_outlives_a_restart() -> None:
    rng = random.Random(1)
    cards = [random_card(i, rng, lineage=LINEAGE if i < 20 else "newer-lineage") for i in range(40)]
    cards[20] = replace(cards[20], scores=UNREAD)
    masks = [(0, 0, "books", LINEAGE), (0, 0, "books", "newer-lineage"), (20, 3, "books", LINEAGE)]
    whole, torn = Run(cards, masks), Run(cards, masks)
    whole.go(0, 40, 21)
    torn.go(0, 21, 21)
    torn.restart(21)
    torn.go(21, 40, 21)
    assert torn.written == whole.written


def test_a_state_whose_policy_is_gone_is_refused() -> None:
    state = Selector(0).select(card(0), 0, rules(mask())).states[0]
    with pytest.raises(DataLossError) as refusal:
        Selector(0).restore([state], PolicyLog().rules)
    assert refusal.value.code == "policy_lost"


@pytest.mark.parametrize("unit", ["documents", "tokens"])
@pytest.mark.parametrize("drift", [0.0, 0.8])
@pytest.mark.parametrize("target", [0.2, 0.5])
def test_retention_meets_the_target(unit: str, drift: float, target: float) -> None:
    rng = random.Random(11)
    policy = Policy(retention=target, unit=unit)  # type: ignore[arg-type]
    selector, now = Selector(0), rules(policy, mask(prior=PRIOR))
    decided = selected = 0
    for offset in range(3_000):
        level = rng.gauss(5.5 + drift * offset / 3_000, 1.2)
        scores: list[float | None] = [float(min(10, max(1, round(level + rng.gauss(0, 1))))) for _ in range(15)]
        found = card(offset, scores, tokens=rng.randint(50, 950))
        outcome = selector.select(found, offset, now).outcome
        assert isinstance(outcome, Decision)
        weight = 1 if unit == "documents" else found.tokens
        decided += weight
        selected += weight * outcome.selected
    assert selected / decided == pytest.approx(target, abs=0.02)


def test_selection_prefers_quality() -> None:
    rng = random.Random(3)
    selector, now = Selector(0), rules(mask(prior=PRIOR))
    qualities: dict[bool, list[float]] = {True: [], False: []}
    for offset in range(1_000):
        outcome = selector.select(random_card(offset, rng), offset, now).outcome
        assert isinstance(outcome, Decision)
        qualities[outcome.selected].append(outcome.quality)
    assert sum(qualities[True]) / len(qualities[True]) > sum(qualities[False]) / len(qualities[False]) + 15
