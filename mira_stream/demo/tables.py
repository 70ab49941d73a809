"""The outcome of a run as tables in a terminal."""

from collections.abc import Iterable, Sequence
from typing import Final

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mira_stream.demo.dead import DeadCount, dead_counts
from mira_stream.demo.outcome import Agreement, GroupStory, Outcome
from mira_stream.demo.summary import Extreme, SourceSummary
from mira_stream.messages import SLOTS

WIDE: Final = 110
FOOTNOTE: Final = (
    "target: the share to keep, and two standard deviations of n independent draws, 2 sqrt(t (1 - t) / n); "
    "threshold (mark): the quality above which the last epoch keeps"
)


def show(outcome: Outcome, console: Console) -> None:
    """Print everything a person wants to see at the end; the audit's lines come last."""
    wide = console.width >= WIDE
    console.print(sources_table(outcome.sources, with_masks=wide))
    console.print(FOOTNOTE, style="dim", soft_wrap=True)
    if not wide:
        for row in outcome.sources:
            _say(console, f"masked in {row.name}: {', '.join(row.masked) or 'none'}")
    if outcome.dead:
        console.print()
        console.print(dead_table(dead_counts(outcome.dead)))
    for story in outcome.stories:
        _tell(story, console)
    names = {story.group: story.names for story in outcome.stories}
    for agreement in outcome.agreements:
        console.print()
        console.print(agreement_table(agreement, names[agreement.group]))
    console.print()
    show_audit(outcome, console)


def show_audit(outcome: Outcome, console: Console) -> None:
    """What the audit found, and after --chaos what the kill has cost."""
    for line in outcome.audited.lines:
        _say(console, line, "" if outcome.audited.ok else "bold red")


def sources_table(rows: Iterable[SourceSummary], *, with_masks: bool = True) -> Table:
    """One row a source; retention in per cent."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("source", "group"):
        table.add_column(heading, no_wrap=True)
    first, last = ("documents", "threshold") if with_masks else ("n", "mark")
    for heading in (first, "keep", "down", "drop", "dead", "target %", "kept %", last):
        table.add_column(heading, justify="right", no_wrap=True)
    if with_masks:
        table.add_column("masked")
    for row in rows:
        cells = [
            row.name,
            row.group,
            *map(str, (row.documents, row.keep, row.downsample, row.drop, row.dead)),
            target_text(row),
            "-" if row.retention_achieved is None else f"{100 * row.retention_achieved:.1f}",
            "-" if row.threshold is None else f"{row.threshold:.1f}",
        ]
        table.add_row(*cells, *([", ".join(row.masked) or "none"] if with_masks else []))
    return table


def dead_table(counts: Iterable[DeadCount]) -> Table:
    """One row for each source, stage and reason; report.html shows the documents."""
    table = Table(
        box=box.SIMPLE_HEAD, title="Dead letters (one by one in report.html)", title_justify="left", pad_edge=False
    )
    for heading in ("source", "stage", "reason"):
        table.add_column(heading, overflow="fold")
    table.add_column("n", justify="right", no_wrap=True)
    for row in counts:
        table.add_row(escape(row.source), row.stage, escape(row.reason), str(row.letters))
    return table


def _tell(story: GroupStory, console: Console) -> None:
    """Best and worst documents of a group: two lines each."""
    console.print()
    for label, way, documents in (("best", "up", story.best), ("worst", "down", story.worst)):
        if documents:
            _say(
                console,
                f"{label} of group {story.group}: quality, decision, document; score (mean) of what moved it {way}",
                "bold",
            )
        for document in documents:
            _say(console, f"  {document.quality:5.1f}  {document.decision:<10}  {document.id}  ({document.source})")
            _say(console, f"         {moved_text(document)}", "dim")


def moved_text(document: Extreme) -> str:
    """`[A1] Name 9 (5.3), ...`: the score lines that moved a document's quality most; `-` if none did."""
    return ", ".join(f"[{line.slot}] {line.name} {line.score:g} ({line.mean:.1f})" for line in document.moved) or "-"


def agreement_table(agreement: Agreement, names: Sequence[str]) -> Table:
    """One row a dimension."""
    title = f"Teacher {agreement.teacher} beside the student of {agreement.group}: {agreement.documents} documents"
    table = Table(box=box.SIMPLE_HEAD, title=escape(title), title_justify="left", pad_edge=False)
    table.add_column("slot")
    table.add_column("dimension")
    table.add_column("MAE", justify="right")
    table.add_column("rho", justify="right")
    for slot, name, mae, rho in zip(SLOTS, names, agreement.mae, agreement.rho, strict=True):
        table.add_row(slot, escape(name), _number(mae), _number(rho))
    return table


def target_text(row: SourceSummary) -> str:
    """`50 ± 7`: the target in per cent, and by how much it may be missed at this count."""
    if row.retention_target is None:
        return "-"
    band = "" if row.band is None else f" ± {100 * row.band:.0f}"
    return f"{100 * row.retention_target:.0f}{band}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _say(console: Console, text: str, style: str = "") -> None:
    """Text that came from documents: no markup is read in it."""
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
