"""`mira-stream up` goes on when Kafka, scorer and aggregator are killed under it, or stand still: nothing is lost.

Real Kafka and services, documents posted all the while; only the engine is a stand-in.
"""

import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from http.client import HTTPException
from pathlib import Path

import msgspec
import orjson
import pytest

from mira_stream.broker_local.data_dir import DataDir, Runtime
from mira_stream.broker_local.launch import SAYS_ERROR
from mira_stream.observing.services import fetch, kept_alive, running
from mira_stream.observing.snapshot import KeptRow, Snapshot
from tests.e2e.test_episode import PATIENCE_S, Rig, every_document_ended_once, port_of, posting, rig, until

__all__ = ["rig"]
pytestmark = [pytest.mark.broker, pytest.mark.timeout(1800)]


def runtime(project: Path) -> Runtime | None:
    return DataDir(project / "broker").read_runtime()


def pid_of(project: Path, service: str) -> int:
    services = orjson.loads((project / "run" / "services.json").read_bytes())["services"]
    return int(next(one["pid"] for one in services if one["name"] == service))


async def kept_where(project: Path, name: str, holds: Callable[[KeptRow], bool]) -> KeptRow:
    async def look() -> KeptRow | None:
        return next((one for one in kept_alive(project) if one.name == name and holds(one)), None)

    found = await until(look, f"{name} is as it should be; now {kept_alive(project)}")
    assert isinstance(found, KeptRow)
    return found


async def killed(
    project: Path, name: str, pid_of: Callable[[Path, str], int] = pid_of, number: signal.Signals = signal.SIGKILL
) -> str:
    """Killed or stopped, noticed, and started again; as what `up` tells its death, until it dies again. Its process is
    looked up while it runs: it may have ended by itself before, as a service whose broker is away does."""
    before = await kept_where(project, name, lambda one: one.state == "runs")
    os.kill(pid_of(project, name), number)
    dead = await kept_where(project, name, lambda one: one.restarts > before.restarts)
    assert dead.died_ms is not None
    await kept_where(project, name, lambda one: one.state == "runs")
    await started(project)
    return dead.why


async def started(project: Path) -> None:
    """Every service has read its configuration and come up."""

    async def look() -> bool:
        try:
            return all(fetch(f"{url}/startupz") for url in running(project).values())
        except (OSError, HTTPException):
            return False

    await until(look, "all services are up")


async def test_what_dies_under_up_is_started_again_and_nothing_is_lost_or_doubled(rig: Rig) -> None:
    project = rig.project
    with ExitStack() as stack:
        up = stack.enter_context(rig.command("up", "--no-dashboard", "--json", "--frozen-s", "15"))
        await up.until_said("Ctrl-C stops")
        http = stack.enter_context(rig.command("produce", "http", "--port", "0", "--answer-s", "2"))
        port = await port_of(http)
        await started(project)
        first = runtime(project)
        assert first is not None
        async with posting(port) as (load, stop):
            load.rate = 6.0

            async def more(than: int) -> bool:
                return len(load.accepted) >= than

            async def flows() -> None:
                before = len(load.accepted)
                await until(lambda: more(before + 10), "documents are taken")

            await flows()
            why = {"broker": await killed(project, "broker", lambda *_: first.pid)}
            second = runtime(project)
            assert second is not None
            assert (second.bootstrap_servers, second.pid != first.pid) == (first.bootstrap_servers, True)
            await flows()
            for name in ("score", "aggregate"):
                why[name] = await killed(project, name)
                await flows()
            why["export"] = await killed(project, "export", number=signal.SIGSTOP)
            said = " ".join((await rig.run("status")).out.decode().split())
            assert "export runs again; started again" in said
            await flows()
            stop.set()
            await load.over.wait()
            await load.post_again()
        assert load.other == []
        await every_document_ended_once(rig, set(load.accepted))
        assert up.code is None, up.said
        shown = msgspec.json.decode((await rig.run("status", "--json")).out, type=Snapshot)
        restarts = {one.name: one.restarts for one in shown.kept}
        assert restarts.keys() == {"broker", "score", "aggregate", "export"}
        assert restarts["broker"] == 1
        assert min(restarts["score"], restarts["aggregate"], restarts["export"]) >= 1
        assert "signal SIGKILL" in why["score"]
        how, _, words = why["broker"].partition("ended with signal SIGKILL")
        assert how.startswith("Kafka, pid ")
        assert words == "" or SAYS_ERROR.match(words.removeprefix(": ")), "no harmless line of its log"
        assert "it stood still" in why["export"]
        assert "it is stopped (state T: SIGSTOP)" in why["export"]
        metrics = fetch(f"{running(project)['up']}/metrics", PATIENCE_S).decode()
        assert 'mira_service_restarts_total{service="broker"} 1.0' in metrics
        assert 'mira_service_up{service="score"} 1.0' in metrics
        await http.stop()
        await up.stop()


async def test_a_project_that_was_broken_meanwhile_ends_up_with_its_words(rig: Rig) -> None:
    """The scorer dies and cannot start with what mira.toml says by now: a person has to mend that, no start does."""
    project = rig.project
    with rig.command("up", "--no-dashboard") as up:
        await up.until_said("Ctrl-C stops")
        await started(project)
        toml = project / "mira.toml"
        toml.write_text(toml.read_text() + "[nonsense]\n")
        os.kill(pid_of(project, "score"), signal.SIGKILL)
        assert await until(up.ended, "up ends")
        assert up.code == 3, up.said
        assert "service_died: score ended with exit code 3" in up.said
        assert "nonsense" in up.said
    assert runtime(project) is None
