"""`mira-stream produce files | watch | http`: sources of a project into the stream."""

import asyncio
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from mira_stream.cli.options import BootstrapOption, JsonOption, ProjectOption
from mira_stream.cli.produce_http import http
from mira_stream.cli.produce_watch import watch

if TYPE_CHECKING:
    from mira_stream.config import Project
    from mira_stream.producers.files import Produced
    from mira_stream.sections import SourceSection

T = TypeVar("T")

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True, help="Bring documents into the stream."
)


app.command()(watch)
app.command()(http)


@app.callback()
def _group() -> None:
    """Bring documents into the stream."""


@app.command()
def files(
    sources: Annotated[
        list[str] | None, typer.Argument(help="Sources of mira.toml. Default: all that have a path.")
    ] = None,
    corpus: Annotated[
        list[str] | None, typer.Option("--corpus", help="NAME=PATH: read this source from there. Again for more.")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Read files that changed since the last time from their start.")
    ] = False,
    missing: Annotated[
        bool,
        typer.Option(
            "--missing",
            help="Of all rows, read before or not, those whose document has no score and no dead letter and is not in"
            " its topic any more.",
        ),
    ] = False,
    project: ProjectOption = Path(),
    bootstrap_servers: BootstrapOption = None,
    json: JsonOption = False,
) -> None:
    """Read JSONL (.gz, .zst), Parquet or text files and folders into the stream, each file from where it stopped.

    Rows that are no document become dead letters; they count as rejected. What was read of a file is not sent again.
    With --missing it is, where it was deleted before it was scored: each document once, however often this is run.
    Ctrl-C says what was sent; the same command goes on with the rest.
    """
    from mira_stream.cli.output import emit, say
    from mira_stream.config import load_project
    from mira_stream.errors import MiraError, UsageError
    from mira_stream.streaming.service import run_service

    if again and missing:
        raise UsageError(
            "again_and_missing",
            "--again begins a file that changed anew, --missing looks for what is gone of files as they were read",
            "run --missing while the files are as they were; of a changed one: --corpus NAME=COPY --missing",
        )
    loaded = load_project(project)
    chosen = chosen_sources(loaded, sources or [], corpus or [])
    counts: dict[str, Produced] = {}

    def tell() -> None:
        for source, count in sorted(counts.items()):
            say(said(source, count, missing))

    try:
        run_service(lambda stop: _produce(loaded, chosen, again, missing, bootstrap_servers, stop, counts))
    except MiraError:
        tell()
        raise
    except asyncio.CancelledError:
        tell()
        for source in sorted(chosen.keys() - counts.keys()):
            say(f"{source}: nothing was sent yet")
        say("stopped: what was sent stays, and the same command goes on with the rest")
        if json:
            emit(_summary(counts) | {"stopped": True})
        raise
    tell()
    if json:
        emit(_summary(counts))


def _summary(counts: "Mapping[str, Produced]") -> dict[str, Any]:
    return {
        "sources": {
            source: {
                "documents": count.documents,
                "rejected": count.rejected,
                "new": count.new,
                "again": count.again,
                "left": count.left,
            }
            for source, count in sorted(counts.items())
        },
        "produced": sum(count.documents + count.rejected for count in counts.values()),
        "new": sum(count.new for count in counts.values()),
        "again": sum(count.again for count in counts.values()),
    }


def chosen_sources(project: "Project", names: list[str], corpora: list[str]) -> "dict[str, SourceSection]":
    """The sources named on the command line, else all with a path. Raises UsageError."""
    from mira_stream.errors import UsageError
    from mira_stream.ingest import corpus_source, known_source

    settings = project.settings
    if not names and not corpora:
        found = {name: section for name, section in sorted(settings.sources.items()) if section.path}
        if not found:
            raise UsageError(
                "nothing_to_produce", "no source of mira.toml has a path", "add one, or give --corpus NAME=PATH"
            )
        return found
    return {name: known_source(name, settings) for name in names} | dict(
        corpus_source(option, settings) for option in corpora
    )


def said(source: str, count: "Produced", missing: bool = False) -> str:
    """One line for people."""
    line = f"{source}: {count.documents} documents, {count.rejected} rejected ({count.new} new)"
    if missing:
        line += (
            f"; {count.again} of those produced before sent again: they have no score and no dead letter and are not in"
            f" their topic any more; {count.left} rows have or are, and are left (those that `mira-stream"
            " audit` calls lost stand before an offset that was moved forward: move it back)"
        )
    elif count.new == 0 and count.documents + count.rejected:
        line += "; produced before: what the topic does not hold any more, and was not scored, --missing sends again"
    return line if not count.left_out_files else f"{line}; {count.left_out_files} files beside the data left out"


async def _produce(
    project: "Project",
    sources: "dict[str, SourceSection]",
    again: bool,
    missing: bool,
    bootstrap_servers: str | None,
    stop: asyncio.Event,
    counts: "dict[str, Produced]",
) -> None:
    """Fills `counts` while it goes on. Ends early, between two transactions, when told to stop:
    asyncio.CancelledError."""
    from mira_stream.cli.connect import connect
    from mira_stream.cli.output import talk
    from mira_stream.producers.files import produce
    from mira_stream.streaming.topics import topic_specs

    broker = connect(project, bootstrap_servers)
    try:
        await broker.create_topics(topic_specs(project), project.settings.topics.replication_factor)
        with talk.status("reading") as status:

            def show(source: str, count: "Produced") -> None:
                counts[source] = count
                status.update("  ".join(f"{name} {one.documents + one.rejected}" for name, one in counts.items()))

            counts |= await _until(stop, produce(broker, project, sources, show, again, missing))
    finally:
        await broker.close()


async def _until(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T:
    """The work's result; asyncio.CancelledError if `stop` is set before."""
    task, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([task, stopped], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
        task.cancel()
        await asyncio.wait([task])
    return task.result()
