"""A source added while the stream runs: its registration and first mask, as records of `mira.policy`. Pure."""

import re
from collections.abc import Callable
from typing import NamedTuple

from msgspec.structs import asdict, replace

from mira_stream.errors import UsageError
from mira_stream.messages import SOURCE_PATTERN, Mask, Policy
from mira_stream.sections import SourceSection
from mira_stream.selecting.policies import PolicyLog

MaskFor = Callable[[str, str], Mask]
"""(source, group) -> the mask that a source without measurements has in this group."""


class Addition(NamedTuple):
    """Records to write: none if the source is in force like this already. `retention`: what its table in mira.toml has
    to say so that the file asks for the same; what it cannot say stands as set by command."""

    group: str
    records: list[tuple[str, Policy | Mask]]
    policy: Policy
    retention: float | None


def addition(
    log: PolicyLog,
    name: str,
    group: str | None,
    like: str | None,
    retention: float | None,
    mask_for: MaskFor,
    section: SourceSection | None = None,
) -> Addition:
    """As another source (its masks of all lineages, its prior, all that is asked of it), or as its group is.
    `section`: its table in mira.toml, if it has one. Asked again for the same, it goes on where it was cut off. Raises
    UsageError: source_invalid, source_unknown, group_unknown, source_exists, retention_shared, and what `mask_for`
    raises."""
    check_name(name)
    masks = log.masks()
    model = None if like is None else _model(masks, like, group)
    group = model.group if model is not None else _known_group(masks, group)
    key = f"source:{name}"
    there = next((mask for mask in masks if mask.source == name), None)
    if there is None and retention is None and section is not None:
        retention = section.retention
    policy = _policy(log, group, like, retention)
    if there is not None:
        policy = _registered(log, name, policy, there.group, retention, section)
    elif retention is not None:
        _check_own_target(log, name, group, policy)
    written = _of_toml(policy, retention)
    if section is not None:
        _check_section(section, name, group, like, written, is_registered=there is not None)
    mask = replace(model, source=name) if model is not None else _of_group(masks, name, group, mask_for)
    wanted: list[tuple[str, Policy | Mask]] = []
    if log.newest_policy(key) != policy:
        wanted.append((key, policy))
    older = [] if like is None else log.masks_of(group, like)[:-1]  # scorers may still be at work in one of them
    wanted += [(key, replace(one, source=name)) for one in older if log.newest_mask(group, name, one.lineage) is None]
    held = log.newest_mask(group, name, mask.lineage)
    if held is None or not log.is_newest(held) or any(isinstance(message, Mask) for _, message in wanted):
        wanted.append((key, held or mask))
    return Addition(group, wanted, policy, written)


def check_name(name: str) -> None:
    """Raises UsageError(source_invalid)."""
    if not re.fullmatch(SOURCE_PATTERN, name):
        raise UsageError("source_invalid", f"source {name!r}", "use letters, digits, dot, hyphen and underscore")


def _model(masks: list[Mask], like: str, group: str | None) -> Mask:
    model = next((mask for mask in masks if mask.source == like), None)
    if model is None:
        known = ", ".join(sorted(mask.source for mask in masks))
        raise UsageError("source_unknown", f"no source {like!r} is in force", f"use one of {known}")
    if group not in (None, model.group):
        raise UsageError("group_unknown", f"{like} is in group {model.group}, not {group}", "leave --group out")
    return model


def _known_group(masks: list[Mask], group: str | None) -> str:
    if group is None or group not in {mask.group for mask in masks}:
        known = ", ".join(sorted({mask.group for mask in masks}))
        raise UsageError("group_unknown", f"no group {group!r} is in force", f"use one of {known}")
    return group


def _of_group(masks: list[Mask], name: str, group: str, mask_for: MaskFor) -> Mask:
    shared = next((mask for mask in masks if (mask.group, mask.source) == (group, "*")), None)
    return mask_for(name, group) if shared is None else replace(shared, source=name)


def _policy(log: PolicyLog, group: str, like: str | None, retention: float | None) -> Policy:
    """All that is asked of the source it is like: a unit, a floor or a scope left out would change what a target
    means. What mira.toml has no word for is as if it was set by command, so that `prepare` leaves it."""
    asked = (None if like is None else log.newest_policy(f"source:{like}")) or Policy()
    own = asked.retention if retention is None else retention
    policy = replace(asked, group=group, like=like, retention=own, mode=None, note="", by="project")
    is_of_toml = policy == Policy(group=group, like=like, retention=_of_toml(policy, retention))
    return policy if is_of_toml else replace(policy, by="command")


def _of_toml(policy: Policy, retention: float | None) -> float | None:
    """The target that mira.toml gets. A share of tokens is none of documents: one that is named is written there."""
    return retention if retention is not None or policy.unit is not None else policy.retention


def _registered(
    log: PolicyLog, name: str, fresh: Policy, group: str, retention: float | None, section: SourceSection | None
) -> Policy:
    """The record of a source that is there, if it was added as it is asked for now. Raises UsageError."""
    held = log.newest_policy(f"source:{name}") or Policy()
    is_same = (held.group, held.like, group) == (fresh.group, fresh.like, fresh.group)
    is_same = is_same and retention in (None, held.retention)
    if not is_same or (section is not None and held != fresh):
        said = ", ".join(f"{field} {value}" for field, value in asked_of(held).items())
        raise UsageError(
            "source_exists",
            f"source {name!r} is in group {group} already{said and f' ({said})'}; nothing was written",
            f"change it: mira-stream policy set source:{name} --retention SHARE (and so on), or use another name",
        )
    return held


def asked_of(policy: Policy) -> dict[str, object]:
    """What a record asks for of its own, as people call it."""
    names = {"threshold_scope": "scope", "horizon_documents": "horizon"}
    skip = {"note", "by", "group", "floors_by_slot", "mask_rubric"}
    return {
        names.get(field, field): value
        for field, value in asdict(policy).items()
        if value not in (None, [], {}) and field not in skip
    }


def _check_section(
    section: SourceSection, name: str, group: str, like: str | None, retention: float | None, *, is_registered: bool
) -> None:
    """What is registered and what mira.toml says must not part."""
    is_like = (section.like or None) == like or (is_registered and not section.like)
    masked = [*section.mask_add, *section.mask_remove]
    if section.group == group and is_like and section.retention == retention and not masked:
        return
    said = [f"group {section.group}", f"retention {section.retention}", f"like {section.like or None}"]
    said += ["mask_add or mask_remove"] if masked else []
    raise UsageError(
        "source_exists",
        f"mira.toml has [sources.{name}] already ({', '.join(said)}), and it asks for something else;"
        " nothing was written",
        f"say it in [sources.{name}] and put that in force (mira-stream policy apply), or while it runs:"
        f" mira-stream policy set source:{name} --retention SHARE (and so on)",
    )


def _check_own_target(log: PolicyLog, name: str, group: str, policy: Policy) -> None:
    scope = "source"
    for _, _, said in log.said(group=group, source=name):
        scope = said.threshold_scope or scope
    scope = policy.threshold_scope or scope
    if scope != "source":
        raise UsageError(
            "retention_shared", f"{name} would share its threshold (scope {scope})", "leave --retention out"
        )
