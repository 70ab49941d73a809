"""`mira-stream score | aggregate | export`: one service until it is told to stop (SIGTERM, Ctrl-C; twice: at once)."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from mira_stream.cli.options import (
    AcceptLossOption,
    BootstrapOption,
    InstanceOption,
    JsonOption,
    MetricsPortOption,
    ProjectOption,
)
from mira_stream.config import Project
from mira_stream.errors import ConfigError, UsageError
from mira_stream.messages import GROUP_PATTERN, SOURCE_PATTERN
from mira_stream.streaming.metrics import Metrics
from mira_stream.streaming.ports import Broker

Work = Callable[[Project, Broker, Metrics, asyncio.Event], Coroutine[Any, Any, None]]
"""What a service does until its stop event is set."""
GroupOption = Annotated[
    list[str] | None, typer.Option("--group", "-g", help="A source group to score; again for more. Default: all.")
]
ShadowOption = Annotated[
    str | None,
    typer.Option("--shadow", help="Score and decide into topics of its own, beside the live stream."),
]
OutOption = Annotated[Path, typer.Option("--out", help="Where kept/ and scores/ are written.")]


def score(
    project: ProjectOption = Path(),
    group: GroupOption = None,
    bootstrap_servers: BootstrapOption = None,
    metrics_port: MetricsPortOption = 0,
    shadow: ShadowOption = None,
    eager: Annotated[
        bool, typer.Option("--eager", help="A shadow goes on also while the live scorer has documents waiting.")
    ] = False,
    accept_loss: AcceptLossOption = False,
    instance: InstanceOption = "",
    json: JsonOption = False,
) -> None:
    """Run the scorer: one engine a source group, documents in, score cards out.

    With --shadow, a changed project is tried beside the live stream: what it makes of the same documents goes to topics
    of its own, and `mira-stream compare` shows what it would change. Asked of it is what mira.toml says, and what has
    been set by command of the live stream when it starts.
    """
    from mira_stream.config import load_project
    from mira_stream.consumers import scorer

    loaded = load_project(project)
    groups = chosen_groups(loaded, group)
    if shadow is not None:
        loaded = shadow_of(loaded, shadow)
    elif eager:
        raise UsageError("eager_alone", "--eager is for a shadow", "give --shadow NAME too, or leave it out")

    check_instance(instance)

    async def work(project: Project, broker: Broker, metrics: Metrics, stop: asyncio.Event) -> None:
        if project.shadow:
            from mira_stream.consumers.shadow import shadow as run

            await run(project, broker, groups, metrics, stop, stand_back=not eager, instance=instance)
        else:
            await scorer.score(project, broker, groups, metrics, stop, accept_loss=accept_loss, instance=instance)

    serve("score", loaded, bootstrap_servers, metrics_port, json, work)


def check_instance(name: str) -> None:
    """Raises UsageError(instance_invalid)."""
    if name and not re.match(SOURCE_PATTERN, name):
        raise UsageError("instance_invalid", f"--instance {name!r}", "use letters, digits, dots, hyphens")


def shadow_of(project: Project, name: str) -> Project:
    """The project as the shadow of that name. Raises UsageError(shadow_invalid)."""
    from msgspec.structs import replace

    if not re.match(GROUP_PATTERN, name):
        raise UsageError("shadow_invalid", f"--shadow {name!r}", "use small letters, digits and hyphens")
    return replace(project, shadow=name)


def aggregate(
    project: ProjectOption = Path(),
    bootstrap_servers: BootstrapOption = None,
    metrics_port: MetricsPortOption = 0,
    instance: InstanceOption = "",
    json: JsonOption = False,
) -> None:
    """Run the aggregator: score cards in, thresholds and decisions out."""
    from mira_stream.config import load_project
    from mira_stream.consumers import aggregator

    check_instance(instance)

    async def work(project: Project, broker: Broker, metrics: Metrics, stop: asyncio.Event) -> None:
        await aggregator.aggregate(project, broker, metrics, stop, instance=instance)

    serve("aggregate", load_project(project), bootstrap_servers, metrics_port, json, work)


def export(
    out: OutOption,
    project: ProjectOption = Path(),
    bootstrap_servers: BootstrapOption = None,
    metrics_port: MetricsPortOption = 0,
    accept_loss: AcceptLossOption = False,
    from_start: Annotated[
        bool,
        typer.Option("--from-start", help="Export all decisions that Kafka still holds again, into an empty --out."),
    ] = False,
    instance: InstanceOption = "",
    json: JsonOption = False,
) -> None:
    """Run the exporter: decisions in, kept/<source>/*.parquet and scores/<source>/*.parquet out."""
    from mira_stream.config import load_project
    from mira_stream.consumers import exporter

    check_instance(instance)

    async def work(project: Project, broker: Broker, metrics: Metrics, stop: asyncio.Event) -> None:
        await exporter.export(
            project, broker, out, metrics, stop, accept_loss=accept_loss, from_start=from_start, instance=instance
        )
        await exporter.export_epochs(project, broker, out)

    serve("export", load_project(project), bootstrap_servers, metrics_port, json, work)


def chosen_groups(project: Project, asked: list[str] | None) -> list[str]:
    """The groups named, or all of the project. Raises UsageError for one the project does not have, and
    ConfigError if it has none."""
    known = sorted(project.settings.groups)
    if not known:
        raise ConfigError(
            "groups_missing", "mira.toml has no group", "put its sources into some: mira-stream rubric group"
        )
    for group in asked or ():
        if group not in known:
            raise UsageError("group_unknown", f"the project has no group {group!r}", f"use one of {', '.join(known)}")
    return list(dict.fromkeys(asked)) if asked else known


def serve(
    name: str, project: Project, bootstrap_servers: str | None, port: int, json: bool, work: Work, announce: str = ""
) -> None:
    """Run one service; with `json` one object at its end says that it was stopped in order.

    `announce`: the name under which `status` and dashboard find it; with port 0 its metrics are then at any free one.
    """
    from mira_stream.cli.announced import Announced, announced_alone
    from mira_stream.cli.connect import connect
    from mira_stream.cli.output import emit, say
    from mira_stream.streaming.service import run_service

    async def main(stop: asyncio.Event) -> None:
        metrics = Metrics()
        async with AsyncExitStack() as stack:
            url = await stack.enter_async_context(operated(metrics, port, stop, always=bool(announce)))
            if announce:
                say(f"metrics: {url}/metrics")
                stack.enter_context(announced_alone(project.root, Announced(announce, url, os.getpid())))
            broker = connect(project, bootstrap_servers)
            stack.push_async_callback(broker.close)
            await work(project, broker, metrics, stop)

    run_service(main)
    if json:
        emit({"service": name, "stopped": True})


@asynccontextmanager
async def operated(metrics: Metrics, port: int, stop: asyncio.Event, *, always: bool = False) -> AsyncIterator[str]:
    """Metrics and probes while the block runs, its drain included; gives their URL. Port 0: none, or with `always` at
    any free one.

    Raises UsageError(port_in_use, metrics_host).
    """
    if not (port or always):
        yield ""
        return
    from mira_stream.http import operations
    from mira_stream.http import serve as serve_http

    host = metrics_host(os.environ)
    health = metrics.health
    health.draining = stop.is_set
    shown = operations(metrics.exposition, health, names_of(host))
    async with health.loop.beating(), serve_http(shown, host, port) as url:
        yield url


def metrics_host(environment: Mapping[str, str]) -> str:
    """Where metrics and probes are bound: MIRA_METRICS_HOST, one address or name of this machine (a pod's own address),
    else 127.0.0.1. What they show is counts and names of sources, no document; who may reach them, the network says.

    Raises UsageError(metrics_host) for all addresses at once: they answer only under the name that they are bound to.
    """
    host = environment.get("MIRA_METRICS_HOST", "").lower() or "127.0.0.1"
    if host in ("0.0.0.0", "::", "*"):
        raise UsageError(
            "metrics_host", f"MIRA_METRICS_HOST is {host}", "name one address: the pod's, or the container's name"
        )
    return host


def names_of(host: str) -> Collection[str]:
    """The names under which metrics and probes answer: a page that resolves another one to them is refused."""
    from mira_stream.http.guard import LOOPBACK_NAMES, is_loopback

    return LOOPBACK_NAMES if is_loopback(host) else (host,)
