"""Source by dimension: what was measured on held-out documents, and what the mask in force makes of it."""

from collections.abc import Iterable, Mapping

from mira_stream.messages import SLOTS, Mode
from mira_stream.observing.snapshot import HeatCell, HeatRow
from mira_stream.observing.sources import Sources
from mira_stream.reliability.table import ModeReliability, Table


def heat_rows(
    tables: Mapping[str, Table], modes: Mapping[str, Mode], members: Mapping[str, Iterable[str]], sources: Sources
) -> list[HeatRow]:
    """One row a source of each group that has a table. `modes`: the one each group streams with; `members`: the
    sources of each group."""
    rows = []
    for group in sorted(members):
        table = tables.get(group)
        measured = None if table is None else table.modes.get(modes[group])
        if measured is not None:
            rows += [_row(group, source, measured, sources) for source in sorted(members[group])]
    return rows


def _row(group: str, source: str, measured: ModeReliability, sources: Sources) -> HeatRow:
    mask = sources.mask(group, source)
    cells = measured.of(source).dimensions
    return HeatRow(
        source=source,
        group=group,
        own=source in measured.sources,
        in_force=mask is not None,
        cells=[
            HeatCell(
                slot=slot,
                verdict=cells[slot].verdict,
                mae=cells[slot].mae,
                rho=cells[slot].rho,
                used=mask is not None and slot in mask.dimensions,
            )
            for slot in SLOTS
        ],
    )
