"""`mira-stream offsets`: where the services stand beside what their progress says, and back to it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mira_stream.cli.connect import with_broker
from mira_stream.cli.options import BootstrapOption, JsonOption, ProjectOption

if TYPE_CHECKING:
    from mira_stream.config import Project
    from mira_stream.streaming.ports import Broker

WRONG: Final = ("moved", "forgotten")


def offsets(
    project: ProjectOption = Path(),
    restore: Annotated[
        bool, typer.Option("--restore", help="Name the offsets that would be set back; with --yes, set them.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --restore: set back what was moved or forgotten.")] = False,
    bootstrap_servers: BootstrapOption = None,
    json: JsonOption = False,
) -> None:
    """Show where scorers, aggregator and exporter stand: the committed offset, and their progress.

    Both are written in one transaction, with the results. Where they differ somebody moved the offset, or the broker
    forgot it (`offsets.retention.minutes`), and the service refuses to go on (`progress_differs`, `offsets_expired`,
    `state_ahead`): --restore --yes sets the offset to what the progress says, which loses nothing and does nothing
    twice. A topic that was deleted and made anew is left alone. Ends with exit code 1 if one is wrong and not set back.
    """
    if yes and not restore:
        raise typer.BadParameter("--yes goes with --restore")
    rows = with_broker(project, bootstrap_servers, lambda found, broker: _run(found, broker, restore and yes))
    _show(rows, json)
    left = [row for row in rows if row["standing"] in WRONG and row["set_to"] is None]
    if left and not json:
        if restore:
            typer.echo("nothing was set; --restore --yes sets what was moved or forgotten")
        else:
            typer.echo("set back what was moved or forgotten: mira-stream offsets --restore --yes")
    if left or any(row["standing"] == "topic made anew" for row in rows):
        raise typer.Exit(1)


async def _run(project: "Project", broker: "Broker", restore: bool) -> list[dict[str, Any]]:
    from mira_stream.streaming.standing_offsets import set_back, stands

    groups = [
        *(
            (project.consumer_group(f"scorer.{group}"), project.documents_topic(group))
            for group in sorted(project.settings.groups)
        ),
        (project.consumer_group("aggregator"), project.topic("scores")),
        (project.consumer_group("exporter"), project.topic("decisions")),
    ]
    progress = project.topic("progress")
    reader = await broker.reader()
    rows = []
    try:
        for stand in await stands(broker, reader, progress, groups):
            is_wrong = stand.standing in WRONG
            rows.append(
                {
                    "consumer_group": stand.consumer_group,
                    "topic": stand.partition.topic,
                    "partition": stand.partition.partition,
                    "committed": stand.committed,
                    "progress": stand.next_offset,
                    "standing": stand.standing,
                    "set_to": await set_back(broker, reader, progress, stand) if restore and is_wrong else None,
                }
            )
    finally:
        await reader.close()
    return rows


def _show(rows: list[dict[str, Any]], json: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    from mira_stream.cli.output import emit, shown

    if json:
        emit({"offsets": rows})
        return
    if not rows:
        typer.echo("no service has committed anything")
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("consumer group", "partition", "committed", "progress", ""):
        table.add_column(name, overflow="fold")
    for row in rows:
        end = row["standing"] if row["set_to"] is None else f"set to {row['set_to']}"
        numbers = ("-" if row[name] is None else str(row[name]) for name in ("committed", "progress"))
        place = f"{row['topic']}/{row['partition']}"
        table.add_row(Text(row["consumer_group"]), Text(place), *numbers, Text(end))
    shown.print(table)
