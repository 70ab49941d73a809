"""From a project to its broker: the address in mira.toml, of the command line, or of the running embedded Kafka."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeVar

from msgspec.structs import replace

from mira_stream.broker_local.data_dir import DataDir
from mira_stream.config import Project, load_project
from mira_stream.errors import DependencyError
from mira_stream.streaming.ports import Broker

EMBEDDED: Final = "embedded"
_OF_LIVE: Final = (
    "a shadow is on the live stream's Kafka, and one started here would be another, empty one: name that of the live"
    " stream with --bootstrap-servers HOST:PORT (mira-stream broker status --project LIVE shows it)"
)
T = TypeVar("T")


def with_broker(
    root: Path, bootstrap_servers: str | None, work: Callable[[Project, Broker], Awaitable[T]], *, shadow: str = ""
) -> T:
    """Run `work` over the project in `root` and its broker, which is closed after it. `shadow`: whose Kafka it is, if
    the work is about one; it changes what is said if none runs."""
    project = load_project(root)

    async def run() -> T:
        broker = connect(replace(project, shadow=shadow), bootstrap_servers)
        try:
            return await work(project, broker)
        finally:
            await broker.close()

    return asyncio.run(run())


def connect(project: Project, bootstrap_servers: str | None = None) -> Broker:
    """The project's broker; nothing is sent yet. Raises DependencyError if the embedded one does not run."""
    from mira_stream.kafka import KafkaBroker

    return KafkaBroker(project.settings.broker, address(project, bootstrap_servers))


def address(project: Project, bootstrap_servers: str | None = None) -> str:
    """host:port of the command line, else of mira.toml, else of the embedded broker that runs now."""
    asked = bootstrap_servers or project.settings.broker.bootstrap_servers
    if asked != EMBEDDED:
        return asked
    data = DataDir(project.path(project.settings.broker.data_dir))
    runtime = data.read_runtime() if data.is_held() else None
    if runtime is None:
        fix = f"start it: mira-stream broker start --project {project.root}; or name another Kafka: --bootstrap-servers"
        raise DependencyError(
            "broker_not_running",
            f"no embedded broker runs in {data.root}",
            _OF_LIVE if project.shadow else fix,
        )
    return runtime.bootstrap_servers
