"""`mira-stream up`: scorer, aggregator and exporter of a project as child processes, kept alive until told to stop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mira_stream.cli.connect import EMBEDDED, address
from mira_stream.cli.options import AcceptLossOption, BootstrapOption, InstanceOption, JsonOption, ProjectOption

if TYPE_CHECKING:
    from mira_stream.cli.up_board import Board
    from mira_stream.config import Project
    from mira_stream.supervision.keeping import Keeper
    from mira_stream.supervision.restarts import Patience

LOOK_EVERY_S = 0.5


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
    accept_loss: AcceptLossOption = False,
    deaths: Annotated[
        int,
        typer.Option("--deaths", min=1, help="So many deaths of a service within an hour end the run."),
    ] = 10,
    frozen: Annotated[
        float,
        typer.Option(
            "--frozen-s",
            min=0,
            help="A service that came up and fails /livez for so long (15 at least) is started again; 0: never.",
        ),
    ] = 60.0,
    json: JsonOption = False,
) -> None:
    """Run scorer, aggregator and exporter of a project until told to stop (SIGTERM, Ctrl-C).

    Starts the embedded broker too, if mira.toml names it and it does not run yet, and publishes the project's policy.
    A service that dies, the embedded broker too, is started again, each time after a longer pause, and so is one that
    stands still; one whose configuration is wrong, or that dies too often, ends the run with its last words. Nothing is
    lost by that.
    While it runs, PROJECT/run/services.json says where each service shows its metrics and probes.
    Feed it with `mira-stream produce files`. A dashboard says on a page where the stream is full, why, and since when.
    """
    from mira_stream.cli.output import emit, say
    from mira_stream.cli.services import check_instance
    from mira_stream.config import load_project
    from mira_stream.streaming.service import run_service
    from mira_stream.supervision.pulse import missed_max

    check_instance(instance)
    missed = missed_max(frozen)
    loaded = load_project(project)
    target = loaded.path("export") if out is None else out

    async def main(stop: asyncio.Event) -> None:
        async with telling(stop):
            await _run(
                loaded,
                target,
                bootstrap_servers,
                instance,
                stop,
                dashboard=dashboard,
                deaths=deaths,
                missed=missed,
                accept_loss=accept_loss,
            )

    run_service(main)
    say("stopped")
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
    deaths: int,
    missed: int,
    accept_loss: bool,
) -> None:
    from mira_stream.cli.announced import alone, announcing
    from mira_stream.cli.output import talk
    from mira_stream.cli.services import operated
    from mira_stream.cli.up_board import Board
    from mira_stream.cli.up_pulse import feel
    from mira_stream.clock import monotonic, now_ms
    from mira_stream.demo.prepare import prepare
    from mira_stream.kafka import KafkaBroker
    from mira_stream.supervision.keeping import Keeper
    from mira_stream.supervision.restarts import Patience
    from mira_stream.supervision.supervisor import Supervisor, free_ports

    beside = f"-{instance}" if instance else ""
    async with AsyncExitStack() as stack:
        why = "services of one name fence each other; another member of the groups takes a name: --instance NAME"
        stack.enter_context(alone(project.root, f"up{beside}", why))
        board = Board(stack.enter_context(announcing(project.root, f"services{beside}.json")), beside)
        stack.enter_context(board.metrics.health.checked("started", board.started))
        stack.enter_context(board.metrics.health.checked("ready", board.ready))
        board.url = await stack.enter_async_context(operated(board.metrics, 0, stop, always=True))
        patience = Patience(deaths=deaths)
        servers = await _servers(project, bootstrap_servers, patience, board, stack, stop)
        if servers is None:
            return
        broker = KafkaBroker(project.settings.broker, servers)
        stack.push_async_callback(broker.close)
        for warning in await prepare(broker, project):
            talk.print(f"warning: {warning}", markup=False, soft_wrap=True)
        supervisor = await stack.enter_async_context(Supervisor(project.path(f"logs{beside}")))
        keeper = board.keeper = Keeper(supervisor, patience, monotonic, now_ms, board.changed, missed_max=missed)
        where = ["--project", str(project.root), "--bootstrap-servers", servers]
        for name, port in zip(("score", "aggregate", "export"), free_ports(3), strict=True):
            board.ports[name] = port
            more = options_of(name, out, accept_loss)
            await keeper.start(name, partial(_command, board, name, [*more, *where, "--instance", instance]))
        board.changed()
        talk.print(f"up; broker {servers}; logs in {supervisor.logs}; Ctrl-C stops", markup=False, soft_wrap=True)
        if dashboard:
            await _start_dashboard(board, keeper, where)
        feeling = asyncio.create_task(feel(keeper, board.probes), name="pulse")
        stack.push_async_callback(_end, feeling)
        while not stop.is_set():
            board.check_broker()
            if feeling.done():
                feeling.result()  # it ends by an error alone
            await keeper.look(hold=not board.broker_runs)
            try:
                await asyncio.wait_for(stop.wait(), LOOK_EVERY_S)
            except TimeoutError:
                continue


@asynccontextmanager
async def telling(stop: asyncio.Event) -> AsyncIterator[None]:
    """Says that it stops as soon as it is told to, for the end may take its time."""
    told = asyncio.create_task(_tell(stop), name="telling")
    try:
        yield
    finally:
        await _end(told)


async def _tell(stop: asyncio.Event) -> None:
    from mira_stream.cli.output import say
    from mira_stream.supervision.supervisor import TERM_S

    await stop.wait()
    say(f"stopping: services have {TERM_S:.0f} s to end what is in work, Kafka is last; Ctrl-C again ends all at once")


def options_of(service: str, out: Path, accept_loss: bool) -> list[str]:
    """What one of the services is told and the others are not. An aggregator never passes over a loss."""
    told = ["--out", str(out.resolve())] if service == "export" else []
    return [*told, "--accept-loss"] if accept_loss and service != "aggregate" else told


def _command(board: "Board", name: str, more: list[str]) -> list[str]:
    """What starts a service; its metrics stay at their port while that is free."""
    from mira_stream.supervision.supervisor import free_port, is_free

    if not is_free(board.ports[name]):
        board.ports[name] = free_port()
    return [name, "--metrics-port", str(board.ports[name]), *more]


async def _start_dashboard(board: "Board", keeper: "Keeper", where: list[str]) -> None:
    """Its own port if that is free, else any. That it is given up is no reason to end the stream."""
    from mira_stream.cli.dashboard import PORT
    from mira_stream.cli.output import talk
    from mira_stream.supervision.supervisor import free_port, is_free

    port = PORT if is_free(PORT) else free_port()
    board.page = f"http://127.0.0.1:{port}"
    await keeper.start("dashboard", lambda: ["dashboard", *where, "--port", str(port)], vital=False)
    talk.print(f"dashboard: {board.page}", markup=False, soft_wrap=True)


async def _servers(
    project: "Project",
    bootstrap_servers: str | None,
    patience: "Patience",
    board: "Board",
    stack: AsyncExitStack,
    stop: asyncio.Event,
) -> str | None:
    """The project's broker; the embedded one is started if it does not run, kept alive, and stopped with us. None if
    told to stop before it was up."""
    from mira_stream.broker_local.data_dir import DataDir
    from mira_stream.broker_local.keeping import KeptBroker
    from mira_stream.cli.output import talk
    from mira_stream.clock import monotonic, now_ms

    data_dir = project.path(project.settings.broker.data_dir)
    asked = bootstrap_servers or project.settings.broker.bootstrap_servers
    if asked != EMBEDDED or DataDir(data_dir).is_held():
        return address(project, bootstrap_servers)
    broker = board.broker = KeptBroker(data_dir, patience, monotonic, now_ms, changed=board.changed, talk=talk.print)
    living = board.living = asyncio.create_task(broker.run(), name="broker")
    stack.push_async_callback(_end, living)
    stopped = asyncio.create_task(stop.wait())
    waited_for: list[asyncio.Future[Any]] = [living, broker.servers, stopped]
    await asyncio.wait(waited_for, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    board.check_broker()
    return broker.servers.result() if broker.servers.done() else None


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.wait({task})
