"""What a project's teacher was paid before a step asks: its journals say it, those of earlier runs too."""

from pathlib import Path
from typing import Final

from mira_stream.config import Project
from mira_stream.pipeline.steps import ASKS_TEACHER, WORK, Step
from mira_stream.teaching import Price
from mira_stream.teaching.journal import tokens_of

JOURNALS: Final = tuple(f"{name}-*.journal*" for name in sorted(ASKS_TEACHER.values()))
"""Those put aside have a number behind their name."""


def limits_left(project: Project, step: Step, cost_max: float | None, tokens_max: int | None) -> tuple[str, ...]:
    """What a step may still ask for, as options of its command, which counts its own journal itself."""
    if step.stage not in ASKS_TEACHER or (cost_max is None and tokens_max is None):
        return ()
    prompt, generation = _paid(project.root / WORK, f"{ASKS_TEACHER[step.stage]}-{step.group}.journal")
    limits: list[str] = []
    if cost_max is not None:
        teacher = project.settings.teacher
        cost = Price(teacher.prompt_price, teacher.generation_price).of(prompt, generation)
        limits += ["--max-cost", str(max(0.0, cost_max - cost))]
    if tokens_max is not None:
        limits += ["--max-tokens", str(max(0, tokens_max - prompt - generation))]
    return tuple(limits)


def _paid(work: Path, own: str) -> tuple[int, int]:
    """Prompt and generation tokens of all answers but those in the journal `own`."""
    found = [tokens_of(path) for pattern in JOURNALS for path in work.glob(pattern) if path.name != own]
    return sum(prompt for prompt, _ in found), sum(generation for _, generation in found)
