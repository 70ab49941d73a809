"""report.html: the outcome with its plots, one file, nothing fetched from anywhere."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mira_stream.demo import plots
from mira_stream.demo.dead import dead_rows
from mira_stream.demo.outcome import Evidence, Outcome
from mira_stream.demo.tables import target_text
from mira_stream.messages import SLOTS
from mira_stream.reliability.table import ModeReliability


def write_report(path: Path, outcome: Outcome, evidence: Evidence, reliability: Mapping[str, ModeReliability]) -> None:
    """Write the page. `reliability`: the tables of the groups that have one."""
    path.write_text(render_report(outcome, evidence, reliability), encoding="utf-8")


def render_report(outcome: Outcome, evidence: Evidence, reliability: Mapping[str, ModeReliability]) -> str:
    """The page as text; everything that came from documents is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("mira_stream.demo"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    judged = [row.name for row in outcome.sources if row.documents > row.dead]
    # The only trusted markup on the page: what matplotlib drew (it escapes its texts itself).
    drawings: dict[str, Any] = {
        "maps": {group: Markup(plots.reliability_map(group, table)) for group, table in reliability.items()},
        "histograms": Markup(plots.quality_histograms(judged, evidence.decisions, evidence.epochs)) if judged else None,
        "effects": Markup(plots.mask_effects(outcome.effects)) if outcome.effects else None,
    }
    rows, more = dead_rows(outcome.dead)
    template = environment.get_template("report.html")
    return template.render(
        outcome=outcome, slots=SLOTS, target_text=target_text, dead_rows=rows, dead_more=more, **drawings
    )
