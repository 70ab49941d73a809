"""What a person may do about alarms: a policy for each source, the lines of mira.toml that put it in force. Pure.

Nothing here applies anything.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec
import tomli_w

from mira_stream.messages import SLOTS, Policy
from mira_stream.reliability.monitor import CellStatus
from mira_stream.sections import SourceSection


class Proposal(NamedTuple):
    """`policy` holds what should change; `toml` the lines of mira.toml that say so together with what stands there."""

    source: str
    group: str
    policy: Policy
    dimensions_left: int
    enough: bool
    toml: str

    def as_json(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "group": self.group,
            "policy": msgspec.to_builtins(self.policy),
            "dimensions_left": self.dimensions_left,
            "enough": self.enough,
            "toml": self.toml,
        }


def proposals(cells: Iterable[CellStatus], sources: Mapping[str, SourceSection], dimensions_min: int) -> list[Proposal]:
    """One for each source with an alarm, by source. A source with too few dimensions left is marked (`enough`): its
    mask would be refused, and the student must be trained anew or the source be moved."""
    by_source: dict[str, list[CellStatus]] = {}
    for cell in cells:
        by_source.setdefault(cell.unit.source, []).append(cell)
    return [
        _proposal(found, sources.get(source), dimensions_min)
        for source, found in sorted(by_source.items())
        if any(cell.alarm for cell in found)
    ]


def _proposal(cells: list[CellStatus], section: SourceSection | None, dimensions_min: int) -> Proposal:
    source, group = cells[0].unit.source, cells[0].group
    remove = [cell.slot for cell in cells if cell.alarm == "unreliable"]
    add = [cell.slot for cell in cells if cell.alarm == "reliable"]
    left = sum(cell.used for cell in cells) - len(remove) + len(add)
    note = "; ".join(_said(cell) for cell in cells if cell.alarm)
    policy = Policy(mask_remove=remove or None, mask_add=add or None, note=note)
    removed, added = _merged(section, remove, add)
    lines = {"sources": {source: {"mask_remove": removed, "mask_add": added}}}
    return Proposal(source, group, policy, left, left >= dimensions_min, tomli_w.dumps(lines).strip())


def _merged(section: SourceSection | None, remove: list[str], add: list[str]) -> tuple[list[str], list[str]]:
    """mask_remove and mask_add with what a person wrote there before."""
    removed, added = (section.mask_remove, section.mask_add) if section is not None else ([], [])
    return _in_order({*removed, *remove} - set(add)), _in_order({*added, *add} - set(remove))


def _in_order(slots: Iterable[str]) -> list[str]:
    return sorted(slots, key=SLOTS.index)


def _said(cell: CellStatus) -> str:
    window = cell.window
    mae = "-" if window.mae is None else f"{window.mae:.2f}"
    rho = "-" if window.rho is None else f"{window.rho:.2f}"
    return f"{cell.slot} {cell.alarm}: MAE {mae}, rho {rho}, n {window.n}"
