"""`mira-stream offsets`, as it is typed, over the broker in memory."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from mira_stream.cli.main import main
from mira_stream.records import TopicPartition
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

    def commit(self, offsets: dict[TopicPartition, int], group: str) -> None:
        async def run() -> None:
            producer = await self.broker.producer("a tool")
            await producer.commit([], offsets, group)

        asyncio.run(run())

    def offsets(self, *words: str) -> tuple[int, str]:
        self._capsys.readouterr()
        code = main(["offsets", *words, "--project", str(self.root)])
        return code, self._capsys.readouterr().out

    def rows(self, *words: str) -> tuple[int, dict[tuple[str, str, Any], dict[str, Any]]]:
        code, said = self.offsets(*words, "--json")
        rows = orjson.loads(said)["offsets"]
        return code, {(row["consumer_group"], row["topic"], row["partition"]): row for row in rows}


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    monkeypatch.setattr("consumers.exporter.FILE_LINGER_S", 0.0)
    return Typed(tmp_path, monkeypatch, capsys)


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


def test_yes_alone_is_refused(typed: Typed) -> None:
    assert typed.offsets("--yes")[0] != 0
