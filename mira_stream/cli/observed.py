"""From a project to Snapshots: its services, its broker, and a look every few seconds."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Final

import msgspec
import typer

from mira_stream.config import Project
from mira_stream.observing.facts import Answer
from mira_stream.observing.snapshot import Snapshot
from mira_stream.observing.watcher import Watcher

LOOK_S: Final = 2.0
"""Between two looks."""

ServiceOption = Annotated[
    list[str] | None,
    typer.Option(
        "--service", help="NAME=URL of a service's metrics; again for more. Default: those that say so themselves."
    ),
]


@asynccontextmanager
async def watching(
    project: Project, bootstrap_servers: str | None, service: list[str] | None
) -> AsyncIterator[Watcher]:
    """A Watcher of the project. Raises UsageError for a --service that is none, ConfigError for bad settings."""
    from mira_stream.cli.connect import connect
    from mira_stream.errors import DependencyError
    from mira_stream.observing.services import ask, named, running

    chosen = named(service or ())

    async def answers() -> Mapping[str, Answer]:
        return await ask({**running(project.root), **chosen})

    with suppress(DependencyError):  # the embedded one does not run: the Snapshot says so
        await connect(project, bootstrap_servers).close()  # bad settings are told at once
    watcher = Watcher(project, lambda: connect(project, bootstrap_servers), answers)
    try:
        yield watcher
    finally:
        await watcher.close()


def shown_by_dashboard(project: Project) -> Snapshot | None:
    """The newest Snapshot of the dashboard that runs in this project; None if no page of it answers, or one that wants
    another token than the environment has."""
    from http.client import HTTPException

    from mira_stream.cli.announced import dashboard_url
    from mira_stream.cli.dashboard import TOKEN
    from mira_stream.observing.services import fetch

    if (url := dashboard_url(project.root)) is None:
        return None
    try:
        shown = msgspec.json.decode(fetch(f"{url}/snapshot.json", token=os.environ.get(TOKEN, "")), type=Snapshot)
    except (OSError, HTTPException, ValueError):
        return None
    return shown if shown.project == project.root.name else None
