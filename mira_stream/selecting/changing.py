"""A policy changed by command: what is asked, checked against what is in force, as records of `mira.policy`. Pure."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from msgspec.structs import asdict, replace

from mira_stream.errors import MiraError, UsageError
from mira_stream.messages import SLOTS, Mask, Policy
from mira_stream.sections import RetentionSection
from mira_stream.selecting.policies import PolicyLog, Rules, floors_of, keys_of
from mira_stream.selecting.remasking import PriorOf, Remasked, remasked

Message = Policy | Mask
AIMS: Final = ("retention", "unit", "band", "horizon_documents")
"""What a pair of thresholds aims at: said where the thresholds belong to."""
FLOOR: Final = "floor:"
"""Before the slot of a single floor to take back."""
_HELP: Final = "see what is in force: mira-stream policy show"


class Change(NamedTuple):
    """Records to write, and what a person should know about them."""

    records: list[tuple[str, Message]]
    warnings: list[str]


def change(
    log: PolicyLog,
    key: str,
    asked: Policy,
    scores_key: str,
    prior_of: PriorOf,
    unset: Sequence[str] = (),
    rubric_of: Callable[[str], str | None] = lambda group: None,
) -> Change:
    """Lay the fields that are given in `asked` over the newest record of the key, and take back those in `unset` (one
    floor as `floor:A11`); floors are laid over slot by slot; `mask_add` and `mask_remove` make new masks, too, in every
    lineage of the project's rubric. Raises UsageError: key_unknown, mask_slots, floor_invalid, scope_too_wide,
    retention_shared, band_too_wide, too_few_dimensions, nothing_asked, nothing_changed."""
    masks = masks_under(log, key)
    old = log.newest_policy(key) or Policy()
    given = {name: value for name, value in asdict(asked).items() if value is not None and name != "by"}
    _check_asked(key, asked.note, unset, given)
    add, remove = given.pop("mask_add", []), given.pop("mask_remove", [])
    _check_slots(key, add, remove, asked.floors or {})
    if add or remove:
        rubric = rubric_of(masks[0].group)
        lineages = [one for mask in masks for one in log.masks_of(mask.group, mask.source)]
        was_in, was_out = _still_set(old, [mask for mask in lineages if mask.rubric == rubric] or masks, rubric)
        given |= {
            "mask_add": _slots((was_in | set(add)) - set(remove)),
            "mask_remove": _slots((was_out | set(remove)) - set(add)),
            "mask_rubric": rubric,
        }
    fields = [name for name in unset if not name.startswith(FLOOR)]
    if "floors" in given or len(fields) < len(unset) or "floors" in fields:
        given |= _floors(old, asked.floors or {}, unset)
    merged = replace(old, **{**dict.fromkeys(fields), **given, "by": "command"})
    remade = Remasked([], [])
    if add or remove:
        remade = remasked(log, masks, key, merged, merged.mask_rubric, prior_of)
    changed = remade.masks
    if not changed and replace(merged, note=old.note, by=old.by) == old:
        raise UsageError("nothing_changed", f"{key} asks for exactly that already", _HELP)
    _check_scope(log, key, merged, scores_key)
    _check_band(log, key, merged, asked, masks)
    warnings = [
        f"no held-out cards of {mask.source} in lineage {mask.lineage} are at hand: it begins by chance (cold_hash)"
        for mask in changed
        if mask.prior is None and mask not in masks
    ]
    warnings += remade.said
    warnings += _overruled(log, key, merged, asked.floors or {}, masks)
    return Change([(key, merged), *((f"source:{mask.source}", mask) for mask in changed)], warnings)


def masks_under(log: PolicyLog, key: str) -> list[Mask]:
    """The masks of the sources that a key speaks of. Raises UsageError(key_unknown)."""
    kind, _, name = key.partition(":")
    masks = log.masks()
    if key == "*":
        return masks
    found = [mask for mask in masks if name == {"group": mask.group, "source": mask.source}.get(kind)]
    if not found:
        known = ["*", *sorted({f"group:{mask.group}" for mask in masks} | {f"source:{mask.source}" for mask in masks})]
        new = "; a new source: mira-stream source add NAME --like SOURCE" if kind == "source" else ""
        raise UsageError("key_unknown", f"nothing is in force for {key!r}", f"use one of {', '.join(known)}{new}")
    return found


def share_of(
    budget_tokens: int | None, expected_tokens: int | None, error: type[MiraError] = UsageError
) -> float | None:
    """A token budget as the share the stream knows; None without one. Raises `error`(budget_invalid)."""
    if not budget_tokens and not expected_tokens:
        return None
    if not budget_tokens or not expected_tokens or budget_tokens > expected_tokens:
        raise error(
            "budget_invalid",
            f"a budget of {budget_tokens or 'no'} tokens out of {expected_tokens or 'no'} expected ones",
            "give both, the budget not larger than what is expected",
        )
    return budget_tokens / expected_tokens


class Value(NamedTuple):
    """One setting in force. `key`: who says so; `default` where nobody does. `version`: that record's."""

    value: Any
    key: str
    version: int | None


