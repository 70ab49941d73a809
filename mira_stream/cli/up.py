"""`mira-stream up`: scorer, aggregator and exporter of a project as child processes, until told to stop."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mira_stream.cli.connect import EMBEDDED, address
from mira_stream.cli.options import BootstrapOption, InstanceOption, JsonOption, ProjectOption

if TYPE_CHECKING:
    from mira_stream.config import Project
    from mira_stream.demo.supervise import Child, Supervisor

LOOK_EVERY_S = 0.5
OUT = typer.Option("--out", help="Where kept/ and scores/ go. Default: PROJECT/export.")


def up(
    project: ProjectOption = Path(),
    out: Annotated[
        Path | None, typer.Option("--out", help="Where kept/ and scores/ go. Default: PROJECT/export.")
    ] = None,
    bootstrap_servers: BootstrapOption = None,
    instance: InstanceOption = "",
    dashboard: Annotated[
        bool, typer.Option("--dashboard/--no-dashboard", help="Show the stream on a page of 127.0.0.1, too.")
    ] = True,
    json: JsonOption = False,
) -> None:
    """Run scorer, aggregator and exporter of a project until told to stop (SIGTERM, Ctrl-C).

    Starts the embedded broker too, if mira.toml names it and it does not run yet, and publishes the project's policy.
    While it runs, PROJECT/run/services.json says where each service shows its metrics and probes.
    Feed it with `mira-stream produce files`. A dashboard says on a page where the stream is full, why, and since when.
    """
    from mira_stream.cli.output import emit
    from mira_stream.cli.services import check_instance
    from mira_stream.config import load_project
    from mira_stream.streaming.service import run_service

    check_instance(instance)
    loaded = load_project(project)
    target = loaded.path("export") if out is None else out
    run_service(lambda stop: _run(loaded, target, bootstrap_servers, instance, stop, dashboard=dashboard))
    if json:
        emit({"stopped": True, "out": str(target)})


async def _run(
    project: "Project",
    out: Path,
    bootstrap_servers: str | None,
    instance: str,
    stop: asyncio.Event,
    *,
    dashboard: bool,
) -> None:
    from mira_stream.cli.announced import Announced, alone, announced
    from mira_stream.cli.output import talk
    from mira_stream.demo.prepare import prepare
    from mira_stream.demo.supervise import Supervisor, free_ports
    from mira_stream.kafka import KafkaBroker

    beside = f"-{instance}" if instance else ""
    async with AsyncExitStack() as stack:
        why = "services of one name fence each other; another member of the groups takes a name: --instance NAME"
        stack.enter_context(alone(project.root, f"up{beside}", why))
        servers = await _servers(project, bootstrap_servers, stack)
        broker = KafkaBroker(project.settings.broker, servers)
        stack.push_async_callback(broker.close)
        for warning in await prepare(broker, project):
            talk.print(f"warning: {warning}", markup=False, soft_wrap=True)
        supervisor = await stack.enter_async_context(Supervisor(project.path(f"logs{beside}")))
        where = ["--project", str(project.root), "--bootstrap-servers", servers, "--instance", instance]
        services = []
        for name, port in zip(("score", "aggregate", "export"), free_ports(3), strict=True):
            more = ["--out", str(out.resolve())] if name == "export" else []
            child = await supervisor.start(name, name, "--metrics-port", str(port), *more, *where)
            services.append(Announced(f"{name}{beside}", f"http://127.0.0.1:{port}", child.process.pid))
        stack.enter_context(announced(project.root, services, f"services{beside}.json"))
        talk.print(f"up; broker {servers}; logs in {supervisor.logs}; Ctrl-C stops", markup=False, soft_wrap=True)
        page = await _start_dashboard(project, supervisor, servers) if dashboard else None
        while not stop.is_set():
            supervisor.check()
            if page is not None and page.ended.done():
                talk.print(f"warning: the dashboard has ended, the stream goes on; read {page.log}", markup=False)
                page = None
            try:
                await asyncio.wait_for(stop.wait(), LOOK_EVERY_S)
            except TimeoutError:
                continue


async def _start_dashboard(project: "Project", supervisor: "Supervisor", servers: str) -> "Child":
    """Its own port if that is free, else any. Its end is no reason to end the stream."""
    from mira_stream.cli.dashboard import PORT
    from mira_stream.cli.output import talk
    from mira_stream.demo.supervise import free_port, is_free

    port = PORT if is_free(PORT) else free_port()
    where = ["--project", str(project.root), "--bootstrap-servers", servers, "--port", str(port)]
    page = await supervisor.start("dashboard", "dashboard", *where, vital=False)
    talk.print(f"dashboard: http://127.0.0.1:{port}", markup=False, soft_wrap=True)
    return page


async def _servers(project: "Project", bootstrap_servers: str | None, stack: AsyncExitStack) -> str:
    """The project's broker; the embedded one is started if it does not run, and then stopped with us."""
    from mira_stream import broker_local
    from mira_stream.broker_local.data_dir import DataDir
    from mira_stream.cli.output import talk

    data_dir = project.path(project.settings.broker.data_dir)
    asked = bootstrap_servers or project.settings.broker.bootstrap_servers
    if asked != EMBEDDED or DataDir(data_dir).is_held():
        return address(project, bootstrap_servers)
    return await stack.enter_async_context(broker_local.embedded(data_dir, talk=talk.print))
