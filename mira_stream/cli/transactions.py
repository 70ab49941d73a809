"""`mira-stream transactions`: what is open in the project's topics, and an end to what nobody else can end."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mira_stream.cli.options import BootstrapOption, JsonOption, ProjectOption

if TYPE_CHECKING:
    from mira_stream.config import Project
    from mira_stream.kafka.transactions import Standing

AGAIN_S: Final = 2.0
"""Between two looks at one that seems to hang."""
SAID: "Final[dict[Standing, str]]" = {
    "under way": "under way",
    "hangs": "hangs: end it with --abort --yes",
    "not owned": "its coordinator has no such transaction: if it stays so for twice its timeout and a minute, it hangs",
    "not known": "not known: no coordinator names its id. One is away, or this login may not see the id (Describe), or"
    " it has expired; look again when all brokers are up, as somebody who may see all ids",
}


def transactions(
    project: ProjectOption = Path(),
    abort: Annotated[
        bool, typer.Option("--abort", help="Name those that hang and would be ended; with --yes, end them.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --abort: end what hangs, and nothing else.")] = False,
    bootstrap_servers: BootstrapOption = None,
    json: JsonOption = False,
) -> None:
    """Show the transactions that are open in the project's topics: nothing behind one can be read until it ends.

    One hangs if the brokers' leaders have it open, its coordinator says that it has no such transaction (KAFKA-12671,
    KAFKA-20734), and it has been silent for twice its timeout and a minute: nobody will end it. Nothing of it was ever
    committed; whoever wrote it has done it again, or will. Of one whose transactional id no coordinator names nothing
    is known, and it is never ended: a coordinator may be away, or the id hidden from us. Ends with exit code 1 if one
    hangs and is not ended, or is not known. Kafka 3.0 or newer, with Read on topics and Describe on transactional ids;
    --abort --yes needs Alter on the cluster.
    """
    if yes and not abort:
        raise typer.BadParameter("--yes goes with --abort")
    from mira_stream.config import load_project

    rows = asyncio.run(_run(load_project(project), bootstrap_servers, abort and yes))
    _show(rows, json)
    if not json and abort and not yes and any(row["standing"] == "hangs" for row in rows):
        typer.echo("nothing was ended; --abort --yes ends what hangs")
    if any(row["standing"] in ("hangs", "not known") and not row["aborted"] for row in rows):
        raise typer.Exit(1)


async def _run(project: "Project", bootstrap_servers: str | None, abort: bool) -> list[dict[str, Any]]:
    from mira_stream.cli.connect import address
    from mira_stream.clock import now_ms
    from mira_stream.errors import MiraError
    from mira_stream.kafka.transactions import Transactions
    from mira_stream.streaming.topics import topic_specs

    topics = [spec.name for spec in topic_specs(project)]
    async with Transactions(project.settings.broker, address(project, bootstrap_servers)) as asked:
        found = await asked.examine(topics, AGAIN_S)
        ended, failed = set(), {}
        for one in [one for one, (standing, _) in found.items() if abort and standing == "hangs"]:
            try:
                await asked.abort(one)
                ended.add(one)
            except MiraError as error:
                failed[one] = str(error)
    return [
        {
            "topic": one.partition.topic,
            "partition": one.partition.partition,
            "since_offset": one.since,
            "silent_s": max(0, round((now_ms() - one.last_ms) / 1000)),
            "producer_id": one.producer_id,
            "producer_epoch": one.producer_epoch,
            "transactional_id": transactional_id,
            "standing": standing,
            "aborted": one in ended,
            "error": failed.get(one),
        }
        for one, (standing, transactional_id) in found.items()
    ]


def _show(rows: list[dict[str, Any]], json: bool) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from mira_stream.cli.output import emit

    if json:
        emit({"transactions": rows})
        return
    if not rows:
        typer.echo("no transaction is open")
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("partition", "since offset", "silent", "of", ""):
        table.add_column(name, overflow="fold")
    for row in rows:
        end = "aborted" if row["aborted"] else SAID[row["standing"]]
        if row["error"]:
            end = f"hangs, and could not be ended: {row['error']}"
        owner = row["transactional_id"] or f"producer {row['producer_id']}"
        place = f"{row['topic']}/{row['partition']}"
        table.add_row(Text(place), str(row["since_offset"]), f"{row['silent_s']} s", Text(owner), Text(end))
    Console(emoji=False, highlight=False).print(table)