def in_force_of(log: PolicyLog, mask: Mask) -> tuple[Rules, dict[str, Value]]:
    """The rules of a source in its newest lineage, and where each value comes from."""
    rules = log.rules(mask.group, mask.source, mask.lineage)
    assert rules is not None, "a source with a mask has rules"
    values = {
        "retention": rules.target,
        "unit": rules.unit,
        "band": rules.band,
        "horizon_documents": rules.horizon,
        "floors": dict(rules.floors),
        "threshold_scope": rules.scope.kind,
    }
    found: dict[str, Value] = {}
    said = list(log.said(group=mask.group, source=mask.source))
    for name, value in values.items():
        speaks = [
            (key, version)
            for key, version, policy in said
            if getattr(policy, name) is not None
            and not (name in AIMS and rules.scope.is_shared and key not in _aims(rules))
        ]
        found[name] = Value(value, *(speaks[-1] if speaks else ("default", None)))
    return rules, found


def changes_between(old: Message | None, new: Message) -> dict[str, Any]:
    """The fields of a record that differ from the record of the same key before it: {name: [before, after]}."""
    before = {} if old is None else asdict(old)
    after = asdict(new)
    skip = {"note", "by", "mask_rubric", "rubric", "prior", "means", "reliability_sha256"}
    return {
        name: [before.get(name), value]
        for name, value in after.items()
        if name not in skip and value != before.get(name) and not (old is None and value is None)
    }


def _aims(rules: Rules) -> tuple[str, ...]:
    return ("*",) if rules.scope.kind == "global" else ("*", rules.scope.of)


def floor_keys(log: PolicyLog, mask: Mask) -> dict[str, str]:
    """{slot: the key whose floor holds there}."""
    said = ((key, policy) for key, _, policy in log.said(group=mask.group, source=mask.source))
    return {slot: key for slot, (_, key) in floors_of(said).items()}


def _floors(old: Policy, asked: dict[str, float], unset: Sequence[str]) -> dict[str, Any]:
    """A key's floors after some were given and others taken back; none: all of wider keys hold."""
    kept = {} if "floors" in unset else old.floors or {}
    kept = {slot: floor for slot, floor in kept.items() if FLOOR + slot not in unset} | asked
    return {"floors": {slot: kept[slot] for slot in _slots(set(kept))} or None, "floors_by_slot": bool(kept) or None}


def _still_set(old: Policy, masks: Sequence[Mask], rubric: str | None) -> tuple[set[str], set[str]]:
    """Slots that were put in and taken out before; of another rubric, those only that are so in these masks."""
    into, out = set(old.mask_add or ()), set(old.mask_remove or ())
    if old.mask_rubric == rubric:
        return into, out
    held = [set(mask.dimensions) for mask in masks]
    return into.intersection(*held), out.difference(*held)


