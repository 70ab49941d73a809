"""`mira-stream offsets`: where the services stand beside what their progress says, and back to it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mira_stream.cli.connect import with_broker
from mira_stream.cli.options import BootstrapOption, JsonOption, ProjectOption

if TYPE_CHECKING:
    from mira_stream.config import Project
    from mira_stream.streaming.ports import Broker
    from mira_stream.streaming.standing_offsets import Stand

WRONG: Final = ("moved", "forgotten")
SET_BACK: Final = "set back what was moved or forgotten: mira-stream offsets --restore --yes"


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
    twice. A topic that was deleted and made anew is left alone. Ends with exit code 1, and with a way out, if a service
    would not go on from where it stands.
    """
    if yes and not restore:
        raise typer.BadParameter("--yes goes with --restore")
    rows = with_broker(project, bootstrap_servers, lambda found, broker: _run(found, broker, restore and yes))
    _show(rows, json)
    ways = list(dict.fromkeys(row["way_out"] for row in rows if row["way_out"] is not None))
    for way in () if json else ways:
        typer.echo(f"nothing was set; {way}" if restore and way == SET_BACK else way)
    if ways:
        raise typer.Exit(1)


async def _run(project: "Project", broker: "Broker", restore: bool) -> list[dict[str, Any]]:
    from mira_stream.streaming.standing_offsets import set_back, stands

    scorers = {
        project.consumer_group(f"scorer.{group}"): project.documents_topic(group)
        for group in sorted(project.settings.groups)
    }
    groups = {
        **scorers,
        project.consumer_group("aggregator"): project.topic("scores"),
        project.consumer_group("exporter"): project.topic("decisions"),
    }
    progress = project.topic("progress")
    reader = await broker.reader()
    rows = []
    try:
        for consumer_group, topic in groups.items():
            if not await reader.partitions(topic):
                rows.append(_row(consumer_group, topic, "no topic", _way_out("no topic", topic)))
        for stand in await stands(broker, reader, progress, groups.items()):
            is_set = restore and stand.standing in WRONG
            set_to = await set_back(broker, reader, progress, stand) if is_set else None
            starts = is_set or (stand.standing == "no progress" and stand.consumer_group not in scorers)
            way_out = None if starts else _way_out(stand.standing, stand.partition.topic)
            rows.append(_row(stand.consumer_group, stand.partition.topic, stand.standing, way_out, stand, set_to))
    finally:
        await reader.close()
    return rows


def _row(
    consumer_group: str,
    topic: str,
    standing: str,
    way_out: str | None,
    stand: "Stand | None" = None,
    set_to: int | None = None,
) -> dict[str, Any]:
    return {
        "consumer_group": consumer_group,
        "topic": topic,
        "partition": None if stand is None else stand.partition.partition,
        "committed": None if stand is None else stand.committed,
        "progress": None if stand is None else stand.next_offset,
        "standing": standing,
        "set_to": set_to,
        "way_out": way_out,
    }


def _way_out(standing: str, topic: str) -> str | None:
    """What to do where a service does not start; None where it does."""
    match standing:
        case "moved" | "forgotten":
            return SET_BACK
        case "no progress":
            return (
                f"{topic}: what was finished behind the offset is not known: restore the progress topic, or"
                " mira-stream score --accept-loss (progress_missing in deploy/OPERATING.md)"
            )
        case "topic made anew":
            return (
                f"{topic}: the progress is of the topic that was there before: topic_made_anew in deploy/OPERATING.md"
            )
        case "no topic":
            return f"{topic}: there is no such topic: restore it; mira-stream prepare makes one that is empty"
        case _:
            return None


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
        place = row["topic"] if row["partition"] is None else f"{row['topic']}/{row['partition']}"
        table.add_row(Text(row["consumer_group"]), Text(place), *numbers, Text(end))
    shown.print(table)
