"""Source by dimension: what was measured on held-out documents, and what the mask in force makes of it."""

from collections.abc import Callable, Iterable, Mapping

from mira_stream.messages import SLOTS, Mode
from mira_stream.observing.snapshot import HeatCell, HeatRow
from mira_stream.observing.sources import Sources
from mira_stream.reliability.table import ModeReliability, Table


def heat_rows(
    tables: Mapping[str, Table],
    modes: Mapping[str, Callable[[str], Mode]],
    members: Mapping[str, Iterable[str]],
    sources: Sources,
) -> list[HeatRow]:
    """One row a source of each group that has a table. `modes`: that of each group's source which it
    is judged in; `members`: the sources of each group."""
    rows = []
    for group in sorted(members):
        table = tables.get(group)
        if table is None:
            continue
        for source in sorted(members[group]):
            measured = table.modes.get(modes[group](source))
            if measured is not None:
                rows.append(_row(group, source, measured, sources))
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
