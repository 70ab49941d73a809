"""A student measured as it is served: its own engine, prompt, sampling and parser, the views of the labels."""

import asyncio
from typing import Final

from mira_stream.cli.output import talk
from mira_stream.config import Project
from mira_stream.distill.labels import Label
from mira_stream.errors import DependencyError, DocumentError, EngineError
from mira_stream.prompt import load_prompt
from mira_stream.reliability.measure import Measured
from mira_stream.render import neutralise
from mira_stream.rubric.anchors import Rubric
from mira_stream.scoring.engine import Engine
from mira_stream.scoring.judge import Judge
from mira_stream.scoring.lineage import lineage
from mira_stream.scoring.probe import probe
from mira_stream.streaming.metrics import Metrics

REPORTS: Final = 10
"""So often a line says how far it is."""


async def ask_served(
    project: Project, group: str, rubric: Rubric, labels: list[Label], engine: Engine
) -> list[Measured]:
    """The views whose fifteen scores were all read, in the order of the labels; the engine is started and stopped.

    Raises what starting and probing an engine raise, and DependencyError(engine_down) if it stays away.
    """
    settings = project.settings
    judge = Judge(
        group,
        settings.groups[group],
        rubric,
        load_prompt(project.prompts_path(group), rubric),
        lineage(project, group),
        engine,
        Metrics(),
    )
    places = asyncio.Semaphore(settings.limits.in_flight_documents)
    every = max(1, len(labels) // REPORTS)
    done = 0

    async def one(number: int, label: Label) -> Measured | None:
        nonlocal done
        async with places:
            view = neutralise(label.view, engine.special_tokens)
            try:
                given = (await judge.judge(view, label.id, f"reliability-{number}")).scores
            except DocumentError:
                return None
        done += 1
        if done % every == 0:
            talk.print(f"{group}: {done} of {len(labels)} views scored", markup=False)
        scores = [score for score in given if score is not None]
        return measured(label, scores) if len(scores) == len(label.scores) else None

    await engine.start()
    try:
        await probe(project, group, engine)
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(one(number, label)) for number, label in enumerate(labels)]
    except* EngineError as errors:
        raise DependencyError(
            "engine_down", f"group {group}: {errors.exceptions[0]}", "read its log and start again"
        ) from None
    finally:
        await engine.stop()
    return [found for task in asked if (found := task.result()) is not None]


def measured(label: Label, scores: list[float]) -> Measured:
    """The student's scores beside the teacher's."""
    return Measured(label.id, label.source, label.scores, scores, label.overall, label.recommendation, label.cluster)
