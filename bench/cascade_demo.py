"""What does a cascade save on the demo's students, whose cheap stage sees the first tokens of a document?

Held-out documents of the demo's sources that the students never saw, judged twice in mode `expected`: the full view
(448 tokens, head and tail) and the first `--lengths` tokens. Half of a source's documents calibrate the half-width, the
others are measured, over twenty such splits; thresholds are the calibrating half's at the source's target, band 0.1.
The teacher is the demo's stand-in. Columns as in `cascade.py`; `alone`: the gain of cheap scores alone. The last line
is one JSON object.

    python bench/cascade_demo.py --documents 400 --groups text qa
"""

import sys
from collections.abc import Sequence
from math import isnan, nan
from pathlib import Path
from statistics import mean
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run as a file, too

from bench.command import DEMO_PROJECT
from bench.command.arguments import Parser, at_least, positive, project_of
from bench.command.ending import program
from bench.command.last_line import last_line
from mira_stream.cascade import Calibration, InForce, Pair, route
from mira_stream.chance import is_heldout
from mira_stream.config import Project
from mira_stream.demo.corpora import documents
from mira_stream.demo.featurejudge.judge import scores
from mira_stream.epochs import Outcome, decide
from mira_stream.prompt import load_prompt
from mira_stream.quality import Lens, judge
from mira_stream.reliability.measure import lens_of, terms_of
from mira_stream.reliability.table import load_table
from mira_stream.render import cut, neutralise, render
from mira_stream.rubric.anchors import load_rubric
from mira_stream.scoring.tokenizer import StudentTokenizer
from mira_stream.sketch import Sketch

SPLITS: Final = 20
DOCUMENTS_MIN: Final = 20
LOSSES: Final = (0.05, 0.1)


class Judged(NamedTuple):
    """A document of a source, as teacher and stages judged it; `prompt_tokens` of the full stage."""

    id: str
    prompt_tokens: int
    teacher: list[float]
    full: list[float]
    cheap: list[float]


def judged(project: Project, source: str, count: int, length: int) -> list[Judged]:
    """Both stages' scores of held-out documents, by plain transformers."""
    from mira_stream.distill.dataset import prompt_ids
    from mira_stream.distill.decode import decode_scores
    from mira_stream.distill.folder import load_student

    group = project.settings.sources[source].group
    assert group is not None
    settings = project.settings.groups[group]
    rubric = load_rubric(project.rubric_path(group))
    prompt = load_prompt(project.prompts_path(group), rubric)
    tokenizer = StudentTokenizer(project.student_path(group))
    model, words = load_student(project.student_path(group))
    names, whole, first, teacher = [], [], [], []
    for one in documents(source, count, is_heldout):
        text = neutralise(render(one, settings.family), tokenizer.special_tokens)
        view = cut(text, tokenizer.tokenize, 32_768, settings.document_tokens_max, "head_tail").text
        names.append(one.id)
        whole.append(prompt_ids(words, prompt, view))
        first.append(prompt_ids(words, prompt, cut(text, tokenizer.tokenize, length, length, "head").text))
        teacher.append([float(score) for score in scores(settings.family, view, rubric.names)])
    full, cheap = (decode_scores(model, words, ids, expected=True).tolist() for ids in (whole, first))
    return [Judged(*row) for row in zip(names, map(len, whole), teacher, full, cheap, strict=True)]


def evaluate(rows: Sequence[Judged], through: Lens, target: float, loss: float) -> dict[str, float]:
    """Means over the splits; of gains over those that have one, nan where none has."""
    found = [_split(rows, through, target, loss, np.random.default_rng(seed)) for seed in range(SPLITS)]
    row = {name: _mean([one[name] for one in found]) for name in found[0]}
    held = mean(one["loss"] <= loss for one in found)
    return {name: round(value, 4) for name, value in (row | {"holds": held, "savings": 1 / row["asked"]}).items()}


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not isnan(value)]
    return mean(known) if known else nan


def _split(
    rows: Sequence[Judged], through: Lens, target: float, loss: float, chance: np.random.Generator
) -> dict[str, float]:
    order = chance.permutation(len(rows))
    known, measured = ([rows[at] for at in half] for half in np.array_split(order, 2))
    sketch = Sketch()
    for one in known:
        sketch.add(judge(one.full, through).cell, 1)
    keep, drop = (sketch.upper_tail(target + side, "documents") for side in (-0.05, 0.05))
    width = Calibration([Pair(one.id, one.cheap, one.full) for one in known], through, {}).half_width(keep, drop, loss)
    in_force = InForce("demo", 1, keep, drop, through, width)
    sent = [not route(one.cheap, in_force).is_sure for one in measured]

    def decided(given: Sequence[Sequence[float]]) -> list[Outcome]:
        return [
            decide(one.id, judge(list(shown), through).quality, shown, {}, keep, drop, 0.0)
            for one, shown in zip(measured, given, strict=True)
        ]

    teacher = np.array([judge(one.teacher, through).quality for one in measured])
    full, alone = decided([one.full for one in measured]), decided([one.cheap for one in measured])
    both = [a if asked else b for asked, a, b in zip(sent, full, alone, strict=True)]
    tokens = np.array([one.prompt_tokens for one in measured])
    best = _gain(teacher, full) or nan
    return {
        "half_width": width,
        "sent": mean(sent),
        "asked": float(tokens[np.array(sent)].sum() / tokens.sum()) or 1 / float(tokens.sum()),
        "loss": mean(a.decision != b.decision for a, b in zip(full, both, strict=True)),
        "gain": _gain(teacher, both) / best,
        "alone": _gain(teacher, alone) / best,
    }


def _gain(teacher: NDArray[np.float64], outcomes: Sequence[Outcome]) -> float:
    """Of those selected over all; nan where all or none are, which is no selection."""
    chosen = np.array([one.selected for one in outcomes])
    return nan if chosen.all() or not chosen.any() else float(teacher[chosen].mean() - teacher.mean())


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--documents", type=at_least(DOCUMENTS_MIN), default=400, help="of each source")
    parser.add_argument("--groups", nargs="+", default=["text", "qa", "agent"])
    parser.add_argument("--lengths", nargs="+", type=positive, default=[160, 80])
    asked = parser.parse_args()
    project, found = project_of(parser, DEMO_PROJECT, asked.groups), list[dict[str, object]]()
    say = Console(stderr=True).print
    for group in asked.groups:
        table, terms = load_table(project.reliability_path(group)).modes["scores"], terms_of(project.settings, group)
        for source in project.settings.sources_of(group):
            for length in asked.lengths:
                rows = judged(project, source, asked.documents, length)
                say(f"{source}: {len(rows)} documents judged at {length} tokens")
                through = lens_of(source, table, terms)
                cheap, full = (
                    [judge(list(side), through).quality for side in sides]
                    for sides in ([one.cheap for one in rows], [one.full for one in rows])
                )
                likeness = round(float(np.corrcoef(cheap, full)[0, 1]), 4)
                for loss in LOSSES:
                    own = {"source": source, "length": length, "limit": loss, "documents": len(rows)}
                    found.append(own | {"likeness": likeness} | evaluate(rows, through, terms.target(source), loss))
    shown = Table(*found[0])
    for one in found:
        shown.add_row(*map(str, one.values()))
    Console(width=160).print(shown)
    last_line({"teacher": "featurejudge, a stand-in", "rows": found})


if __name__ == "__main__":
    program(main)
