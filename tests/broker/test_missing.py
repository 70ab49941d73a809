"""`produce files --missing` on a real Kafka, end to end: records deleted before they were read are sent again, once."""

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from mira_stream.audit.run import audit
from mira_stream.records import TopicPartition
from tests.faults import failpoints
from tests.faults.engines import EngineSettings
from tests.faults.kafka import Kafka
from tests.faults.services import PATIENCE_S, ROOT
from tests.faults.stream import CALM, Stream
from tests.faults.topic_faults import Admin
from tests.faults.witness import read_all

pytestmark = [pytest.mark.broker, pytest.mark.timeout(900)]

READ, UNREAD = 100, 200
PARTITIONS = 2
LOSS = 5
"""The exit code of what was lost and nobody has accepted."""


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    kafka = Kafka(tmp_path_factory.mktemp("missing") / "kafka")
    asyncio.run(kafka.start())
    yield kafka
    asyncio.run(kafka.stop())


class Rig:
    """A stream whose source is a file."""

    def __init__(self, stream: Stream, file: Path) -> None:
        self.stream, self.file = stream, file
        self.topic = stream.project.documents_topic("text")

    def append(self, first: int, end: int) -> None:
        rows = [json.dumps({"id": f"d{number}", "text": f"Note number {number}."}) for number in range(first, end)]
        with self.file.open("a") as file:
            file.write("".join(row + "\n" for row in rows))

    async def produce(self, *options: str) -> tuple[int | None, Any]:
        """`mira-stream produce files`: its exit code, and the JSON object it leaves."""
        code, out, talk = await self._run("mira_stream", options, {})
        return code, json.loads(out) if code == 0 else talk

    async def stopped_in(self, stop: str, *options: str) -> tuple[int | None, Any, str]:
        """The same, told to stop at a place of a transaction (failpoints.STOP), and what it says to people."""
        code, out, talk = await self._run("tests.faults.worker", options, {failpoints.STOP: stop})
        return code, json.loads(out) if out else None, talk

    async def _run(
        self, module: str, options: Sequence[str], environment: Mapping[str, str]
    ) -> tuple[int | None, bytes, str]:
        where = ("--project", str(self.stream.project.root), "--bootstrap-servers", self.stream.servers)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module, "produce", "files"),
            *("--corpus", f"text-a={self.file}", *where, "--json", *options),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, **environment},
        )
        out, err = await asyncio.wait_for(process.communicate(), PATIENCE_S)
        return process.returncode, out, err.decode()

    async def ids(self, topic: str, partitions: int = PARTITIONS) -> Counter[str]:
        found = await read_all(self.stream.kafka.servers, {topic: partitions})
        return Counter(json.loads(record.value)["id"] for record in found)

    async def delete_half_of_what_is_unread(self) -> None:
        """All of the first partition's, some of the others'."""
        reader = await self.stream.broker.reader()
        try:
            at = [TopicPartition(self.topic, number) for number in range(PARTITIONS)]
            bounds = await reader.bounds(at)
        finally:
            await reader.close()
        committed = await self.stream.committed(self.stream.project.consumer_group("scorer.text"), self.topic)
        async with Admin(self.stream.kafka.servers) as admin:
            for topic, number in at:
                end = bounds[at[number]][1]
                before = end if number == 0 else (committed[number] + end) // 2
                assert before > committed[number]
                await admin.delete_before(topic, number, before)


async def test_what_is_deleted_before_it_was_read_is_sent_again_once(victim: Kafka, tmp_path: Path) -> None:
    stream = await Stream.create(victim, tmp_path / "project", "missing", partitions=PARTITIONS, timeouts=CALM)
    rig = Rig(stream, tmp_path / "notes.jsonl")
    engine = EngineSettings(delay_s=0.0)
    try:
        stream.start("aggregate")
        scorer = stream.start("score", engine=engine)
        rig.append(0, READ)
        assert (await rig.produce())[1]["new"] == READ
        assert await stream.until_seen(READ)
        assert await scorer.stop() == 0, scorer.last_words()
        rig.append(READ, READ + UNREAD)
        assert (await rig.produce())[1]["new"] == UNREAD
        await rig.delete_half_of_what_is_unread()
        there = await rig.ids(rig.topic)
        gone = UNREAD - sum(times for id_, times in there.items() if int(id_[1:]) >= READ)
        assert 0 < gone < UNREAD

        code, said = await rig.produce("--missing")
        assert (code, "loss_not_accepted" in said) == (LOSS, True), said
        found = await audit(stream.project, stream.broker, None)
        assert set(found.findings_by_code) == {"deleted_unread"}
        refusing = stream.start("score", engine=engine)
        assert await refusing.wait(PATIENCE_S) == LOSS, refusing.last_words()
        assert await rig.ids(rig.topic) == there

        stream.start("score", "--accept-loss", engine=engine)
        assert await stream.until_seen(READ + UNREAD - gone)
        code, said = await rig.produce("--missing")
        assert (code, said["again"], said["new"]) == (0, gone, 0), said
        assert await stream.until_seen(READ + UNREAD)
        code, said = await rig.produce("--missing")
        assert (code, said["again"], said["new"]) == (0, 0, 0), said

        await stream.stop_services()
        everything = Counter(f"d{number}" for number in range(READ + UNREAD))
        assert await rig.ids(stream.project.topic("decisions")) == everything
        result = await audit(stream.project, stream.broker, None)
        assert (result.ok, result.lost, result.waiting, result.doubled) == (True, 0, 0, 0), result.line()
        assert result.written_off >= gone, "and markers of transactions among them"
    finally:
        await stream.close()
