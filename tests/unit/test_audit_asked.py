"""What two sides were asked otherwise when they decided, by the policies that their decisions name."""

from collections import Counter

from mira_stream.audit.asked import Said, asked_of_all
from mira_stream.messages import Policy
from tests.unit.selecting_cards import GROUP, LINEAGE, mask, policy_log


def said(policy: int, lineage: str = LINEAGE) -> Said:
    return Said(GROUP, "books", lineage, policy)


def test_it_is_what_was_in_force_for_each_decision_and_not_what_is_now() -> None:
    live = policy_log(Policy(retention=0.4), mask(), Policy(retention=0.2), Policy(retention=0.6))
    tried = policy_log(Policy(retention=0.2), mask())
    early, late = (said(1), said(1)), (said(2), said(1))
    assert asked_of_all(Counter({early: 3}), live, tried) == ["target 0.4 -> 0.2"]
    assert asked_of_all(Counter({late: 3}), live, tried) == []
    assert asked_of_all(Counter({early: 3, late: 6}), live, tried) == ["target 0.4 -> 0.2 (3 of 9 documents)"]


def test_a_side_without_a_mask_is_told_and_no_decisions_say_nothing() -> None:
    live, tried = policy_log(mask()), policy_log(Policy(retention=0.2))
    assert asked_of_all(Counter({(said(0), said(0)): 1}), live, tried) == ["shadow has no mask in force"]
    assert asked_of_all(Counter(), live, tried) == []
