"""A small project and all its services over the in-memory broker, with scripted engines."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import orjson

from consumers.aggregator import aggregate
from consumers.exporter import export
from consumers.scorer import score
from mira_stream.config import Project, load_project
from mira_stream.messages import DeadLetter, Decision, Epoch, M, decoder
from mira_stream.parquet import read_columns
from mira_stream.scoring.lineage import lineage
from mira_stream.selecting.publish import publish
from mira_stream.streaming.metrics import Metrics
from mira_stream.streaming.topics import topic_specs
from mira_stream.testing.broker import MemoryBroker
from mira_stream.testing.engine import ScriptedEngine
from producers.files import Produced, produce

PROJECT = """
[topics]
partitions = 3
[limits]
transaction_linger_s = 0.0
checkpoint_cards = 40
in_flight_documents = 16
[groups.text]
family = "text"
engine = "openai"
base_urls = ["http://127.0.0.1:1"]
model = "scripted"
[groups.qa]
family = "qa"
engine = "openai"
base_urls = ["http://127.0.0.1:1"]
model = "scripted"
[sources.notes]
group = "text"
path = "notes.jsonl"
retention = 0.4
[sources.questions]
group = "qa"
path = "questions.jsonl"
"""


def make_project(root: Path) -> Project:
    """A project of two groups without students: engines are scripted."""
    (root / "mira.toml").write_text(PROJECT)
    for group in ("text", "qa"):
        (root / "rubrics").mkdir(exist_ok=True)
        header = {"schema": "rubric.v1", "group": group, "teacher": "scripted", "created_by": "test"}
        anchors = [
            {
                "schema": "anchor.v1",
                "slot": f"A{n}",
                "name": f"Dimension {n}",
                "description": "d",
                "examples": [{"score": 5, "reason": "r"}],
            }
            for n in range(1, 16)
        ]
        (root / "rubrics" / f"{group}.jsonl").write_bytes(b"\n".join(orjson.dumps(x) for x in [header, *anchors]))
        prompts = root / "prompts" / group
        prompts.mkdir(parents=True)
        (prompts / "system.txt").write_text("${calibration}")
        (prompts / "user.txt").write_text("${dimensions}\n${document}")
    return load_project(root, {})


def write_rows(path: Path, rows: list[object]) -> None:
    path.write_bytes(b"".join((row if isinstance(row, bytes) else orjson.dumps(row)) + b"\n" for row in rows))


def text_row(number: int) -> dict[str, object]:
    return {"id": f"note-{number}", "text": f"Note number {number} says something worth reading.", "year": number}


def question_row(number: int) -> dict[str, object]:
    return {"id": f"q-{number}", "parts": {"question": f"What is {number}?", "answer": f"It is the number {number}."}}


class Pipeline:
    """The services of a project; each can be killed and started again."""

    def __init__(self, project: Project, broker: MemoryBroker, out: Path) -> None:
        self.project, self.broker, self.out = project, broker, out
        self.engines: list[ScriptedEngine] = []
        self.metrics = Metrics()
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.stop = asyncio.Event()
        self._services: dict[str, Callable[[], Awaitable[None]]] = {
            "score": lambda: score(project, broker, ["qa", "text"], self.metrics, self.stop, self._engine),
            "aggregate": lambda: aggregate(project, broker, self.metrics, self.stop),
            "export": lambda: export(project, broker, out, self.metrics, self.stop),
        }

    def _engine(self, project: Project, group: str) -> ScriptedEngine:
        self.engines.append(ScriptedEngine())
        return self.engines[-1]

    async def prepare(self) -> None:
        await self.broker.create_topics(topic_specs(self.project), 1)
        await publish(self.broker, self.project, lineage, read_columns)

    async def produce(self) -> dict[str, Produced]:
        return await produce(self.broker, self.project, self.project.settings.sources)

    def start(self, name: str) -> None:
        self.tasks[name] = asyncio.ensure_future(self._services[name]())

    async def kill(self, name: str) -> None:
        """End the service without any goodbye of its own."""
        self.tasks[name].cancel()
        await asyncio.gather(self.tasks[name], return_exceptions=True)

    async def until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not reached():
                for task in self.tasks.values():
                    if task.done():
                        task.result()
                await asyncio.sleep(0)

    async def shut_down(self) -> None:
        self.stop.set()
        await asyncio.gather(*self.tasks.values())

    def count(self, topic: str) -> int:
        return len(self.broker.records(self.project.topic(topic)))

    def decisions(self) -> list[Decision]:
        return self._read("decisions", Decision)

    def epochs(self) -> list[Epoch]:
        return self._read("epochs", Epoch)

    def dead_letters(self) -> list[DeadLetter]:
        return self._read("dead-letters", DeadLetter)

    def _read(self, topic: str, kind: type[M]) -> list[M]:
        decode = decoder(kind).decode
        return [decode(record.value or b"") for record in self.broker.records(self.project.topic(topic))]

    def exported(self, folder: str, column: str = "id") -> list[object]:
        """A column of all Parquet files under `kept` or `scores`."""
        files = sorted((self.out / folder).rglob("*.parquet"))
        return [value for file in files for value in read_columns(file, [column])[column]]
