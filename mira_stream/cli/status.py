"""`mira-stream status`: the dashboard's numbers in a terminal."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mira_stream.cli.observed import LOOK_S, ServiceOption
from mira_stream.cli.options import BootstrapOption, JsonOption, ProjectOption

if TYPE_CHECKING:
    from mira_stream.config import Project
    from mira_stream.observing.snapshot import Snapshot

WatchOption = Annotated[bool, typer.Option("--watch", help="Go on looking until Ctrl-C.")]


def status(
    project: ProjectOption = Path(),
    watch: WatchOption = False,
    service: ServiceOption = None,
    bootstrap_servers: BootstrapOption = None,
    json: JsonOption = False,
) -> None:
    """Show where the stream is full, why, and since when: stages, sources, dead letters, services.

    Asks the dashboard of the project if one runs, because it has looked for longer; else looks twice itself. Without a
    broker it says what to do and ends with exit code 4 (--json: `broker.error`); with --watch it goes on trying.
    Standard output has it all, with --json as data.
    """
    from mira_stream.config import load_project
    from mira_stream.streaming.service import run_service

    loaded = load_project(project)
    run_service(lambda stop: _run(loaded, service, bootstrap_servers, watch, json, stop))


async def _run(
    project: "Project", service: list[str] | None, servers: str | None, watch: bool, json: bool, stop: asyncio.Event
) -> None:
    from mira_stream.cli.observed import shown_by_dashboard, watching
    from mira_stream.cli.status_view import show_live
    from mira_stream.clock import now_ms

    own = service is not None or servers is not None
    found = None if own else await asyncio.to_thread(shown_by_dashboard, project)
    if found is not None and not watch:
        _show(found, json)
        _check_broker(found)
        return
    async with watching(project, servers, service) as watcher:
        if watch and not json:
            with show_live() as update:
                while not stop.is_set():
                    shown = None if own else await asyncio.to_thread(shown_by_dashboard, project)
                    update(shown or await watcher.look(now_ms()), now_ms())
                    await _pause(stop)
            return
        _ = await watcher.look(now_ms())
        await _pause(stop)
        while not stop.is_set():
            found = await watcher.look(now_ms())
            _show(found, json)
            if not watch:
                _check_broker(found)
                return
            await _pause(stop)


async def _pause(stop: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(stop.wait(), LOOK_S)
    except TimeoutError:
        return


def _check_broker(snapshot: "Snapshot") -> None:
    """Raises DependencyError as the one who looked met it."""
    from mira_stream.errors import DependencyError

    error = snapshot.broker.error
    if snapshot.broker.answers is False and error is not None:
        raise DependencyError(error.code, error.cause, error.fix)


def _show(snapshot: "Snapshot", json: bool) -> None:
    from msgspec import to_builtins

    from mira_stream.cli.output import emit, shown
    from mira_stream.cli.status_view import view
    from mira_stream.clock import now_ms

    if json:
        emit(to_builtins(snapshot))
    else:
        shown.print(view(snapshot, now_ms()))
