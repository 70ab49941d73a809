"""How a source group's documents are judged: by one stage, or by a cheap one and a full one behind it."""

from typing import NamedTuple, Protocol

from mira_stream.cascade import InForce
from mira_stream.clock import Monotonic
from mira_stream.config import Project
from mira_stream.messages import Document, Mode
from mira_stream.prompt import load_prompt
from mira_stream.render import Rendered
from mira_stream.rubric.anchors import load_rubric
from mira_stream.scoring.engine import Engine
from mira_stream.scoring.judge import Judge, ScoringMetrics
from mira_stream.scoring.lineage import lineage_of
from mira_stream.scoring.views import view_of
from mira_stream.sections import GroupSection


class Stage(NamedTuple):
    """A student in one mode, with the view of a document that it is shown there."""

    settings: GroupSection
    lineage: str
    judge: Judge
    engine: Engine
    cutoff_tokens: int

    def view(self, document: Document) -> Rendered:
        """Raises UnfitDocument."""
        engine = self.engine
        return view_of(document, self.settings, self.cutoff_tokens, engine.tokenize, engine.special_tokens)


class Stages(NamedTuple):
    """`cheap` is None where every document is judged by `full` alone. `mode` and `lineage` are those of the cards."""

    cheap: Stage | None
    full: Stage
    mode: Mode
    lineage: str


class Published(Protocol):
    """What is known of the thresholds that a source's documents will be decided by."""

    def in_force(self, source: str) -> InForce | None:
        """None: nothing is known for certain."""
        ...


class NothingPublished:
    def in_force(self, source: str) -> InForce | None:
        return None


def stages_of(
    project: Project,
    group: str,
    engine: Engine,
    metrics: ScoringMetrics,
    pauses_s: tuple[float, ...],
    now: Monotonic,
) -> Stages:
    """Raises ConfigError if rubric, prompts, student or mode are wrong."""
    rubric = load_rubric(project.rubric_path(group))
    prompt = load_prompt(project.prompts_path(group), rubric)

    def stage(settings: GroupSection) -> Stage:
        own = lineage_of(project.judged_as(group, settings), group, rubric, prompt)
        judge = Judge(group, settings, rubric, prompt, own, engine, metrics, pauses_s, now)
        return Stage(settings, own, judge, engine, project.settings.tokens.train_cutoff_tokens)

    *cheap, full = [stage(settings) for settings in project.settings.groups[group].stages]
    mode = project.settings.groups[group].mode
    return Stages(cheap[0] if cheap else None, full, mode, lineage_of(project, group, rubric, prompt))
