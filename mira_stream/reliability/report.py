"""reports/reliability-<group>.html: one file, nothing fetched from anywhere. Pure but for reading its template."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from mira_stream.messages import SLOTS, Mode
from mira_stream.reliability.charts import HEIGHT, WIDTH, charts
from mira_stream.reliability.kept import GAIN_MIN
from mira_stream.reliability.measure import Measured
from mira_stream.reliability.metrics import DECIDABLE_CLUSTERS
from mira_stream.reliability.table import WHOLE_GROUP, Cell, SourceReliability, Table
from mira_stream.reliability.warnings import FEW, HELDOUT, ceiling_warnings

LETTERS: Final = {"reliable": "R", "unreliable": "U", "undecided": "?", "no_variance": "–"}


class Row(NamedTuple):
    """A source of the page; the whole group has a name of its own there."""

    name: str
    source: SourceReliability
    whole: bool

    @property
    def cells(self) -> list[tuple[str, Cell]]:
        return list(self.source.dimensions.items())

    @property
    def masked(self) -> list[str]:
        return [slot for slot in SLOTS if slot not in self.source.reliable]


def render_report(table: Table, mode: Mode, names: Sequence[str], rows: Sequence[Measured], teacher: str) -> str:
    """The page of one mode. `names`: the rubric's fifteen; `rows`: what the table was measured on. Text that came
    from data is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("mira_stream.reliability"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    measured = table.modes[mode]
    shown = [Row("whole group" if name == WHOLE_GROUP else name, source, name == WHOLE_GROUP)
             for name, source in measured.sources.items()]  # fmt: skip
    sources = [row.name for row in shown if not row.whole]
    return environment.get_template("reliability.html").render(
        table=table,
        mode=mode,
        measured=measured,
        teacher=teacher,
        named=list(zip(SLOTS, names, strict=True)),
        slots=SLOTS,
        rows=shown,
        whole=measured.sources[WHOLE_GROUP],
        warnings=[
            *((row.name, warning) for row in shown for warning in row.source.warnings),
            *(("teacher", warning) for warning in ceiling_warnings(table.retest, table.limits)),
        ],
        letters=LETTERS,
        charts=charts(rows, sources),
        sources=sources,
        width=WIDTH,
        height=HEIGHT,
        gain_min=GAIN_MIN,
        few=FEW,
        heldout=HELDOUT,
        decidable=DECIDABLE_CLUSTERS,
        number=number,
        between=between,
    )


def number(value: float | None, digits: int = 2) -> str:
    """A value for a table; a dash where it is undefined or was not measured."""
    return "–" if value is None else f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def between(low: float | None, high: float | None) -> str:
    """Both bounds; nothing where there are none."""
    return "" if low is None or high is None else f"{number(low)} to {number(high)}"
