"""`mira-stream produce http`: documents by POST into the stream, without end."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from mira_stream.cli.options import BootstrapOption, JsonOption, ProducerPortOption, ProjectOption
from mira_stream.cli.tokens import token_of

if TYPE_CHECKING:
    from mira_stream.config import Project
    from mira_stream.streaming.metrics import Metrics
    from mira_stream.streaming.ports import Broker

TOKEN: Final = "MIRA_HTTP_TOKEN"


def http(
    host: Annotated[
        str, typer.Option("--host", help="Address to bind. Any but loopback demands a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to bind (0: any free one).")] = 8086,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help=f"A file with the token that requests must bring (or {TOKEN}).")
    ] = None,
    lag_max: Annotated[
        int,
        typer.Option(
            "--lag-max",
            min=0,
            help="429 while a group's scorer is more offsets behind: documents, and one a commit (0: never).",
        ),
    ] = 0,
    in_flight: Annotated[
        int, typer.Option("--in-flight-documents", min=1, help="Documents under way at most; 429 beyond.")
    ] = 4_000,
    in_flight_mib: Annotated[
        int, typer.Option("--in-flight-mib", min=1, help="MiB of request bodies under way at most; 429 beyond.")
    ] = 64,
    answer_s: Annotated[
        float,
        typer.Option(
            "--answer-s", min=0.1, help="503 to requests that the broker has not answered after so many seconds."
        ),
    ] = 5.0,
    remember: Annotated[
        int, typer.Option("--remember", min=10_000, help="Newest ids that are known to be in the log.")
    ] = 100_000,
    project: ProjectOption = Path(),
    bootstrap_servers: BootstrapOption = None,
    metrics_port: ProducerPortOption = 0,
    json: JsonOption = False,
) -> None:
    """Take documents by POST /v1/documents until told to stop: JSON, an array of it, or NDJSON.

    202: all documents of the request are committed. 429 with Retry-After: the pipe is full, nothing was taken. The same
    id with the same document again is no duplicate in the log; with another document it is 409. That is known of the
    newest --remember documents. One process a project: a second one is refused, or on another machine takes over from
    the first. `status` and dashboard find it by themselves. /openapi.json describes it all.
    """
    from mira_stream.cli.announced import alone
    from mira_stream.cli.output import emit, talk
    from mira_stream.cli.services import serve
    from mira_stream.config import load_project
    from mira_stream.http import check_bind
    from mira_stream.producers.http import Limits, serve_documents
    from mira_stream.streaming.ingest_metrics import IngestMetrics
    from mira_stream.streaming.topics import topic_specs

    token = token_of(token_file, TOKEN)
    check_bind(host, token)
    loaded = load_project(project)
    most = in_flight_mib * 2**20
    limits = Limits(
        documents=in_flight,
        bytes=most,
        request_documents=min(Limits().request_documents, in_flight),
        request_bytes=min(Limits().request_bytes, most),
        remembered=remember,
        lag=lag_max,
        answer_s=answer_s,
    )

    def bound(url: str) -> None:
        holding(url)
        talk.print(f"POST {url}/v1/documents", markup=False, soft_wrap=True)

    async def work(project: "Project", broker: "Broker", metrics: "Metrics", stop: asyncio.Event) -> None:
        await broker.create_topics(topic_specs(project), project.settings.topics.replication_factor)
        await serve_documents(
            broker,
            project,
            IngestMetrics(metrics.registry),
            metrics.health,
            stop,
            host=host,
            port=port,
            token=token,
            limits=limits,
            bound=bound,
        )

    with alone(
        loaded.root, "produce http", "it knows which ids are in the log, and two would not know each other's"
    ) as holding:
        serve("produce http", loaded, bootstrap_servers, metrics_port, False, work, announce="produce-http")
    if json:
        emit({"service": "produce http", "stopped": True})
