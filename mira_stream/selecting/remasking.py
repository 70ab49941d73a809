"""Masks made anew by what is asked by command: a lineage's own mask, and the slots put in and taken out. Pure."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from mira_stream.errors import UsageError
from mira_stream.messages import SLOTS, Mask, Policy, Prior
from mira_stream.selecting.masks import mask_hash
from mira_stream.selecting.policies import PolicyLog, keys_of

PriorOf = Callable[[Mask], Prior | None]
"""How the held-out cards of a mask's source are spread under it."""


class Remasked(NamedTuple):
    """Masks to write, each under its source, and what a person should know about them."""

    masks: list[Mask]
    said: list[str]


def remasked(
    log: PolicyLog, masks: Iterable[Mask], key: str, asked: Policy, rubric: str | None, prior_of: PriorOf
) -> Remasked:
    """The masks of all lineages of these sources (each given by the one in force) once `asked` stands under `key`: of
    scorers that are still at work in an older lineage, too. A lineage of another rubric stays: its slots mean other
    dimensions. The one in force is the last of its source. Raises UsageError(mask_slots | too_few_dimensions)."""
    found, said, is_of_rubric = list[Mask](), list[str](), False
    for newest in masks:
        speaks = {name: policy for name, _, policy in log.said(group=newest.group, source=newest.source)} | {key: asked}
        order = [name for name in keys_of(newest.group, newest.source) if name in speaks]
        slots, by = _slots_asked([(name, speaks[name]) for name in order], rubric)
        said += _overruled(newest.source, key, asked, slots, by)
        made = dict[str, Mask]()
        lineages = log.masks_of(newest.group, newest.source)
        for mask in lineages:
            is_newest = mask is lineages[-1]
            if mask.rubric != rubric and not (is_newest and mask.rubric is None):
                said.append(f"{mask.source}: lineage {mask.lineage} is of another rubric, and its mask stays as it is")
                continue
            try:
                made[mask.lineage] = _derived(log, mask, slots, prior_of)
            except UsageError as refusal:
                if is_newest:
                    raise
                said.append(f"the mask of lineage {mask.lineage} stays as it is: {refusal.cause}")
        changed = [mask for mask in lineages if made.get(mask.lineage, mask) != mask]
        if changed and changed[-1] is not lineages[-1]:
            changed.append(lineages[-1])  # the newest record says which lineage is in force
        is_of_rubric = is_of_rubric or bool(made)
        found += [made.get(mask.lineage, mask) for mask in changed]
    if not is_of_rubric:
        raise UsageError(
            "mask_slots",
            f"no mask under {key} is of this project's rubric: its slots mean other dimensions",
            "put this project's masks in force first (mira-stream prepare), or name the project of the stream",
        )
    return Remasked(found, said)


def table_mask(log: PolicyLog, mask: Mask) -> Mask | None:
    """The mask that a project gave this source in this lineage, before anything was set by command; of a source that
    was added like another, the other's. None if there is none in the log."""
    source, seen = mask.source, set[str]()
    while source not in seen:
        seen.add(source)
        found = log.newest_mask(mask.group, source, mask.lineage, by="project")
        if found is not None:
            return replace(found, source=mask.source)
        policy = log.newest_policy(f"source:{source}")
        source = (policy.like if policy is not None else None) or source
    return None


def remask(mask: Mask, add: Sequence[str], remove: Sequence[str], prior_of: PriorOf) -> Mask:
    """The mask with dimensions put in and taken out, and the prior that this makes. Raises UsageError."""
    chosen = (set(mask.dimensions) | set(add)) - set(remove)
    dimensions = [slot for slot in SLOTS if slot in chosen]
    if len(dimensions) < mask.dimensions_min:
        raise UsageError(
            "too_few_dimensions",
            f"source {mask.source!r} would be left with {len(dimensions)} dimensions"
            f" ({', '.join(dimensions) or 'none'}); at least {mask.dimensions_min} must be",
            "take out fewer, or move the source to a group that fits it",
        )
    if dimensions == mask.dimensions:
        return mask
    name = mask_hash(dimensions, mask.means, mask.trim)
    changed = replace(mask, mask=name, dimensions=dimensions, prior=None, by="command")
    return replace(changed, prior=prior_of(changed))


def _derived(log: PolicyLog, mask: Mask, slots: dict[str, bool], prior_of: PriorOf) -> Mask:
    """The lineage's mask as it is to be; the very record in force where that has these dimensions already."""
    base = table_mask(log, mask) or mask
    add, remove = ([slot for slot, is_in in slots.items() if is_in is want] for want in (True, False))
    wanted = remask(base, add, remove, lambda made: None)
    return mask if wanted.dimensions == mask.dimensions else remask(base, add, remove, prior_of)


def _slots_asked(said: Iterable[tuple[str, Policy]], rubric: str | None) -> tuple[dict[str, bool], dict[str, str]]:
    """{slot: whether it is to count} as the narrowest key under this rubric says, and {slot: that key}."""
    slots, by = dict[str, bool](), dict[str, str]()
    for name, policy in said:
        if policy.mask_rubric == rubric:
            own = dict.fromkeys(policy.mask_add or (), True) | dict.fromkeys(policy.mask_remove or (), False)
            slots |= own
            by |= dict.fromkeys(own, name)
    return slots, by


def _overruled(source: str, key: str, asked: Policy, slots: dict[str, bool], by: dict[str, str]) -> Iterator[str]:
    """Where a slot that was asked for does not hold, for a narrower key says something else."""
    wanted = dict.fromkeys(asked.mask_add or (), True) | dict.fromkeys(asked.mask_remove or (), False)
    for slot, is_in in wanted.items():
        if by.get(slot, key) != key and slots[slot] is not is_in:
            yield f"for {source} {slot} stays {'in' if slots[slot] else 'out'}, which {by[slot]} says"
