"""What scores documents: the project's students, their teacher, and baselines that know no rubric."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mira_stream.config import Project, load_project
from mira_stream.demo.featurejudge.judge import FEATURES, scores
from mira_stream.messages import Document, Mask
from mira_stream.parquet import read_columns
from mira_stream.prompt import load_prompt
from mira_stream.quality import judge, lens
from mira_stream.render import cut, render
from mira_stream.rubric.anchors import load_rubric
from mira_stream.scoring.lineage import lineage
from mira_stream.selecting.wanted import project_policies

FIXED_DIMENSIONS = 14


class Scored(NamedTuple):
    """Of documents of one group, in their order: qualities under each source's mask, the teacher's under the same
    mask, the fixed rubric's mean, tokens of the view, and the view."""

    student: NDArray[np.float64]
    teacher: NDArray[np.float64]
    fixed: NDArray[np.float64]
    tokens: NDArray[np.int64]
    views: list[str]


class GroupJudge:
    """One group's student and teacher, loaded once a process."""

    def __init__(self, root: Path, group: str) -> None:
        import torch

        from mira_stream.distill.folder import load_student
        from mira_stream.distill.tokenizer import tokenize_with

        torch.set_num_threads(1)
        self._project = load_project(root, {})
        self._settings = self._project.settings.groups[group]
        rubric = load_rubric(self._project.rubric_path(group))
        self._names = rubric.names
        self._prompt = load_prompt(self._project.prompts_path(group), rubric)
        self._model, self._tokenizer = load_student(self._project.student_path(group))
        self._tokenize = tokenize_with(self._tokenizer)
        self._masks = masks(self._project, group)

    def view(self, document: Document) -> tuple[str, int]:
        """The view a scorer sees, and the tokens of the whole document up to the training cut-off."""
        settings = self._settings
        rendered = cut(
            render(document, settings.family),
            self._tokenize,
            self._project.settings.tokens.train_cutoff_tokens,
            settings.document_tokens_max,
            settings.too_long,
        )
        return rendered.text, rendered.tokens

    def judge(self, documents: Sequence[Document]) -> Scored:
        """Everything that is known of the documents without knowing their truth."""
        from mira_stream.distill.dataset import prompt_ids
        from mira_stream.distill.decode import decode_scores

        seen = [self.view(document) for document in documents]
        views = [view for view, _ in seen]
        family = self._settings.family
        given = decode_scores(
            self._model, self._tokenizer, [prompt_ids(self._tokenizer, self._prompt, v) for v in views]
        )
        wanted = [scores(family, view, self._names) for view in views]
        names = [feature.names[0] for feature in FEATURES["text"]]
        fixed = [float(np.mean(scores("text", view, names)[:FIXED_DIMENSIONS])) for view in views]
        return Scored(
            np.array([self._quality(d.source, row) for d, row in zip(documents, given.tolist(), strict=True)]),
            np.array([self._quality(d.source, row) for d, row in zip(documents, wanted, strict=True)]),
            np.array(fixed),
            np.array([tokens for _, tokens in seen]),
            views,
        )

    def _quality(self, source: str, fifteen: Sequence[float]) -> float:
        return judge(list(fifteen), lens(self._masks[source])).quality


def masks(project: Project, group: str) -> Mapping[str, Mask]:
    """The masks that are in force when the project's policy is published, by source."""
    found = project_policies(project, lineage, read_columns).records
    return {message.source: message for _, message in found if isinstance(message, Mask) and message.group == group}
