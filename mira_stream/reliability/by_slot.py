"""How reliable a group's student is in each dimension, over its sources: a few figures where cells are many. Pure."""

from statistics import median
from typing import NamedTuple

from mira_stream.messages import SLOTS
from mira_stream.reliability.acceptance import ServedModes
from mira_stream.reliability.table import WHOLE_GROUP, Cell, Table


class Spread(NamedTuple):
    """Of Spearman's rho over sources. `worst` is None where some source's is undefined, `median` where all are."""

    worst: float | None
    median: float | None


def spreads(table: Table, modes: ServedModes) -> dict[str, Spread]:
    """By slot, each measured source in the mode that it is judged in; where none was measured by itself, the group as a
    whole. Empty if that mode was not measured."""
    names = {name for mode in table.modes.values() for name in mode.sources} - {WHOLE_GROUP} or {WHOLE_GROUP}
    measured = [(name, table.modes.get(modes.section_of(name).mode)) for name in sorted(names)]
    cells = [mode.of(name).dimensions for name, mode in measured if mode is not None]
    return {slot: _spread([one[slot] for one in cells]) for slot in SLOTS} if cells else {}


def _spread(cells: list[Cell]) -> Spread:
    known = [cell.rho for cell in cells if cell.rho is not None]
    return Spread(min(known) if len(known) == len(cells) else None, median(known) if known else None)
