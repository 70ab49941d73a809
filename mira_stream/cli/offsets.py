"""`mira-stream offsets`: where the services stand beside what their progress says, and back to it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mira_stream.cli.connect import with_broker
from mira_stream.cli.options import BootstrapOption, JsonOption, ProjectOption
from mira_stream.errors import UsageError

if TYPE_CHECKING:
    from mira_stream.config import Project
    from mira_stream.records import LogReader
    from mira_stream.streaming.ports import Broker
    from mira_stream.streaming.standing_offsets import Stand

CARDS_GONE: Final = "score log made anew"
WRONG: Final = ("moved", "forgotten")
SET_BACK: Final = "set back what was moved or forgotten: mira-stream offsets --restore --yes"


def offsets(
    project: ProjectOption = Path(),
    restore: Annotated[
        bool, typer.Option("--restore", help="Name the offsets that would be set back; with --yes, set them.")
    ] = False,
    same_topic: Annotated[
        str | None,
        typer.Option(
            "--same-topic",
            metavar="TOPIC",
            help="Compare TOPIC, which was restored or moved here, with the results of it; with --yes, go on in it.",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Set what --restore or --same-topic names.")] = False,
    bootstrap_servers: BootstrapOption = None,
    json: JsonOption = False,
) -> None:
    """Show where scorers, aggregator and exporter stand: the committed offset, and their progress.

    Both are written in one transaction, with the results. Where they differ somebody moved the offset, or the broker
    forgot it (`offsets.retention.minutes`), and the service refuses to go on (`progress_differs`, `offsets_expired`,
    `state_ahead`): --restore --yes sets the offset to what the progress says, which loses nothing and does nothing
    twice. A topic that was deleted and made anew is left alone, unless you know that it is the same log, restored with
    every record at its offset: --same-topic TOPIC --yes says so, and is refused (`another_log`) if it is visibly
    another. Ends with exit code 1, and with a way out, if a service would not go on from where it stands.
    """
    if restore and same_topic is not None:
        raise typer.BadParameter("--restore and --same-topic are two things: one after the other")
    if yes and not restore and same_topic is None:
        raise typer.BadParameter("--yes goes with --restore or --same-topic")
    rows = with_broker(project, bootstrap_servers, lambda found, broker: _run(found, broker, restore, same_topic, yes))
    _show(rows, json)
    ways = list(dict.fromkeys(row["way_out"] for row in rows if row["way_out"] is not None))
    if ways and (restore or same_topic is not None) and not yes and not json:
        typer.echo("nothing was set: --yes is missing")
    for way in () if json else ways:
        typer.echo(way)
    if ways:
        raise typer.Exit(1)


async def _run(
    project: "Project", broker: "Broker", restore: bool, same_topic: str | None, yes: bool
) -> list[dict[str, Any]]:
    from mira_stream.streaming.progress import results_gone
    from mira_stream.streaming.standing_offsets import go_on_in, known, results_in, set_back, stands

    scorers = {
        project.consumer_group(f"scorer.{group}"): project.documents_topic(group)
        for group in sorted(project.settings.groups)
    }
    groups = {
        **scorers,
        project.consumer_group("aggregator"): project.topic("scores"),
        project.consumer_group("exporter"): project.topic("decisions"),
    }
    if same_topic is not None and same_topic not in groups.values():
        raise UsageError("topic_unknown", f"no service stands in {same_topic}", f"one of {', '.join(groups.values())}")
    progress = project.topic("progress")
    reader = await broker.reader()
    rows = []
    try:
        found = await stands(broker, reader, progress, groups.items())
        anew = [stand for stand in found if stand.standing == "topic made anew" and stand.partition.topic == same_topic]
        topic_id = await _checked(project, broker, reader, anew) if anew else ""
        for consumer_group, topic in groups.items():
            if not await reader.partitions(topic):
                rows.append(_row(consumer_group, topic, "no topic", _way_out("no topic", topic)))
        scores = project.topic("scores")
        scores_id = await broker.topic_id(scores) if await reader.partitions(scores) else ""
        for stand in found:
            set_to = None
            if stand.consumer_group in scorers and stand.next_offset is not None:
                said = await known(reader, progress, stand)
                if stand.standing == "agrees" and results_gone(said, scores_id):
                    if yes and same_topic == scores:
                        set_to = await results_in(broker, reader, progress, stand, scores_id)
                    way_out = _way_out("topic made anew", scores) if set_to is None else None
                    rows.append(_row(stand.consumer_group, stand.partition.topic, CARDS_GONE, way_out, stand, set_to))
                    continue
            if yes and restore and stand.standing in WRONG:
                set_to = await set_back(broker, reader, progress, stand)
            elif yes and stand in anew:
                set_to = await go_on_in(broker, reader, progress, stand, topic_id)
            starts = set_to is not None or (stand.standing == "no progress" and stand.consumer_group not in scorers)
            way_out = None if starts else _way_out(stand.standing, stand.partition.topic)
            rows.append(_row(stand.consumer_group, stand.partition.topic, stand.standing, way_out, stand, set_to))
    finally:
        await reader.close()
    return rows


async def _checked(project: "Project", broker: "Broker", reader: "LogReader", anew: "list[Stand]") -> str:
    """The id of the topic, which is the log that was read as far as its results can say. Raises DataLossError."""
    from mira_stream.streaming import same_log
    from mira_stream.streaming.standing_offsets import known

    topic = anew[0].partition.topic
    scores, decisions = project.topic("scores"), project.topic("decisions")
    if topic == scores:
        results = same_log.of_scores(scores, decisions)
    elif topic == decisions:
        results = same_log.of_decisions(decisions, project.topic("exports"))
    else:
        results = same_log.of_documents(scores, project.topic("dead-letters"))
    topic_id = await broker.topic_id(topic)
    progress = [await known(reader, project.topic("progress"), stand) for stand in anew]
    await same_log.check_same(reader, topic, progress, await same_log.witnesses(reader, topic, results))
    return topic_id


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
                f"{topic}: the progress is of the topic that was there before. If it was restored, every record at its"
                f" offset: mira-stream offsets --same-topic {topic} --yes; else topic_made_anew in deploy/OPERATING.md"
            )
        case "records deleted":
            return (
                f"{topic}: the next records were deleted before they were read: mira-stream score --accept-loss (or"
                " export) goes on without them, mira-stream produce files SOURCE --missing sends documents again"
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
