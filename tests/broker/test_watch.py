"""`mira-stream reliability watch` on real Kafka with the feature judge as teacher: run twice, it labels once."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
import structlog

import mira_stream.demo
from mira_stream.cli.main import main
from mira_stream.config import Project, load_project
from mira_stream.kafka import KafkaBroker
from mira_stream.label_messages import TeacherLabel
from mira_stream.messages import SLOTS, CardPosition, Decision, Document, Origin, decoder, encode
from mira_stream.records import Outgoing
from mira_stream.scoring.lineage import lineage
from mira_stream.sections import BrokerSection
from mira_stream.streaming import service
from mira_stream.streaming.topics import topic_specs
from tests.settled import settle

pytestmark = pytest.mark.broker

DOCUMENTS = 130
TEXT = "Reading number {n} of the gauge was taken at noon. It shows what the others show, only later.\n" * 3


@pytest.fixture
def project(tmp_path: Path, prefix: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """The demo's text group under a prefix of its own."""
    shutil.copytree(Path(mira_stream.demo.__path__[0]) / "project", tmp_path / "project")
    monkeypatch.setenv("MIRA_PROJECT__PREFIX", f'"{prefix}"')
    # A service's log would go on to the standard error of this test, which ends before the process.
    monkeypatch.setattr(service, "log_to_stderr", lambda: None)
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    yield load_project(tmp_path / "project")
    structlog.reset_defaults()


async def fill(project: Project, servers: str) -> None:
    """Documents, and decisions of a student that always says five."""
    broker = KafkaBroker(BrokerSection(), servers)
    await broker.create_topics(topic_specs(project), 1)
    producer = await broker.producer("test")
    topic, means = project.documents_topic("text"), lineage(project, "text")
    documents = [Document(id=f"d{n}", source="stdlib", text=TEXT.format(n=n)) for n in range(DOCUMENTS)]
    await producer.commit([Outgoing(topic, d.id.encode(), encode(d), 0) for d in documents], {}, None)
    decisions = [
        Decision(
            id=document.id, source="stdlib", group="text", lineage=means, mask="m", epoch_of="stdlib", epoch=0,
            policy=0, origin=Origin(topic=topic, partition=0, offset=offset, timestamp_ms=1_700_000_000_000),
            card=CardPosition(partition=0, offset=offset), decision="keep", selected=True, reason="band", quality=50.0,
            dimensions_used=list(SLOTS), scores=[5.0] * 15,
        )
        for offset, document in enumerate(documents)
    ]  # fmt: skip
    name = project.topic("decisions")
    await producer.commit([Outgoing(name, one.id.encode(), encode(one), 0) for one in decisions], {}, None)
    await producer.close()
    await settle(broker, "test")
    await broker.close()


async def labels(project: Project, servers: str) -> list[TeacherLabel]:
    broker = KafkaBroker(BrokerSection(), servers)
    reader = await broker.reader()
    found = []
    for partition, (first, end) in (
        await reader.bounds(await reader.partitions(project.topic("teacher-labels")))
    ).items():
        async for record in reader.read(partition, first, end):
            found.append(decoder(TeacherLabel).decode(record.value or b""))  # noqa: PERF401
    await reader.close()
    await broker.close()
    return found


def test_the_command_labels_once_and_says_how_the_cells_stand(
    project: Project, kafka: str, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    asyncio.run(fill(project, kafka))
    arguments = [
        "reliability",
        "watch",
        "--project",
        str(project.root),
        "--bootstrap-servers",
        kafka,
        "-g",
        "text",
        "--share",
        "1",
        "--once",
    ]
    reports = []
    for _ in range(2):
        assert main([*arguments, "--json"]) == 0
        reports.append(orjson.loads(capsysbinary.readouterr().out))
    assert reports[0] == reports[1]
    assert reports[0]["labels"] == {"answered": DOCUMENTS, "unanswered": {}}
    assert reports[0]["tokens"]["prompt"] > 0
    assert [cell["dimension"] for cell in reports[0]["cells"]] == list(SLOTS)
    assert {cell["n"] for cell in reports[0]["cells"]} == {DOCUMENTS}
    assert {cell["rho"] for cell in reports[0]["cells"]} == {None}, "the student says the same of all"
    found = asyncio.run(labels(project, kafka))
    assert sorted(label.id for label in found) == sorted(f"d{n}" for n in range(DOCUMENTS))
    assert {label.teacher for label in found} == {"featurejudge"}
    assert all(label.scores is not None and None not in label.scores for label in found)
