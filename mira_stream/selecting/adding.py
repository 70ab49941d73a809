"""A source added while the stream runs: its registration and first mask, as records of `mira.policy`. Pure."""

import re
from collections.abc import Callable
from typing import NamedTuple

from msgspec.structs import replace

from mira_stream.errors import UsageError
from mira_stream.messages import SOURCE_PATTERN, Mask, Policy
from mira_stream.selecting.policies import PolicyLog

MaskFor = Callable[[str, str], Mask]
"""(source, group) -> the mask that a source without measurements has in this group."""


class Addition(NamedTuple):
    """Records to write: none if the source is in force like this already."""

    group: str
    records: list[tuple[str, Policy | Mask]]


def addition(
    log: PolicyLog, name: str, group: str | None, like: str | None, retention: float | None, mask_for: MaskFor
) -> Addition:
    """As another source (its masks of all lineages, its prior, its target), or as its group is. Raises
    UsageError: source_invalid, source_unknown, group_unknown, source_exists, retention_shared, and what
    `mask_for` raises."""
    if not re.match(SOURCE_PATTERN, name):
        raise UsageError("source_invalid", f"source {name!r}", "use letters, digits, dot, hyphen and underscore")
    masks = log.masks()
    if like is not None:
        model = next((mask for mask in masks if mask.source == like), None)
        if model is None:
            known = ", ".join(sorted(mask.source for mask in masks))
            raise UsageError("source_unknown", f"no source {like!r} is in force", f"use one of {known}")
        if group not in (None, model.group):
            raise UsageError("group_unknown", f"{like} is in group {model.group}, not {group}", "leave --group out")
        group, mask = model.group, replace(model, source=name)
        if retention is None and (own := log.newest_policy(f"source:{like}")) is not None:
            retention = own.retention
    else:
        if group is None or group not in {mask.group for mask in masks}:
            known = ", ".join(sorted({mask.group for mask in masks}))
            raise UsageError("group_unknown", f"no group {group!r} is in force", f"use one of {known}")
        shared = next((mask for mask in masks if (mask.group, mask.source) == (group, "*")), None)
        mask = mask_for(name, group) if shared is None else replace(shared, source=name)
    _check_free(masks, name, group)
    key = f"source:{name}"
    if retention is not None:
        _check_own_target(log, name, mask)
    policy = replace(log.newest_policy(key) or Policy(), group=group, like=like, retention=retention)
    wanted: list[tuple[str, Policy | Mask]] = []
    if log.newest_policy(key) != policy:
        wanted.append((key, policy))
    older = [] if like is None else log.masks_of(group, like)[:-1]  # scorers may still be at work in one of them
    wanted += [(key, replace(one, source=name)) for one in older if log.newest_mask(group, name, one.lineage) is None]
    held = log.newest_mask(group, name, mask.lineage)
    if held is None or not log.is_newest(held) or any(isinstance(message, Mask) for _, message in wanted):
        wanted.append((key, held or mask))
    return Addition(group, wanted)


def _check_free(masks: list[Mask], name: str, group: str) -> None:
    other = next((mask.group for mask in masks if mask.source == name and mask.group != group), None)
    if other is not None:
        raise UsageError(
            "source_exists", f"source {name!r} is in group {other} already", "give the new one another name"
        )


def _check_own_target(log: PolicyLog, name: str, mask: Mask) -> None:
    scope = "source"
    for _, _, policy in log.said(group=mask.group, source=name):
        scope = policy.threshold_scope or scope
    if scope != "source":
        raise UsageError(
            "retention_shared", f"{name} would share its threshold (scope {scope})", "leave --retention out"
        )
