"""Open transactions of a real Kafka: whose they are, whether they hang, and a marker where one is missing."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiokafka
import orjson
import pytest
from typer.testing import CliRunner

from mira_stream.cli.main import app
from mira_stream.kafka import KafkaBroker
from mira_stream.kafka.transactions import Transactions
from mira_stream.records import TopicPartition
from mira_stream.sections import BrokerSection
from mira_stream.streaming.ports import TopicSpec
from tests.machine import ROOT

pytestmark = pytest.mark.broker


@asynccontextmanager
async def open_in(kafka: str, topic: str, transactional_id: str) -> AsyncIterator[None]:
    """A record whose transaction does not end while the block runs: it may last as long as Kafka lets one."""
    broker = KafkaBroker(BrokerSection(), kafka)
    await broker.create_topics([TopicSpec(topic, 2)], 1)
    await broker.close()
    producer = aiokafka.AIOKafkaProducer(
        bootstrap_servers=kafka, transactional_id=transactional_id, transaction_timeout_ms=900_000
    )
    await producer.start()
    try:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"well?", partition=1)
        yield
    finally:
        await producer.stop()


async def stable(kafka: str, at: TopicPartition) -> tuple[int, int]:
    """Last stable offset and high watermark."""
    broker = KafkaBroker(BrokerSection(), kafka)
    reader = await broker.reader()
    try:
        return (await reader.bounds([at]))[at][1], (await reader.high_watermarks([at]))[at]
    finally:
        await reader.close()
        await broker.close()


async def test_one_that_is_under_way_is_its_owners_and_does_not_hang(kafka: str, prefix: str) -> None:
    topic = f"{prefix}.progress"
    async with open_in(kafka, topic, f"{prefix}.owner"), Transactions(BrokerSection(), kafka) as asked:
        found = await asked.examine([topic, f"{prefix}.not-there"], 0.0)
        assert [(one.partition, one.since) for one in found] == [(TopicPartition(topic, 1), 0)]
        assert list(found.values()) == [("under way", f"{prefix}.owner")]


async def test_a_marker_that_is_missing_lets_readers_go_on(kafka: str, prefix: str) -> None:
    """This one has an owner still, so that the test can make it; the marker is the same."""
    topic = f"{prefix}.progress"
    at = TopicPartition(topic, 1)
    async with open_in(kafka, topic, f"{prefix}.owner"), Transactions(BrokerSection(), kafka) as asked:
        assert await stable(kafka, at) == (0, 1)
        await asked.abort((await asked.look([topic])).open[0])
        assert await stable(kafka, at) == (2, 2)
        assert (await asked.look([topic])).open == []


async def test_the_command_shows_whose_they_are_and_touches_no_owners(kafka: str, prefix: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "mira_stream" / "demo" / "project", tmp_path, dirs_exist_ok=True)
    toml = tmp_path / "mira.toml"
    toml.write_text(f'[project]\nprefix = "{prefix}"\n' + toml.read_text())
    command = ["transactions", "--project", str(tmp_path), "--bootstrap-servers", kafka]

    async def run(*more: str) -> tuple[int, str]:
        result = await asyncio.to_thread(CliRunner().invoke, app, [*command, *more])
        return result.exit_code, result.stdout

    assert await run() == (0, "no transaction is open\n")
    topic = f"{prefix}.progress"
    async with open_in(kafka, topic, f"{prefix}.owner"):
        code, said = await run("--abort", "--yes")
        assert code == 0
        assert f"{topic}/1" in said
        assert "under way" in said
        code, said = await run("--json")
        (row,) = orjson.loads(said)["transactions"]
        assert (row["transactional_id"], row["standing"], row["aborted"]) == (f"{prefix}.owner", "under way", False)
        assert await stable(kafka, TopicPartition(topic, 1)) == (0, 1)
