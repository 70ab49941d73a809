"""What a record of `mira.policy` may say: the ranges of mira.toml and of `policy set`, for whoever wrote it. Pure."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from mira_stream.messages import GROUP_PATTERN, SLOTS, Mask, Policy, Prior
from mira_stream.quality import CELLS

HORIZON_MAX: Final = 10**9
SCORE_MAX: Final = 10
COUNT_MAX: Final = 10**15
SKIP_KEY: Final = b"skip"
"""Of the records that name others to be passed over: no source's, group's or everybody's."""
_GROUP: Final = re.compile(GROUP_PATTERN)
_KEY: Final = re.compile(r"\*|(group|source):.+")


def nonsense(key: bytes | None, message: Policy | Mask, scores_key: str) -> str | None:
    """What is wrong with a record, in words; None if it can be put in force. `scores_key`: of [topics]."""
    try:
        name = (key or b"").decode()
    except UnicodeDecodeError:
        return "its key is no text"
    wrong = of_mask(name, message) if isinstance(message, Mask) else of_policy(name, message, scores_key)
    return "; ".join(wrong) or None


def of_policy(key: str, policy: Policy, scores_key: str) -> Iterator[str]:
    if (policy.skips is None) != (key != SKIP_KEY.decode()):
        yield f"key {key!r} and skips {policy.skips}: only a record under `skip` has some"
    elif policy.skips is None and not _KEY.fullmatch(key):
        yield f"key {key!r} is neither *, group:G nor source:S"
    for name in ("retention", "band"):
        share = getattr(policy, name)
        if share is not None and not 0 <= share <= 1:
            yield f"{name} {share:g} is not between 0 and 1"
    if policy.threshold_scope == "global" and scores_key != "all":
        yield f"threshold_scope global, but scores_key = {scores_key!r} puts groups into partitions of their own"
    horizon = policy.horizon_documents
    if horizon is not None and not 0 < horizon <= HORIZON_MAX:
        yield f"horizon_documents is not between 1 and {HORIZON_MAX}"
    for slot, floor in (policy.floors or {}).items():
        if slot not in SLOTS or not 0 <= floor <= SCORE_MAX:
            yield f"floor {slot}={floor:g} is not of A1 to A15 and between 0 and {SCORE_MAX}"
    yield from _of_slots([*(policy.mask_add or ()), *(policy.mask_remove or ())], "mask_add and mask_remove")


def of_mask(key: str, mask: Mask) -> Iterator[str]:
    named = {f"group:{mask.group}", "source:*"} if mask.source == "*" else {f"source:{mask.source}"}
    if key not in named:
        yield f"key {key!r} is not that of source {mask.source!r} of group {mask.group!r}"
    if not _GROUP.fullmatch(mask.group) or not mask.source:
        yield f"group {mask.group!r}, source {mask.source!r}: no such names are possible"
    yield from _of_slots(mask.dimensions, "dimensions")
    if not 1 <= mask.dimensions_min <= max(1, len(mask.dimensions)) or not mask.dimensions:
        yield f"{len(mask.dimensions)} dimensions, dimensions_min {mask.dimensions_min}: at least one must count"
    if not all(0 <= mean <= SCORE_MAX for mean in mask.means):
        yield f"means are not all between 0 and {SCORE_MAX}"
    if not 0 <= mask.trim < 0.5:
        yield f"trim {mask.trim:g} is not between 0 and less than 0.5"
    if mask.prior is not None:
        yield from _of_prior(mask.prior)


def _of_slots(slots: Sequence[str], what: str) -> Iterator[str]:
    if not set(slots) <= set(SLOTS) or len(set(slots)) < len(slots):
        yield f"{what} {', '.join(slots)}: not each of A1 to A15, once"


def _of_prior(prior: Prior) -> Iterator[str]:
    cells = all(cell.isdecimal() and int(cell) < CELLS for cell in prior.cells)
    counts = all(0 <= count <= COUNT_MAX for count in prior.cells.values()) and any(prior.cells.values())
    if not cells or not counts:
        yield f"its prior's cells are not 0 to {CELLS - 1} with counts"
