"""Held-out documents cut to a prompt length, with the teacher's scores of what is shown."""

from collections.abc import Sequence
from statistics import median
from typing import Final, NamedTuple

from mira_stream.chance import is_heldout
from mira_stream.config import Project
from mira_stream.demo.corpora import documents
from mira_stream.demo.featurejudge.judge import reply, scores
from mira_stream.prompt import load_prompt
from mira_stream.render import cut, neutralise, render
from mira_stream.rubric.anchors import load_rubric
from mira_stream.scoring.engine import Engine

SLACK_TOKENS: Final = 16
LOOKED_AT: Final = 8
"""So many documents are rendered for each one that is wanted, to find those that are long enough."""


class View(NamedTuple):
    """A rendered document cut to the bucket's length, how many tokens that leaves, and the teacher's scores of it."""

    id: str
    source: str
    text: str
    tokens: int
    scores: list[float]


def views(project: Project, group: str, length: int, count: int, engine: Engine) -> list[View]:
    """Held-out documents whose prompts are as near to `length` tokens as the documents allow, long ones first."""
    settings = project.settings.groups[group]
    rubric = load_rubric(project.rubric_path(group))
    prompt = load_prompt(project.prompts_path(group), rubric)
    around = sum(len(engine.tokenize(message["content"])) for message in prompt.messages("")) + SLACK_TOKENS
    budget = max(1, length - around)
    sources = sorted(name for name, source in project.settings.sources.items() if source.group == group)
    found: list[tuple[int, int, View]] = []
    for name in sources:
        for place, one in enumerate(documents(name, LOOKED_AT * count // len(sources), is_heldout)):
            text = neutralise(render(one, settings.family), engine.special_tokens)
            shown = cut(text, engine.tokenize, budget, budget, "head")
            given = [float(score) for score in scores(settings.family, shown.text, rubric.names)]
            tokens = len(engine.tokenize(shown.text))
            found.append((-tokens, place, View(one.id, name, shown.text, tokens, given)))
    found.sort(key=lambda one: one[:2])  # of documents as long, each source's first
    return [view for _, _, view in found[:count]]


def reply_tokens(project: Project, group: str, seen: Sequence[View], engine: Engine) -> int:
    """Median length of the teacher's replies with justifications, in tokens of the student."""
    names, family = load_rubric(project.rubric_path(group)).names, project.settings.groups[group].family
    replies = [reply(family, view.text, names, "scores_first", "rationale") for view in seen]
    return round(median(len(engine.tokenize(text)) for text in replies))
