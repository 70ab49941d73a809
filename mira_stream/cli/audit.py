"""`mira-stream audit`: every document counted by origin, every epoch and decision recomputed."""

import asyncio
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from mira_stream.audit.result import AuditResult
from mira_stream.cli.options import BootstrapOption, JsonOption, ProjectOption
from mira_stream.config import Project

SHOWN: Final = 20
OutOption = Annotated[
    Path | None,
    typer.Option("--out", help="Folder of kept/ and scores/. Default: the project's folder, or the one above it."),
]
UniqueOption = Annotated[bool, typer.Option("--unique-ids", help="Fail if one id stands for several documents.")]


def audit(
    project: ProjectOption = Path(),
    out: OutOption = None,
    bootstrap_servers: BootstrapOption = None,
    unique_ids: UniqueOption = False,
    json: JsonOption = False,
) -> None:
    """Count every document by origin and recompute every decision; exit code 1 if anything is wrong."""
    from mira_stream.cli.output import emit
    from mira_stream.config import load_project

    loaded = load_project(project)
    result = asyncio.run(_audit(loaded, export_folder(loaded, out), bootstrap_servers, unique_ids))
    if json:
        emit({**msgspec.to_builtins(result), "line": result.line()})
    else:
        _show(result)
    if not result.ok:
        raise typer.Exit(1)


def export_folder(project: Project, asked: Path | None) -> Path | None:
    """The folder named, else the project's or (a demo's copy) the one above it, if it holds scores/.

    Raises UsageError if the folder named is not there.
    """
    from mira_stream.errors import UsageError

    if asked is not None:
        if not asked.is_dir():
            raise UsageError("out_missing", f"{asked} is no folder", "name the folder that the exporter writes to")
        return asked
    return next(
        (
            folder
            for folder in (project.root / "export", project.root, project.root.parent)
            if (folder / "scores").is_dir()
        ),
        None,
    )


async def _audit(project: Project, out: Path | None, bootstrap_servers: str | None, unique_ids: bool) -> AuditResult:
    from mira_stream.audit.run import audit as run
    from mira_stream.cli.connect import connect
    from mira_stream.cli.output import talk

    def say(line: str) -> None:
        talk.print(line, markup=False, soft_wrap=True)

    broker = connect(project, bootstrap_servers)
    try:
        return await run(project, broker, out, unique_ids=unique_ids, say=say)
    finally:
        await broker.close()


def _show(result: AuditResult) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(emoji=False, highlight=False)
    counts = Table(show_header=False)
    for name in result.__struct_fields__:
        value = getattr(result, name)
        if isinstance(value, int) and not isinstance(value, bool):
            counts.add_row(name.replace("_", " "), f"{value:,}")
    console.print(counts)
    if result.duplicate_id_examples:
        console.print(f"repeated ids, for example: {', '.join(result.duplicate_id_examples[:5])}", markup=False)
    if result.written_off_ranges:
        shown = ", ".join(result.written_off_ranges[:SHOWN])
        more = len(result.written_off_ranges) - SHOWN
        shown += f" and {more} more (--json)" if more > 0 else ""
        console.print(
            f"written off by --accept-loss, unread: {shown}; `produce files SOURCE --missing` sends documents again",
            markup=False,
            soft_wrap=True,
        )
    if result.findings:
        table = Table("finding", "where", "what", title=f"{sum(result.findings_by_code.values())} findings")
        for finding in result.findings[:SHOWN]:
            table.add_row(finding.code, Text(finding.origin), Text(finding.detail[:300]))
        console.print(table)
        if len(result.findings) > SHOWN:
            console.print(f"the first {SHOWN} are shown; --json has up to {len(result.findings)}")
    console.print(result.line(), markup=False, soft_wrap=True)
