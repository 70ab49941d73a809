"""`mira-stream offsets`, as it is typed, over the broker in memory."""

import asyncio
import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from mira_stream.cli.main import main
from mira_stream.errors import DataLossError, DependencyError, UsageError
from mira_stream.records import Outgoing, Record, TopicPartition
from mira_stream.streaming import owner
from mira_stream.streaming.ports import Broker, TopicSpec
from mira_stream.testing.broker import MemoryBroker
from tests.flow.pipeline import Pipeline, make_project, question_row, text_row, write_rows

DOCUMENTS = 60


class Typed:
    """A stream that has ended in order, and what the command says about it."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.root = root
        self._capsys = capsys
        project = make_project(root)
        write_rows(root / "notes.jsonl", list(map(text_row, range(DOCUMENTS // 2))))
        write_rows(root / "questions.jsonl", list(map(question_row, range(DOCUMENTS // 2))))
        self.pipeline = Pipeline(project, MemoryBroker(), root / "out")
        self.broker = self.pipeline.broker
        asyncio.run(self._prepare())
        asyncio.run(self.stream(DOCUMENTS))

        def connect(*_: object) -> Broker:
            return self.broker

        monkeypatch.setattr("mira_stream.cli.connect.connect", connect)

    async def _prepare(self) -> None:
        await self.pipeline.prepare()
        await self.pipeline.produce()

    async def stream(self, decisions: int) -> None:
        """All services, until so many decisions are exported."""
        self.pipeline.stop = asyncio.Event()
        for name in ("score", "aggregate", "export"):
            self.pipeline.start(name)
        await self.pipeline.until(lambda: len(self.pipeline.exported("scores")) >= decisions)
        await self.pipeline.shut_down()

    async def ended(self, service: str) -> None:
        """What the service ends with."""
        self.pipeline.stop = asyncio.Event()
        self.pipeline.start(service)
        await asyncio.wait_for(self.pipeline.tasks[service], 60)

    def commit(self, offsets: dict[TopicPartition, int], group: str) -> None:
        async def run() -> None:
            producer = await self.broker.producer("a tool")
            await producer.commit([], offsets, group)

        asyncio.run(run())

    def offsets(self, *words: str) -> tuple[int, str]:
        self._capsys.readouterr()
        code = main(["offsets", *words, "--project", str(self.root)])
        return code, self._capsys.readouterr().out

    def refused(self, *words: str) -> tuple[int, str]:
        self._capsys.readouterr()
        code = main(["offsets", *words, "--project", str(self.root)])
        return code, " ".join(self._capsys.readouterr().err.split())

    def rows(self, *words: str) -> tuple[int, dict[tuple[str, str, Any], dict[str, Any]]]:
        code, said = self.offsets(*words, "--json")
        rows = orjson.loads(said)["offsets"]
        return code, {(row["consumer_group"], row["topic"], row["partition"]): row for row in rows}


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    monkeypatch.setattr("consumers.exporter.FILE_LINGER_S", 0.0)
    return Typed(tmp_path, monkeypatch, capsys)


def test_a_log_that_begins_behind_what_was_read_is_told_with_its_way_out(typed: Typed) -> None:
    _, rows = typed.rows()
    _, topic, number = key = next(key for key in rows if key[0] == "mira.scorer.text")
    partition = TopicPartition(topic, number)
    for _ in range(3):
        typed.broker.append(topic, b"k", b"{}", number)
    typed.broker.delete_before(partition, rows[key]["committed"])
    assert typed.rows()[0] == 0, "nothing unread is gone"
    typed.broker.delete_before(partition, rows[key]["committed"] + 3)
    code, rows = typed.rows()
    assert (code, rows[key]["standing"]) == (1, "records deleted")
    code, said = typed.offsets("--restore", "--yes")
    assert code == 1
    assert "--accept-loss" in said
    assert "--missing" in said
    with pytest.raises(DataLossError, match="records_deleted"):
        asyncio.run(typed.ended("score"))


def test_offsets_that_were_moved_or_forgotten_are_set_back_and_the_stream_goes_on(typed: Typed) -> None:
    code, rows = typed.rows()
    assert (code, {row["standing"] for row in rows.values()}) == (0, {"agrees"})
    moved = ("mira.aggregator", "mira.scores", next(n for g, t, n in rows if g == "mira.aggregator"))
    stood = rows[moved]["committed"]
    assert stood > 1
    typed.commit({TopicPartition(*moved[1:]): 1}, moved[0])
    typed.broker.forget_offsets("mira.scorer.text")
    code, rows = typed.rows()
    assert code == 1
    assert (rows[moved]["standing"], rows[moved]["committed"], rows[moved]["progress"]) == ("moved", 1, stood)
    assert {row["standing"] for row in rows.values() if row["consumer_group"] == "mira.scorer.text"} == {"forgotten"}
    code, said = typed.offsets("--restore")
    assert code == 1
    assert "nothing was set" in said
    code, rows = typed.rows("--restore", "--yes")
    assert (code, rows[moved]["set_to"]) == (0, stood)
    code, rows = typed.rows()
    assert (code, {row["standing"] for row in rows.values()}) == (0, {"agrees"})
    write_rows(typed.root / "notes.jsonl", list(map(text_row, range(DOCUMENTS))))
    asyncio.run(_more(typed))
    assert len(set(typed.pipeline.exported("scores"))) == DOCUMENTS * 3 // 2
    assert len(typed.pipeline.decisions()) == DOCUMENTS * 3 // 2


async def _more(typed: Typed) -> None:
    await typed.pipeline.produce()
    await typed.stream(DOCUMENTS * 3 // 2)


def test_a_topic_that_was_made_anew_is_left_alone(typed: Typed) -> None:
    typed.broker.delete_topic("mira.documents.text")
    asyncio.run(typed.broker.create_topics([TopicSpec("mira.documents.text", 3)], 1))
    code, rows = typed.rows("--restore", "--yes")
    found = [row for row in rows.values() if row["topic"] == "mira.documents.text"]
    assert code == 1
    assert {(row["standing"], row["set_to"]) for row in found} == {("topic made anew", None)}
    code, said = typed.offsets()
    assert code == 1
    assert "topic_made_anew in deploy/OPERATING.md" in said


def test_a_scorer_without_progress_is_told_what_to_do(typed: Typed) -> None:
    """Aggregator and exporter go on from their offsets, and begin to write one."""
    typed.broker.delete_topic("mira.progress")
    asyncio.run(typed.broker.create_topics([TopicSpec("mira.progress", 3)], 1))
    code, rows = typed.rows()
    assert code == 1
    assert {row["standing"] for row in rows.values()} == {"no progress"}
    told = {row["consumer_group"] for row in rows.values() if row["way_out"] is not None}
    assert told == {"mira.scorer.qa", "mira.scorer.text"}
    assert "mira-stream score --accept-loss" in typed.offsets()[1]


def test_a_topic_that_is_gone_is_named(typed: Typed) -> None:
    typed.broker.delete_topic("mira.documents.text")
    code, rows = typed.rows()
    assert code == 1
    assert rows["mira.scorer.text", "mira.documents.text", None]["standing"] == "no topic"
    code, said = typed.offsets()
    assert code == 1
    assert "mira.documents.text: there is no such topic" in said.replace("\n", " ")


STANDS_IN = {
    "mira.documents.text": ("score", "mira.scorer.text"),
    "mira.scores": ("aggregate", "mira.aggregator"),
    "mira.decisions": ("export", "mira.exporter"),
}


@pytest.mark.parametrize("topic", STANDS_IN)
def test_a_restored_topic_is_gone_on_in_once_a_person_says_so(
    typed: Typed, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, "REOPEN_S", (0.0,))
    service, group = STANDS_IN[topic]
    concerned = ("mira.scores", "mira.documents.qa", "mira.documents.text") if topic == "mira.scores" else (topic,)
    before = {key: row["committed"] for key, row in typed.rows()[1].items() if key[1] in concerned}
    typed.broker.restore_topic(topic)
    typed.broker.forget_offsets(group)  # as a broker may, with the topic
    way_out = f"mira-stream offsets --same-topic {topic} --yes"
    with pytest.raises(DataLossError, match=f"topic_made_anew.*{way_out[len('mira-stream offsets ') :]}"):
        asyncio.run(typed.ended(service))
    code, said = typed.offsets()
    assert code == 1
    assert way_out in said.replace("\n", " ")
    said_before = typed.broker.records("mira.progress")
    code, said = typed.offsets("--same-topic", topic)
    assert code == 1
    assert "nothing was set" in said
    assert typed.broker.records("mira.progress") == said_before
    code, rows = typed.rows("--same-topic", topic, "--yes")
    assert code == 0
    assert {key: row["set_to"] for key, row in rows.items() if row["set_to"] is not None} == before
    code, rows = typed.rows()
    assert (code, {row["standing"] for row in rows.values()}) == (0, {"agrees"})
    write_rows(typed.root / "notes.jsonl", list(map(text_row, range(DOCUMENTS))))
    asyncio.run(_more(typed))
    assert len(typed.pipeline.exported("scores")) == DOCUMENTS * 3 // 2
    assert len(set(typed.pipeline.exported("scores"))) == DOCUMENTS * 3 // 2
    assert len(typed.pipeline.decisions()) == DOCUMENTS * 3 // 2


def make_anew(typed: Typed, topic: str, records: list[Record]) -> None:
    typed.broker.delete_topic(topic)
    partitions = 1 + max((one.partition for one in records), default=2)
    asyncio.run(typed.broker.create_topics([TopicSpec(topic, partitions)], 1))
    for one in records:
        typed.broker.append(topic, one.key, one.value or b"", one.partition, one.headers, one.timestamp_ms)


async def abort(typed: Typed, topic: str, times: int) -> None:
    """Fill each partition with what nobody reads."""
    for partition in range(3):
        producer = await typed.broker.producer("a tool")
        records = [Outgoing(topic, None, b"", partition)] * times
        typed.broker.fail_next_commit("aborted", "a tool")
        with pytest.raises(DependencyError):
            await producer.commit(records, {}, None)


@pytest.mark.parametrize(
    ("topic", "change", "cause"),
    [
        ("mira.documents.text", "cut", "ends at"),
        ("mira.documents.text", "of other times", "ms, and the record there has"),
        ("mira.scores", "without markers", "ends at"),
        ("mira.scores", "without markers, and more behind", "a result is of '"),
        ("mira.decisions", "without markers", "ends at"),
        ("mira.decisions", "with markers in place of records", "and no record is there"),
    ],
)
def test_a_topic_that_is_visibly_another_is_refused(typed: Typed, topic: str, change: str, cause: str) -> None:
    """Copied record by record: markers of transactions take offsets, too."""
    records = typed.broker.records(topic)
    match change:
        case "cut":
            records = [one for one in records if one.offset < 3]
        case "of other times":
            records = [one._replace(timestamp_ms=one.timestamp_ms + 1000) for one in records]
        case "without markers, and more behind":
            records += records
        case "with markers in place of records":
            records = []
        case _:
            pass
    make_anew(typed, topic, records)
    if change in ("of other times", "with markers in place of records"):  # no stage has read beyond its end
        asyncio.run(abort(typed, topic, 3 * DOCUMENTS))
    said_before = typed.broker.records("mira.progress")
    code, said = typed.refused("--same-topic", topic, "--yes")
    assert code == DataLossError.exit_code
    assert re.search(rf"another_log: {topic}/\d.*{cause}", said)
    assert typed.broker.records("mira.progress") == said_before


def test_a_topic_without_the_partition_of_a_result_is_refused(typed: Typed) -> None:
    records = [one for one in typed.broker.records("mira.documents.text") if one.partition == 0]
    make_anew(typed, "mira.documents.text", records * 3)
    code, said = typed.refused("--same-topic", "mira.documents.text", "--yes")
    assert code == DataLossError.exit_code
    assert "the topic has 1 partitions" in said


def test_what_does_not_go_together_is_refused(typed: Typed) -> None:
    assert typed.offsets("--same-topic", "mira.progress", "--yes")[0] == UsageError.exit_code
    assert typed.offsets("--same-topic", "mira.scores", "--restore", "--yes")[0] == UsageError.exit_code
    assert typed.offsets("--same-topic", "mira.scores", "--yes")[0] == 0  # as it was: nothing to say


def test_yes_alone_is_refused(typed: Typed) -> None:
    assert typed.offsets("--yes")[0] != 0
