"""`mira-stream transactions`: what is open in the project's topics, and an end to what nobody else can end."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mira_stream.cli.options import BootstrapOption, JsonOption, ProjectOption

if TYPE_CHECKING:
    from mira_stream.config import Project

AGAIN_S: Final = 2.0
"""Between two looks at one that seems to hang."""


def transactions(
    project: ProjectOption = Path(),
    abort: Annotated[
        bool, typer.Option("--abort", help="End those that hang; what is under way is left alone.")
    ] = False,
    bootstrap_servers: BootstrapOption = None,
    json: JsonOption = False,
) -> None:
    """Show the transactions that are open in the project's topics: nothing behind one can be read until it ends.

    One hangs if the brokers' leaders have it open and no coordinator knows of it (KAFKA-12671, KAFKA-20734): nobody
    will end it. Nothing of it was ever committed; whoever wrote it has done it again, or will. Ends with exit code 1 if
    one hangs and is not ended. Kafka 3.0 or newer, with Describe on topics and transactional ids; --abort needs Alter
    on the cluster.
    """
    from mira_stream.config import load_project

    rows = asyncio.run(_run(load_project(project), bootstrap_servers, abort))
    _show(rows, json)
    if any(row["hangs"] and not row["aborted"] for row in rows):
        raise typer.Exit(1)


async def _run(project: "Project", bootstrap_servers: str | None, abort: bool) -> list[dict[str, Any]]:
    from mira_stream.cli.connect import address
    from mira_stream.clock import now_ms
    from mira_stream.kafka.transactions import Transactions
    from mira_stream.streaming.topics import topic_specs

    topics = [spec.name for spec in topic_specs(project)]
    async with Transactions(project.settings.broker, address(project, bootstrap_servers)) as asked:
        seen, hanging = await asked.examine(topics, AGAIN_S)
        for one in hanging if abort else ():
            await asked.abort(one)
    return [
        {
            "topic": one.partition.topic,
            "partition": one.partition.partition,
            "since_offset": one.since,
            "silent_s": max(0, round((now_ms() - one.last_ms) / 1000)),
            "producer_id": one.producer_id,
            "producer_epoch": one.producer_epoch,
            "transactional_id": seen.transactional_id(one),
            "hangs": one in hanging,
            "aborted": abort and one in hanging,
        }
        for one in seen.open
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
        end = "aborted" if row["aborted"] else "hangs: end it with --abort" if row["hangs"] else "under way"
        owner = row["transactional_id"] or f"producer {row['producer_id']}"
        place = f"{row['topic']}/{row['partition']}"
        table.add_row(Text(place), str(row["since_offset"]), f"{row['silent_s']} s", Text(owner), end)
    Console(highlight=False).print(table)
