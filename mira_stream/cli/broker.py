"""`mira-stream broker start|stop|status`: Apache Kafka of our own, in the background."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from mira_stream.broker_local import EmbeddedBroker, Runtime, Status, status, stop
from mira_stream.cli.options import JsonOption, ProjectOption
from mira_stream.cli.output import emit, talk
from mira_stream.config import load_project

app = typer.Typer(no_args_is_help=True, help="The embedded broker: Apache Kafka, one node, its data in one folder.")

DataDirOption = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Folder of the broker's data; left out: the project's own."),
]
EXIT_OF: dict[str, int] = {"healthy": 0, "stopped": 1, "unhealthy": 4}


@app.command("start")
def start_command(
    data_dir: DataDirOption = None,
    project: ProjectOption = Path("."),
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Left out: a free one.")] = None,
    json: JsonOption = False,
) -> None:
    """Start it in the background; it runs until `broker stop`."""
    broker = EmbeddedBroker(_folder(data_dir, project), port=port, attached=False, talk=talk.print)
    runtime = broker.start()
    if json:
        emit(msgspec.to_builtins(runtime))
    else:
        talk.print(f"Kafka {runtime.kafka} at {runtime.bootstrap_servers}, pid {runtime.pid}; log {runtime.log}")


@app.command("stop")
def stop_command(data_dir: DataDirOption = None, project: ProjectOption = Path("."), json: JsonOption = False) -> None:
    """Stop it: TERM, and KILL after ten seconds. Nothing to do is no error."""
    folder = _folder(data_dir, project)
    was_running = stop(folder)
    if json:
        emit({"stopped": was_running, "data_dir": str(folder.absolute())})
    else:
        talk.print("stopped" if was_running else f"no broker runs in {folder}")


@app.command("status")
def status_command(
    data_dir: DataDirOption = None, project: ProjectOption = Path("."), json: JsonOption = False
) -> None:
    """Put a transaction through it. Exit code 0 healthy, 1 stopped, 4 unhealthy."""
    found = status(_folder(data_dir, project))
    if json:
        emit(msgspec.to_builtins(found))
    else:
        talk.print(_sentence(found), soft_wrap=True)
    raise typer.Exit(EXIT_OF[found.state])


def _folder(data_dir: Path | None, project: Path) -> Path:
    if data_dir is not None:
        return data_dir
    found = load_project(project)
    return found.path(found.settings.broker.data_dir)


def _sentence(found: Status) -> str:
    parts = [found.state, *([found.problem] if found.problem else []), *_facts(found.broker)]
    return ", ".join([*parts, f"data in {found.data_dir}"])


def _facts(runtime: Runtime | None) -> list[str]:
    if runtime is None:
        return []
    return [f"Kafka {runtime.kafka} at {runtime.bootstrap_servers}", f"pid {runtime.pid}", f"log {runtime.log}"]
