"""What the page shows of each source is what was measured in the mode that this source is judged in."""

from msgspec.structs import replace

from mira_stream.messages import Mode
from mira_stream.observing.heat import heat_rows
from mira_stream.observing.sources import Sources
from tests.unit.test_reliability_acceptance import part, table


def test_each_source_is_shown_in_its_own_mode() -> None:
    found = table()
    found = replace(found, modes={"expected": part(60, 0.3, 2), "scores": part(60, 2.0, 3)})
    modes: dict[str, Mode] = {"a": "expected", "b": "scores", "c": "rationale"}
    rows = heat_rows(
        {"text": found},
        {"text": modes.__getitem__},
        {"text": ["c", "b", "a"], "qa": ["d"]},
        Sources(),
    )
    assert [row.source for row in rows] == ["a", "b"], "what was not measured in its mode has no row"
    for row in rows:
        mode = found.modes[modes[row.source]]
        assert [cell.mae for cell in row.cells] == [cell.mae for cell in mode.of(row.source).dimensions.values()]
    assert rows[0].cells[0].mae != found.modes["scores"].of("a").dimensions["A1"].mae
