"""`mira-stream produce watch`: a folder into the stream, without end."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mira_stream.cli.options import BootstrapOption, JsonOption, ProducerPortOption, ProjectOption

if TYPE_CHECKING:
    from mira_stream.config import Project
    from mira_stream.streaming.folder_watch import Watched
    from mira_stream.streaming.metrics import Metrics
    from mira_stream.streaming.ports import Broker


def watch(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to watch, with all that lies in it.")],
    source: Annotated[str, typer.Option("--source", "-s", help="The source of mira.toml that its documents are of.")],
    settle: Annotated[
        float, typer.Option("--settle", min=0, help="Seconds for which .parquet, .gz and .zst must stand still.")
    ] = 2.0,
    every: Annotated[float, typer.Option("--every", min=0.05, help="Seconds between two looks at the folder.")] = 1.0,
    again: Annotated[
        bool, typer.Option("--again", help="Read files that were replaced or cut off from their start.")
    ] = False,
    lag_max: Annotated[
        int,
        typer.Option(
            "--lag-max",
            min=0,
            help="Wait while the group's scorer is more offsets behind: documents, and one a commit (0: never).",
        ),
    ] = 0,
    project: ProjectOption = Path(),
    bootstrap_servers: BootstrapOption = None,
    metrics_port: ProducerPortOption = 0,
    json: JsonOption = False,
) -> None:
    """Stream new files and growing JSON Lines of a folder until told to stop (SIGTERM, Ctrl-C; twice: at once).

    Plain JSON Lines are read while they grow, line by whole line; Parquet, .gz and .zst once they stand still. Hidden
    names, *.tmp, *.part, *.partial and *~ are passed over: write under such a name, then rename. A file that was
    replaced or cut off is refused, with an error in the log and in the metrics, unless --again is given.
    """
    from mira_stream.cli.output import emit, talk
    from mira_stream.cli.services import serve
    from mira_stream.config import load_project
    from mira_stream.ingest import FolderReader, known_source
    from mira_stream.ingest.files import DATA_SUFFIXES
    from mira_stream.parquet import READERS
    from mira_stream.streaming.topics import topic_specs

    loaded = load_project(project)
    section = known_source(source, loaded.settings)
    reader = FolderReader(loaded, source, section, folder, READERS, settle_s=settle, again=again)
    results: list[Watched] = []

    async def work(project: "Project", broker: "Broker", metrics: "Metrics", stop: asyncio.Event) -> None:
        from mira_stream.producers.watch import watch as run
        from mira_stream.streaming.ingest_metrics import IngestMetrics

        await broker.create_topics(topic_specs(project), project.settings.topics.replication_factor)
        counted = IngestMetrics(metrics.registry)
        talk.print(f"watching {folder} for {source}: {', '.join(DATA_SUFFIXES)}", markup=False, soft_wrap=True)
        results.append(
            await run(broker, project, reader, counted, stop, health=metrics.health, lag_max=lag_max, every_s=every)
        )

    serve(
        "produce watch", loaded, bootstrap_servers, metrics_port, False, work, announce=f"produce-watch@{reader.feed}"
    )
    watched = results[0]
    talk.print(f"{source}: {watched.documents} documents, {watched.rejected} rejected", markup=False)
    for uri, code in sorted(watched.refused.items()):
        talk.print(f"  not read on: {uri}: {code}", markup=False)
    if json:
        emit(
            {
                "service": "produce watch",
                "stopped": True,
                "source": source,
                "documents": watched.documents,
                "rejected": watched.rejected,
                "refused": watched.refused,
            }
        )