def _overruled(
    log: PolicyLog, key: str, merged: Policy, floors: dict[str, float], masks: Sequence[Mask]
) -> Iterator[str]:
    """Where a floor that was asked for does not hold, for a narrower key says something else."""
    for mask in masks:
        said = {name: policy for name, _, policy in log.said(group=mask.group, source=mask.source)} | {key: merged}
        order = [name for name in keys_of(mask.group, mask.source) if name in said]
        held = floors_of((name, said[name]) for name in order)
        for slot in floors:
            if slot not in held:  # a record of an earlier version
                narrower = next(name for name in reversed(order) if said[name].floors is not None)
                yield f"{slot} has no floor for {mask.source}: {narrower} has floors that replace those of wider keys"
            elif held[slot][1] != key:
                yield f"for {mask.source} {slot}={held[slot][0]:g} stays, which {held[slot][1]} says"


def _slots(chosen: set[str]) -> list[str]:
    return [slot for slot in SLOTS if slot in chosen]


def _check_asked(key: str, note: str, unset: Sequence[str], given: dict[str, Any]) -> None:
    """A note says why something changes: a version with nothing else would be one that every decision names, and
    that decides nothing."""
    if given.keys() <= {"note"} and not unset:
        said = "a note alone changes nothing" if note else "no option says what to change"
        fix = "say with it what changes" if note else "give one"
        raise UsageError("nothing_asked", f"{key}: {said}", f"{fix}, for example --retention 0.4; {_HELP}")


def _check_slots(key: str, add: Sequence[str], remove: Sequence[str], floors: dict[str, float]) -> None:
    unknown = sorted({*add, *remove, *floors} - set(SLOTS))
    both = sorted(set(add) & set(remove))
    if unknown or both:
        said = f"{', '.join(unknown)}: no such slot" if unknown else f"{', '.join(both)}: put in and taken out at once"
        raise UsageError("mask_slots", said, "slots are A1 to A15; name each once")
    if (add or remove) and key == "*":
        raise UsageError("mask_slots", "a slot means another dimension in every group", "name a group or a source")
    wrong = [f"{slot}={floor:g}" for slot, floor in floors.items() if not 0 <= floor <= 10]
    if wrong:
        raise UsageError("floor_invalid", ", ".join(wrong), "scores go from 0 to 10")


def _check_scope(log: PolicyLog, key: str, merged: Policy, scores_key: str) -> None:
    """Only one partition can share thresholds, and who shares them has no aims of its own."""
    if merged.threshold_scope == "global" and scores_key != "all":
        raise UsageError(
            "scope_too_wide",
            f"scope global, but scores_key = {scores_key!r} puts groups into partitions of their own",
            'use scope group; "global" needs [topics] scores_key = "all" from the stream\'s first card on',
        )
    for mask in masks_under(log, key):
        said = {name: policy for name, _, policy in log.said(group=mask.group, source=mask.source)} | {key: merged}
        order = keys_of(mask.group, mask.source)
        scope = "source"
        for name in order:
            scope = (said[name].threshold_scope if name in said else None) or scope
        allowed = {"source": order, "group": order[:2], "global": order[:1]}[scope]
        for name in (name for name in order if name in said and name not in allowed):
            own = [aim for aim in AIMS if getattr(said[name], aim) is not None]
            if own:
                raise UsageError(
                    "retention_shared",
                    f"{name} asks for its own {', '.join(own)}, but {mask.source} shares its threshold (scope {scope})",
                    f"give it thresholds of its own (--scope source), or take that back: --unset {own[0]}",
                )


def _check_band(log: PolicyLog, key: str, merged: Policy, asked: Policy, masks: Sequence[Mask]) -> None:
    """A band that is asked for must fit around the targets it is for; one that is inherited is cut to fit."""
    if asked.band is None:
        return
    for mask in masks:
        said = {name: policy for name, _, policy in log.said(group=mask.group, source=mask.source)} | {key: merged}
        target = RetentionSection().target
        for name in keys_of(mask.group, mask.source):
            own = said[name].retention if name in said else None
            target = target if own is None else own
        room = 2 * min(target, 1 - target)
        if asked.band > room + 1e-12:
            raise UsageError(
                "band_too_wide",
                f"a band of {asked.band:g} round a target of {target:g} ({mask.source}) goes beyond all or nothing",
                f"at most {room:g}",
            )
