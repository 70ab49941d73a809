"""`demo --teacher`: an OpenAI-compatible endpoint judges a few of the streamed documents beside the students."""

import asyncio
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Final, NamedTuple

from msgspec.structs import replace

from mira_stream.config import Project
from mira_stream.demo.outcome import Agreement
from mira_stream.errors import DependencyError, DocumentError, EngineError
from mira_stream.messages import SLOTS, Decision
from mira_stream.openai_engine import OpenAIEngine
from mira_stream.openai_engine.engine import api_key
from mira_stream.records import LogReader, TopicPartition
from mira_stream.reliability.metrics import spearman
from mira_stream.scoring.handler import ScoringFactory
from mira_stream.streaming.metrics import Metrics

DOCUMENTS: Final = 20
REPLY_TOKENS_MAX: Final = 4_096
"""A teacher may think before it answers."""
CONTEXT_TOKENS_MAX: Final = 32_768
REQUEST_TIMEOUT_S: Final = 300.0

Scores = Sequence[float | None]


class Teacher(NamedTuple):
    """`--teacher URL --model M`; the key, if any, is in the variable that [teacher] api_key_env names."""

    url: str
    model: str

    async def beside(self, project: Project, reader: LogReader, decisions: Sequence[Decision]) -> list[Agreement]:
        """Judge DOCUMENTS documents, spread over the groups. Raises DependencyError or ConfigError."""
        chosen = choose(decisions, DOCUMENTS)
        groups = sorted({decision.group for decision in chosen})
        return [
            await self._judge_group(
                project, group, [decision for decision in chosen if decision.group == group], reader
            )
            for group in groups
        ]

    async def _judge_group(
        self, project: Project, group: str, decisions: Sequence[Decision], reader: LogReader
    ) -> Agreement:
        engine = OpenAIEngine(
            [self.url],
            self.model,
            api_key=api_key(project.settings.teacher.api_key_env),
            timeout_s=REQUEST_TIMEOUT_S,
            vllm_fields=False,
            student=project.student_path(group),
        )
        await engine.start()
        try:
            factory = ScoringFactory(_unconstrained(project, group), group, engine, Metrics())
            limit = asyncio.Semaphore(project.settings.teacher.concurrency)

            async def judge(number: int, decision: Decision) -> tuple[Scores, Scores] | None:
                async with limit:
                    return await _judge(factory, reader, decision, f"teacher-{number}")

            pairs = await asyncio.gather(*(judge(number, decision) for number, decision in enumerate(decisions)))
        except EngineError as error:
            raise DependencyError(
                "teacher_failed", f"{self.url}: {error}", "look at the teacher's own log, or try another --model"
            ) from None
        finally:
            await engine.stop()
        return agreement(group, self.model, [pair for pair in pairs if pair is not None])


def choose(decisions: Sequence[Decision], count: int) -> list[Decision]:
    """`count` decisions, the sources taking turns: what came in first of each."""
    by_source: dict[str, list[Decision]] = {}
    for decision in sorted(decisions, key=lambda decision: (decision.source, decision.id)):
        by_source.setdefault(decision.source, []).append(decision)
    turns: Iterator[Decision] = (
        decision for turn in zip_longest(*by_source.values()) for decision in turn if decision is not None
    )
    return [decision for decision, _ in zip(turns, range(count), strict=False)]


def agreement(group: str, teacher: str, pairs: Sequence[tuple[Scores, Scores]]) -> Agreement:
    """MAE and rho a dimension over the documents on which both have a score; None where that is undefined."""
    maes: list[float | None] = []
    rhos: list[float | None] = []
    for i in range(len(SLOTS)):
        both = [(a, b) for wanted, given in pairs if (a := wanted[i]) is not None and (b := given[i]) is not None]
        maes.append(sum(abs(a - b) for a, b in both) / len(both) if both else None)
        rhos.append(spearman([a for a, _ in both], [b for _, b in both]) if len(both) > 1 else None)
    return Agreement(group, teacher, len(pairs), maes, rhos)


async def _judge(
    factory: ScoringFactory, reader: LogReader, decision: Decision, name: str
) -> tuple[Scores, Scores] | None:
    """The teacher's and the student's scores of one document; None if the teacher's reply cannot be read."""
    origin = decision.origin
    place = TopicPartition(origin.topic, origin.partition)
    async for record in reader.read(place, origin.offset, origin.offset + 1):
        view = factory.prepare(record).view.text
        try:
            judgement = await factory.judge.judge(view, decision.id, name)
        except DocumentError:
            return None
        return judgement.scores, decision.scores
    return None


def _unconstrained(project: Project, group: str) -> Project:
    """The group as a teacher is asked: same prompt, same view, but free to write as long as it needs."""
    settings = project.settings
    free = replace(
        settings.groups[group],
        constrained=False,
        reply_tokens_max=REPLY_TOKENS_MAX,
        context_tokens_max=CONTEXT_TOKENS_MAX,
        temperature=settings.teacher.temperature,
    )
    return Project(project.root, replace(settings, groups={**settings.groups, group: free}))
