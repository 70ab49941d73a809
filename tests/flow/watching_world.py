"""A project's topics in memory: documents and decisions on them, a scripted teacher, watches that come and go."""

import asyncio
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

from consumers import watcher
from mira_stream.config import Project
from mira_stream.errors import EngineError
from mira_stream.label_messages import TeacherLabel
from mira_stream.messages import CardPosition, Decision, Document, Origin, decoder, encode
from mira_stream.reliability.monitor import Status
from mira_stream.scorecard import Reply, write
from mira_stream.scoring.lineage import lineage
from mira_stream.streaming.metrics import Metrics
from mira_stream.streaming.topics import topic_specs
from mira_stream.teaching.cost import Budget, Price
from mira_stream.teaching.journal import Journal
from mira_stream.teaching.pace import Limits
from mira_stream.teaching.port import Answer, Question
from mira_stream.testing.broker import MemoryBroker
from mira_stream.watching.desk import Desk
from mira_stream.watching.follower import LabelFollower
from mira_stream.watching.ports import WatchMetrics
from mira_stream.watching.sampling import Sampling
from tests.flow.pipeline import make_project

HOUR_MS = 3_600_000
START_MS = 1_700_000_000_000
PRICE = Price(1.0, 10.0)
EVERY = 2.0
"""A share whose uniform half is all documents."""


def teacher_scores(view: str) -> list[int]:
    """Fifteen scores 1..10 from a hash of the view."""
    return [1 + byte % 10 for byte in blake2b(view.encode(), digest_size=15).digest()]


def reply_of(view: str) -> str:
    scores = teacher_scores(view)
    return write(Reply(scores, 50, "keep"), "scores_first", "scores", [""] * 15)


class ScriptedTeacher:
    """Answers by a hash of what it is shown; `answer` may be set to anything else. Counts what it was asked."""

    model = "scripted"
    temperature = 0.0

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.answer: Callable[[Question], str] = lambda question: reply_of(view_in(question))
        self.down = False
        self.hold: asyncio.Event | None = None
        self.begun = 0

    async def ask(self, question: Question, attempt: int) -> Answer:
        if self.down:
            raise EngineError("connection refused", retriable=True)
        self.begun += 1
        if self.hold is not None:
            await self.hold.wait()
        self.asked.append((question.key, attempt))
        return Answer(self.answer(question), "stop", 100, 20)


def view_in(question: Question) -> str:
    return question.messages[-1]["content"].split("\n")[-1]


class WatchingWorld:
    def __init__(self, project: Project, root: Path) -> None:
        self.project, self.root = project, root
        self.broker = MemoryBroker()
        self.teacher = ScriptedTeacher()
        self.metrics = Metrics()
        self.count = 0
        self.lineage = lineage(project, "text")
        self.statuses: list[Status] = []
        self.slept = 0.0

    @classmethod
    async def create(cls, root: Path) -> "WatchingWorld":
        world = cls(make_project(root), root)
        await world.broker.create_topics(topic_specs(world.project), 1)
        return world

    def decide(self, count: int, at_ms: int = START_MS, reason: str = "above", **changes: object) -> None:
        """Documents of source `notes` (or of `source` among the changes), entered at START_MS, and decisions at `at_ms`
        by a student that agrees with the teacher."""
        for _ in range(count):
            number, self.count = self.count, self.count + 1
            text = f"Note number {number} says something worth reading."
            document = Document(id=f"note-{number}", source=str(changes.get("source", "notes")), text=text)
            topic = self.project.documents_topic("text")
            record = self.broker.append(topic, document.id.encode(), encode(document), timestamp_ms=START_MS)
            origin = Origin(topic=topic, partition=record.partition, offset=record.offset, timestamp_ms=START_MS)
            scores = [float(score) for score in teacher_scores(text)]
            self.append_decision(document, origin, scores, reason, changes, at_ms)

    def append_decision(
        self,
        document: Document,
        origin: Origin,
        scores: list[float],
        reason: str,
        changes: dict[str, object],
        at_ms: int = START_MS,
    ) -> None:
        fields: dict[str, object] = {
            "id": document.id,
            "source": "notes",
            "group": "text",
            "origin": origin,
            "card": CardPosition(partition=0, offset=origin.offset),
            "lineage": self.lineage,
            "mask": "m1",
            "epoch_of": "notes",
            "epoch": 0,
            "policy": 0,
            "decision": "keep",
            "selected": True,
            "reason": reason,
            "quality": 50.0,
            "dimensions_used": [f"A{slot}" for slot in range(1, 15)],
            "scores": scores,
        }
        decision = Decision(**(fields | changes))  # type: ignore[arg-type]
        topic = self.project.topic("decisions")
        self.broker.append(topic, document.id.encode(), encode(decision), origin.partition, timestamp_ms=at_ms)

    async def watch(
        self,
        stop: asyncio.Event | None = None,
        share: float = EVERY,
        budget: Budget = Budget(),  # noqa: B008 - frozen
        once: bool = True,
        patient: bool = False,
        silent_s: float = 5.0,
    ) -> tuple[Status, LabelFollower]:
        """One life of the service, from its journal's opening to its end."""
        plan = watcher.Plan(["text"], Sampling(share, 0.1), HOUR_MS, once)
        with Journal(self.root / "work" / "watch-text.journal", {"answers": "watch"}) as journal:

            def open_desk(spent: tuple[int, int], counts: WatchMetrics) -> Desk:
                return Desk(
                    self.teacher,
                    journal,
                    Limits(4, attempts=2, silent_s=silent_s),
                    budget,
                    PRICE,
                    counts,
                    patient=patient,
                    spent=spent,
                    now=lambda: self.slept,
                    sleep=self.sleep,
                )

            return await watcher.watch(
                self.project, self.broker, plan, open_desk, self.fresh_metrics(), stop or asyncio.Event(), self.hear
            )

    def fresh_metrics(self) -> Metrics:
        self.metrics = Metrics()
        return self.metrics

    def hear(self, status: Status) -> None:
        self.statuses.append(status)

    async def sleep(self, seconds: float) -> None:
        """The desk's time passes as fast as it is slept."""
        self.slept += seconds
        await asyncio.sleep(0)

    async def until(self, task: "asyncio.Task[object]", reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not reached():
                if task.done():
                    task.result()
                await asyncio.sleep(0)

    def labels(self) -> list[TeacherLabel]:
        decode = decoder(TeacherLabel).decode
        return [decode(record.value or b"") for record in self.broker.records("mira.teacher-labels")]

    def counted(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0
