"""Whose thresholds a card falls under: its source's own, its group's, or those of the whole score log.

What a quality means is said by lineage and mask. A shared scope holds the masks of all its members, so it has a name
for the set of them: with any other set the scope has another sketch. A shared sketch begins with the members' priors,
each weighing the same, and a member without a prior adds nothing.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final, Literal, NamedTuple

import orjson

from mira_stream.messages import Mask, Prior

ScopeKind = Literal["source", "group", "global"]
EVERYWHERE: Final = "*"
_HEX: Final = 12


class Scope(NamedTuple):
    """`of`: a source, `group:g` or `*`. `lineage` and `mask` name the sketch: the member's own, or a hash over those of
    all members. `only_mask`: the one mask that flows in, None with several. `members`: every mask that flows in."""

    kind: ScopeKind
    of: str
    group: str
    lineage: str
    mask: str
    only_mask: str | None
    members: tuple[Mask, ...]

    @property
    def is_shared(self) -> bool:
        return self.kind != "source"

    @property
    def seat(self) -> tuple[str, str]:
        """Where one sketch is current at a time: a source has one a lineage, a shared scope has one."""
        return (self.of, "") if self.is_shared else (self.of, self.lineage)

    @property
    def key(self) -> tuple[str, str, str]:
        """The sketch's own name."""
        return self.of, self.lineage, self.mask

    @property
    def priors(self) -> list[Prior]:
        return [mask.prior for mask in self.members if mask.prior is not None]

    def holds(self, mask: Mask) -> bool:
        return mask in self.members


def name_of(kind: ScopeKind, group: str) -> str:
    """`group:g` or `*`."""
    return f"group:{group}" if kind == "group" else EVERYWHERE


def is_shared_name(of: str) -> bool:
    """Whether this names a group or everything; no source may be called so."""
    return of == EVERYWHERE or of.startswith("group:")


def own_scope(source: str, mask: Mask) -> Scope:
    return Scope("source", source, mask.group, mask.lineage, mask.mask, mask.mask, (mask,))


def shared_scope(kind: ScopeKind, group: str, masks: Iterable[Mask]) -> Scope:
    """The scope of all these masks, one a member."""
    members = tuple(sorted(masks, key=lambda mask: (mask.group, mask.source)))
    different = sorted({mask.mask for mask in members})
    said = [[mask.group, mask.source, mask.lineage, mask.mask] for mask in members]
    return Scope(
        kind,
        name_of(kind, group),
        group if kind == "group" else EVERYWHERE,
        _joined(sorted({mask.lineage for mask in members})),
        sha256(orjson.dumps(said)).hexdigest()[:_HEX],
        different[0] if len(different) == 1 else None,
        members,
    )


def _joined(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else sha256(orjson.dumps(list(names))).hexdigest()[:_HEX]
