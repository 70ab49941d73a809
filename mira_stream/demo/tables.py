"""The outcome of a run as tables in a terminal."""

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mira_stream.demo.outcome import Agreement, GroupStory, Outcome
from mira_stream.demo.summary import Extreme, SourceSummary
from mira_stream.messages import SLOTS


def show(outcome: Outcome, console: Console) -> None:
    """Print everything a person wants to see at the end."""
    console.print(sources_table(outcome.sources))
    console.print(
        "[dim]band: two standard deviations of n independent draws, 2 sqrt(t (1 - t) / n); "
        "threshold: quality above which the last epoch keeps[/]",
        soft_wrap=True,
    )
    for story in outcome.stories:
        console.print()
        console.print(story_table(story))
    for agreement in outcome.agreements:
        console.print()
        console.print(agreement_table(agreement))
    console.print()
    for line in outcome.audited.lines:
        console.print(line, style="" if outcome.audited.ok else "bold red", markup=False, soft_wrap=True)


def sources_table(rows: Iterable[SourceSummary]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="Sources", title_justify="left", pad_edge=False)
    for heading in ("source", "group"):
        table.add_column(heading)
    for heading in ("documents", "keep", "down", "drop", "dead", "target", "achieved", "threshold"):
        table.add_column(heading, justify="right")
    table.add_column("masked")
    for row in rows:
        table.add_row(
            row.name,
            row.group,
            *map(str, (row.documents, row.keep, row.downsample, row.drop, row.dead)),
            target_text(row),
            _percent(row.retention_achieved),
            "-" if row.threshold is None else f"{row.threshold:.1f}",
            ", ".join(row.masked) or "none",
        )
    return table


def story_table(story: GroupStory) -> Table:
    title = f"Group {story.group}: best and worst documents, and the score lines that moved them most"
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for heading in ("", "document", "source"):
        table.add_column(heading)
    table.add_column("quality", justify="right")
    table.add_column("decision")
    table.add_column("score (mean) of what moved it")
    _add(table, "best", story.best)
    table.add_section()
    _add(table, "worst", story.worst)
    return table


def _add(table: Table, label: str, documents: Sequence[Extreme]) -> None:
    for number, document in enumerate(documents):
        lines = "\n".join(f"[{line.slot}] {line.name}: {line.score:g} ({line.mean:.1f})" for line in document.moved)
        # Ids and names are data: no markup is read in them.
        texts = (document.id, document.source, f"{document.quality:.1f}", document.decision, lines)
        table.add_row("" if number else label, *map(escape, texts))


def agreement_table(agreement: Agreement) -> Table:
    title = f"Teacher {agreement.teacher} beside the student of {agreement.group}, {agreement.documents} documents"
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    table.add_column("")
    for slot in SLOTS:
        table.add_column(slot, justify="right")
    table.add_row("MAE", *map(_number, agreement.mae))
    table.add_row("rho", *map(_number, agreement.rho))
    return table


def target_text(row: SourceSummary) -> str:
    """`50 ± 7 %`: the target and by how much it may be missed at this count."""
    if row.retention_target is None:
        return "-"
    band = "" if row.band is None else f" ± {100 * row.band:.0f}"
    return f"{100 * row.retention_target:.0f}{band} %"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
