"""The doctor at a real Kafka: what it reads there is what it judges."""

import asyncio
from pathlib import Path

import orjson
import pytest

from mira_stream.cli.main import main
from mira_stream.config import load_project
from mira_stream.kafka import KafkaBroker
from mira_stream.records import Outgoing
from mira_stream.streaming.partitioner import partition_of
from mira_stream.streaming.topics import topic_specs
from tests.settled import settle

pytestmark = pytest.mark.broker


def examined(root: Path, kafka: str, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, dict[str, str]]:
    with pytest.MonkeyPatch.context() as patch:  # other tests keep the cores busy
        patch.setattr("mira_stream.doctor.verdict.LIMIT_S", 60.0)
        patch.setattr("mira_stream.doctor.broker.ANSWER_S", 50.0)
        main(["doctor", "--project", str(root), "--bootstrap-servers", kafka, "--json", *more])
    return {one["check"]: one for one in orjson.loads(capsys.readouterr().out)["checks"]}


async def create(root: Path, kafka: str) -> None:
    project = load_project(root, {})
    broker = KafkaBroker(project.settings.broker, kafka)
    await broker.create_topics(topic_specs(project), 1)
    await broker.close()


async def keep_state(root: Path, kafka: str, group: str, partition: int) -> None:
    project = load_project(root, {})
    broker = KafkaBroker(project.settings.broker, kafka)
    producer = await broker.producer(project.topic("test"))
    value = b'{"schema":"source_state.v1","group":"%s"}' % group.encode()
    await producer.commit([Outgoing(project.topic("state"), b"s|l|m", value, partition)], {}, None)
    await producer.close()
    await settle(broker, project.topic("test"))
    await broker.close()


def test_a_state_on_another_partition_than_its_cards_is_found(
    tmp_path: Path, kafka: str, prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mira.toml").write_text(f'[project]\nprefix = "{prefix}"\n[groups.g]\nfamily = "text"\n')
    asyncio.run(create(tmp_path, kafka))
    home = partition_of(b"g", 4)
    asyncio.run(keep_state(tmp_path, kafka, "g", home))
    assert examined(tmp_path, kafka, capsys, "--read-only")["broker: score log"]["status"] == "ok"
    asyncio.run(keep_state(tmp_path, kafka, "g", (home + 1) % 4))
    found = examined(tmp_path, kafka, capsys, "--read-only")["broker: score log"]
    assert found["status"] == "fail"
    assert "score_log_moved" in str(found)


def test_a_real_broker_is_examined(tmp_path: Path, kafka: str, prefix: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mira.toml").write_text(f'[project]\nprefix = "{prefix}"\n[groups.g]\nfamily = "text"\n')
    before = examined(tmp_path, kafka, capsys, "--read-only")
    assert before["broker: topics"]["status"] == "warn"
    assert before["broker: transaction"]["status"] == "skipped"
    asyncio.run(create(tmp_path, kafka))
    found = examined(tmp_path, kafka, capsys)
    names = [
        "reached",
        "topics",
        "cleanup",
        "replication",
        "offsets",
        "message sizes",
        "transaction",
        "clock",
        "score log",
    ]
    names += ["score log", "rights on topics", "rights on groups", "rights on transactions"]
    trouble = [found[f"broker: {name}"] for name in names if found[f"broker: {name}"]["status"] != "ok"]
    assert not trouble, trouble
    assert found["broker: version"]["status"] == "warn", "the embedded Kafka, met as one of somebody else"
    (tmp_path / "mira.toml").write_text(
        f'[project]\nprefix = "{prefix}"\n[groups.g]\nfamily = "text"\n[ingest]\ninline_bytes_max = 99000000\n'
    )
    assert examined(tmp_path, kafka, capsys, "--read-only")["broker: message sizes"]["status"] == "fail"
