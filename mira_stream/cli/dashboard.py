"""`mira-stream dashboard`: one page that shows where the stream is full, why, and since when."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mira_stream.cli.observed import LOOK_S, ServiceOption
from mira_stream.cli.options import BootstrapOption, JsonOption, ProjectOption
from mira_stream.cli.tokens import token_of

if TYPE_CHECKING:
    from mira_stream.config import Project

PORT = 8321
TOKEN = "MIRA_DASHBOARD_TOKEN"
PortOption = Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any free one.")]
HostOption = Annotated[str, typer.Option("--host", help="Bind this address; another than loopback asks for a token.")]
TokenFileOption = Annotated[
    Path | None,
    typer.Option("--token-file", help=f"A file with the token that every visitor is asked for (or {TOKEN})."),
]


def dashboard(
    project: ProjectOption = Path(),
    port: PortOption = PORT,
    host: HostOption = "127.0.0.1",
    token_file: TokenFileOption = None,
    service: ServiceOption = None,
    bootstrap_servers: BootstrapOption = None,
    json: JsonOption = False,
) -> None:
    """Show the running stream in a browser, until told to stop (SIGTERM, Ctrl-C).

    It reads services' metrics and the log, and changes nothing. With a token, open the page once with ?token=TOKEN.
    """
    from mira_stream.cli.output import emit
    from mira_stream.config import load_project
    from mira_stream.http import check_bind
    from mira_stream.streaming.service import run_service

    token = token_of(token_file, TOKEN)
    check_bind(host, token)
    loaded = load_project(project)
    run_service(lambda stop: _run(loaded, host, port, token, service, bootstrap_servers, stop))
    if json:
        emit({"service": "dashboard", "stopped": True})


async def _run(
    project: "Project", host: str, port: int, token: str, service: list[str] | None, servers: str | None,
    stop: asyncio.Event,
) -> None:  # fmt: skip
    from mira_stream.cli.announced import announced_dashboard
    from mira_stream.cli.observed import watching
    from mira_stream.cli.output import talk
    from mira_stream.clock import now_ms
    from mira_stream.http import PROBES, guarded, serve
    from mira_stream.http.dashboard import Newest, dashboard, watched
    from mira_stream.http.guard import LOOPBACK_NAMES

    newest = Newest()
    names = None if token else LOOPBACK_NAMES
    async with watching(project, servers, service) as watcher, watched(newest) as health:
        first = await watcher.look(now_ms())
        page = guarded(dashboard(newest, health), token=token, names=names, without_token=PROBES)
        async with serve(page, host, port) as url:
            talk.print(f"dashboard: {url}", markup=False, soft_wrap=True)
            with announced_dashboard(project.root, url):
                newest.publish(_json(first))
                while not stop.is_set():
                    with suppress(TimeoutError):
                        await asyncio.wait_for(stop.wait(), LOOK_S)
                    newest.publish(_json(await watcher.look(now_ms())))


def _json(snapshot: object) -> bytes:
    import msgspec

    return msgspec.json.encode(snapshot)
