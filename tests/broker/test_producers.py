"""The producers that run without end, as processes on a real Kafka: in, killed, on again, told to stop."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from mira_stream.broker_local import EmbeddedBroker
from mira_stream.config import Project, load_project
from mira_stream.kafka import KafkaBroker
from mira_stream.messages import Document, decoder
from mira_stream.observing.services import running
from mira_stream.sections import BrokerSection
from mira_stream.streaming.topics import topic_specs
from tests.frozen import freeze
from tests.ports import lasting_port

pytestmark = [pytest.mark.broker, pytest.mark.timeout(900)]
PATIENCE_S = 120.0
NEVER_S = 600.0
"""Longer than a test waits for anything."""
TOML = """
[project]
prefix = "{prefix}"
[topics]
partitions = 2
[groups.text]
family = "text"
[sources.web]
group = "text"
"""


class Rig:
    def __init__(self, project: Project, servers: str) -> None:
        self.project = project
        self.servers = servers

    @contextmanager
    def command(self, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
        """`mira-stream produce ...` as a process; killed at the end if it still runs."""
        where = ["--project", str(self.project.root), "--bootstrap-servers", self.servers, "--json"]
        process = subprocess.Popen(
            [sys.executable, "-m", "mira_stream", "produce", *arguments, *where], stdout=subprocess.PIPE, text=True
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    async def ids(self, enough: Callable[[Counter[str]], bool]) -> Counter[str]:
        """The ids of all documents in the log, as soon as they are enough."""
        broker = KafkaBroker(BrokerSection(), self.servers)
        await broker.create_topics(topic_specs(self.project), 1)
        reader = await broker.reader()
        decode = decoder(Document).decode
        try:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    partitions = await reader.partitions(self.project.documents_topic("text"))
                    bounds = await reader.bounds(partitions)
                    found = Counter(
                        [
                            decode(record.value or b"").id
                            for partition, (first, end) in bounds.items()
                            async for record in reader.read(partition, first, end)
                        ]
                    )
                    if enough(found):
                        return found
                    await asyncio.sleep(0.1)
        finally:
            await reader.close()
            await broker.close()


def ended(process: "subprocess.Popen[str]") -> tuple[int, Any]:
    """Tell it to stop; its exit code and the JSON object it leaves."""
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=PATIENCE_S)
    return process.returncode, json.loads(out)


@pytest.fixture
def rig(tmp_path: Path, prefix: str, kafka: str) -> Rig:
    (tmp_path / "mira.toml").write_text(TOML.format(prefix=prefix))
    return Rig(load_project(tmp_path), kafka)


def rows(*ids: str) -> str:
    return "".join(json.dumps({"id": id_, "text": f"text of {id_}"}) + "\n" for id_ in ids)


async def test_watch_goes_on_after_a_kill_and_drains_when_told(rig: Rig, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.jsonl").write_text(rows("a0", "a1") + '{"id":"a2",')
    with rig.command("watch", str(folder), "--source", "web", "--every", "0.1", "--lag-max", "1000"):
        await rig.ids(lambda found: "a1" in found)
    with (folder / "a.jsonl").open("a") as file:
        file.write('"text":"x"}\n')
    with rig.command("watch", str(folder), "--source", "web", "--every", "0.1", "--lag-max", "1000") as process:
        await rig.ids(lambda found: "a2" in found)
        (folder / "b.tmp").write_text(rows("b0") + "{oops\n")
        (folder / "b.tmp").rename(folder / "b.jsonl")
        found = await rig.ids(lambda found: "b0" in found)
        assert list(running(rig.project.root)) == ["produce-watch@web:in"]
        code, said = ended(process)
    assert running(rig.project.root) == {}
    assert found == Counter(["a0", "a1", "a2", "b0"])
    assert (code, said["documents"], said["rejected"], said["refused"]) == (0, 2, 1, {})


async def post(client: httpx.AsyncClient, *documents: dict[str, str]) -> httpx.Response:
    """Posted as a client should: again while nobody listens, or while it is told to wait."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                answer = await client.post("/v1/documents", json=documents)
                if answer.status_code not in (429, 503):
                    return answer
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.1)


async def test_http_takes_an_id_once_also_after_a_kill_and_drains_when_told(rig: Rig) -> None:
    """Nobody gives an answer up: what is posted again because none came would be a duplicate of itself."""
    port, answer = lasting_port(), ("--answer-s", f"{NEVER_S:g}")
    document = {"id": "a", "source": "web", "text": "some text"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=NEVER_S) as client:
        with rig.command("http", "--port", str(port), *answer):
            first = await post(client, document)
        with rig.command("http", "--port", str(port), *answer, "--lag-max", "1000") as process:
            again = await post(client, document, document | {"id": "b"})
            other = await post(client, document | {"text": "another text"})
            found = await rig.ids(lambda found: "b" in found)
            code, said = ended(process)
    assert (first.status_code, again.status_code, other.status_code) == (202, 202, 409)
    assert [receipt["status"] for receipt in again.json()["documents"]] == ["duplicate", "accepted"]
    assert found == Counter(["a", "b"])
    assert (code, said) == (0, {"service": "produce http", "stopped": True})


async def test_http_answers_while_the_broker_is_away_and_goes_on_when_it_is_back(tmp_path: Path) -> None:
    """Frozen, it answers nothing; killed, nobody listens. Either way a POST hears 503 though no Kafka client would give
    up before the test does, and what was posted again is in the log once."""
    patient = f"[broker]\nrequest_timeout_ms = {NEVER_S * 1000:.0f}\n"
    (tmp_path / "mira.toml").write_text(TOML.format(prefix="away") + patient)
    port, folder = lasting_port(), tmp_path / "kafka"
    first = EmbeddedBroker(folder, port=lasting_port())
    runtime = await asyncio.to_thread(first.start)
    rig = Rig(load_project(tmp_path), runtime.bootstrap_servers)
    document = {"id": "a", "source": "web", "text": "some text"}
    accepted: list[str] = []
    url = f"http://127.0.0.1:{port}"
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_S) as client:
        with rig.command("http", "--port", str(port), "--answer-s", "2") as process:
            assert (await post(client, document)).status_code == 202
            freeze(runtime.pid)
            for _ in range(2):  # the second time it is known (tests/flow/test_intake.py: nobody waits again)
                await away(client, document | {"id": "b"})
            metrics = running(rig.project.root)["produce-http"]
            assert 'mira_ingest_unavailable{cause="broker_silent"} 1.0' in (await client.get(f"{metrics}/metrics")).text
            assert (await client.get(f"{metrics}/readyz")).status_code == 503
            os.kill(runtime.pid, signal.SIGCONT)
            accepted += [one["id"] for one in (await post(client, document | {"id": "b"})).json()["documents"]]
            os.kill(runtime.pid, signal.SIGKILL)
            await away(client, document | {"id": "c"})
            await asyncio.to_thread(first.stop)
            second = EmbeddedBroker(folder, port=runtime.port)
            await asyncio.to_thread(second.start)
            try:
                accepted += [one["id"] for one in (await post(client, document | {"id": "c"})).json()["documents"]]
                found = await rig.ids(lambda found: "c" in found)
                code, _ = ended(process)
            finally:
                await asyncio.to_thread(second.stop)
    assert accepted == ["b", "c"]
    assert found == Counter(["a", "b", "c"])
    assert code == 0


async def away(client: httpx.AsyncClient, document: dict[str, str]) -> None:
    """The 503 that says so."""
    answer = await client.post("/v1/documents", json=document)
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["retry-after"]) >= 1
