"""`up` asks what it keeps alive whether it lives: each service answers, whatever token its visitors need."""

import asyncio
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from shutil import copytree

import pytest

from mira_stream import demo
from mira_stream.cli.dashboard import TOKEN
from mira_stream.cli.up import _command, _start_dashboard, options_of
from mira_stream.cli.up_board import Board
from mira_stream.cli.up_pulse import _beat
from mira_stream.clock import monotonic
from mira_stream.supervision.keeping import Keeper
from mira_stream.supervision.pulse import Beat
from mira_stream.supervision.restarts import Patience
from mira_stream.supervision.supervisor import Supervisor, free_ports

DEMO = Path(demo.__file__).parent / "project"
SERVICES = ("score", "aggregate", "export")

pytestmark = [pytest.mark.models, pytest.mark.timeout(900)]


async def beats(board: Board) -> Mapping[str, Beat]:
    """What each answers as soon as it does, the dashboard as soon as it has looked; a service without a broker lives,
    and has not come up. Each by itself: a service that waits for its broker in vain may have ended before another that
    starts slowly answers."""
    found: dict[str, Beat] = {}
    while missing := board.probes().keys() - found.keys():
        for name in missing:
            beat = await asyncio.to_thread(_beat, board.probes()[name])
            if beat.lives and (beat.up or name != "dashboard"):
                found[name] = beat
        await asyncio.sleep(0.1)
    return found


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A broker that takes the connection and never answers."""
    await reader.read()
    writer.close()


async def test_every_service_answers_its_probes_whatever_token_the_page_asks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The services themselves, started as `up` starts them; the broker alone is missing."""
    monkeypatch.setenv(TOKEN, "a-token-of-thirty-two-characters")
    project = tmp_path / "project"
    copytree(DEMO, project, symlinks=True)
    broker = await asyncio.start_server(silent, "127.0.0.1", 0)
    host, port = broker.sockets[0].getsockname()
    async with broker, Supervisor(tmp_path / "logs") as supervisor:
        board = Board(lambda services, kept: None, "")
        keeper = board.keeper = Keeper(supervisor, Patience(), monotonic, lambda: 0)
        where = ["--project", str(project), "--bootstrap-servers", f"{host}:{port}"]
        for name, port in zip(SERVICES, free_ports(3), strict=True):
            board.ports[name] = port
            more = [*options_of(name, tmp_path / "out", accept_loss=False), *where]
            await keeper.start(name, partial(_command, board, name, more))
        await _start_dashboard(board, keeper, where)
        assert await beats(board) == {
            **dict.fromkeys(SERVICES, Beat(up=False, lives=True)),
            "dashboard": Beat(up=True, lives=True),
        }
        assert "token_wrong" not in (supervisor.logs / "dashboard.log").read_text()
