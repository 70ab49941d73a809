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
from mira_stream.observing.services import fetch, kept_alive, running
from mira_stream.observing.snapshot import KeptRow, Snapshot
from mira_stream.supervision.supervisor import free_port
from tests.e2e.test_episode import PATIENCE_S, Rig, every_document_ended_once, posting, rig, until

__all__ = ["rig"]
pytestmark = [pytest.mark.broker, pytest.mark.timeout(900)]


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


async def killed(project: Path, name: str, pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Killed or stopped, noticed, and started again."""
    before = await kept_where(project, name, lambda one: one.state == "runs")
    os.kill(pid, number)
    dead = await kept_where(project, name, lambda one: one.restarts > before.restarts)
    assert dead.died_ms is not None
    await kept_where(project, name, lambda one: one.state == "runs")
    await started(project)


async def started(project: Path) -> None:
    """Every service has read its configuration and come up."""

    async def look() -> bool:
        try:
            return all(fetch(f"{url}/startupz") for url in running(project).values())
        except (OSError, HTTPException):
            return False

    await until(look, "all services are up")


async def test_what_dies_under_up_is_started_again_and_nothing_is_lost_or_doubled(rig: Rig) -> None:
    port, project = free_port(), rig.project
    with ExitStack() as stack:
        up = stack.enter_context(rig.command("up", "--no-dashboard", "--json", "--frozen-s", "15"))
        await up.until_said("Ctrl-C stops")
        http = stack.enter_context(rig.command("produce", "http", "--port", str(port), "--answer-s", "2"))
        await http.until_said("POST http")
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
            await killed(project, "broker", first.pid)
            second = runtime(project)
            assert second is not None
            assert (second.bootstrap_servers, second.pid != first.pid) == (first.bootstrap_servers, True)
            await flows()
            for name in ("score", "aggregate"):
                await killed(project, name, pid_of(project, name))
                await flows()
            await killed(project, "export", pid_of(project, "export"), signal.SIGSTOP)
            await flows()
            while load.unavailable:  # who was told that the broker is away posts the same again
                for number in list(load.unavailable):
                    await load.post(number)
            stop.set()
        assert load.unavailable == set()
        assert load.other == []
        await every_document_ended_once(rig, set(load.accepted))
        assert up.code is None, up.said
        shown = msgspec.json.decode((await rig.run("status", "--json")).out, type=Snapshot)
        restarts = {one.name: one.restarts for one in shown.kept}
        assert restarts.keys() == {"broker", "score", "aggregate", "export"}
        assert restarts["broker"] == 1
        assert min(restarts["score"], restarts["aggregate"], restarts["export"]) >= 1
        why = {one.name: one.why for one in shown.kept}
        assert "signal SIGKILL" in why["score"]
        assert why["broker"].endswith("ended with signal SIGKILL"), "no harmless line of its log"
        assert "it stood still" in why["export"]
        assert "it is stopped (state T: SIGSTOP)" in why["export"]
        metrics = fetch(f"{running(project)['up']}/metrics", PATIENCE_S).decode()
        assert 'mira_service_restarts_total{service="broker"} 1.0' in metrics
        assert 'mira_service_up{service="score"} 1.0' in metrics
        said = " ".join((await rig.run("status")).out.decode().split())
        assert "export runs again; started again" in said
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
