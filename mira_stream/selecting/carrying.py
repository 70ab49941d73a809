"""Slots that a person put in or took out by command, from one lineage of a source to its next. Pure."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from mira_stream.errors import UsageError
from mira_stream.messages import Mask, Policy
from mira_stream.selecting.policies import PolicyLog
from mira_stream.selecting.remasking import PriorOf, remask

RubricOf = Callable[[str], str | None]
"""A group's rubric: what its slots mean. None if there is none."""


class Carried(NamedTuple):
    """A project's records with the slots that hold on, and what a person should know about them."""

    records: list[tuple[str, Policy | Mask]]
    said: list[str]


def carried(
    log: PolicyLog, records: Sequence[tuple[str, Policy | Mask]], rubric_of: RubricOf, prior_of: PriorOf
) -> Carried:
    """A mask of a lineage that its source enters has the slots that were set by command, if they are of the rubric that
    it has now: a slot of another rubric is another dimension. Where a slot does not hold, that is said each time. The
    project's own mask of a new lineage goes before: it is what holds once nobody asks for the slots any more."""
    kept: list[tuple[str, Policy | Mask]] = []
    said: list[str] = []
    for key, message in records:
        if isinstance(message, Mask):
            own = message
            message, lines = _carried(log, own, rubric_of(own.group), prior_of)
            said += lines
            if message != own and log.newest_mask(own.group, own.source, own.lineage) is None:
                kept.append((key, own))
        kept.append((key, message))
    return Carried(kept, said)


def _carried(log: PolicyLog, mask: Mask, rubric: str | None, prior_of: PriorOf) -> tuple[Mask, list[str]]:
    held = log.newest_mask(mask.group, mask.source, mask.lineage)
    asked, is_of_rubric = _asked(log, mask, rubric)
    if held is not None and log.is_newest(held):
        return mask, _not_as_asked(held, asked, "was set by command, and does not hold")
    base = held if held is not None and held.by == "command" else mask
    wanted = {slot: is_in for slot, is_in in asked.items() if is_of_rubric[slot]}
    lost = {slot: is_in for slot, is_in in asked.items() if not is_of_rubric[slot]}
    said = _not_as_asked(base, lost, "was set by command, of another rubric than the present one, and does not hold")
    add, remove = ([slot for slot, is_in in wanted.items() if is_in is want] for want in (True, False))
    try:
        changed = remask(base, add, remove, prior_of)
    except UsageError as refusal:
        return mask, [*said, f"source {mask.source}: what was set by command does not hold: {refusal}"]
    if changed.dimensions != base.dimensions:
        slots = [*(f"+{slot}" for slot in add), *(f"-{slot}" for slot in remove)]
        said.append(f"source {mask.source}: {' '.join(slots)} holds on in lineage {mask.lineage}, as set by command")
    return changed, said


def _asked(log: PolicyLog, mask: Mask, rubric: str | None) -> tuple[dict[str, bool], dict[str, bool]]:
    """{slot: whether it is to count}, the narrowest key last, and whether that was said under this rubric."""
    asked: dict[str, bool] = {}
    is_of_rubric: dict[str, bool] = {}
    for _, _, policy in log.said(group=mask.group, source=mask.source):
        own = dict.fromkeys(policy.mask_add or (), True) | dict.fromkeys(policy.mask_remove or (), False)
        asked |= own
        is_of_rubric |= dict.fromkeys(own, policy.mask_rubric is not None and policy.mask_rubric == rubric)
    return asked, is_of_rubric


def _not_as_asked(mask: Mask, asked: dict[str, bool], why: str) -> list[str]:
    wrong = {slot: is_in for slot, is_in in asked.items() if (slot in mask.dimensions) is not is_in}
    if not wrong:
        return []
    slots = " ".join(f"{'+' if is_in else '-'}{slot}" for slot, is_in in wrong.items())
    options = " ".join(f"{'--mask-add' if is_in else '--mask-remove'} {slot}" for slot, is_in in wrong.items())
    return [f"source {mask.source}: {slots} {why}: mira-stream policy set source:{mask.source} {options} says it anew"]
