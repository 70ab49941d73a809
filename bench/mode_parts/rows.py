"""What is made of the turns: one row a mode of a group at a prompt length. Pure, but for the project's files."""

from collections.abc import Mapping, Sequence
from statistics import mean, median
from typing import Final, NamedTuple

import numpy as np

from bench.mode_parts.sides import ONE_TOKEN
from bench.mode_parts.views import View
from mira_stream.config import Project
from mira_stream.demo.featurejudge.judge import overall, recommendation
from mira_stream.messages import DIMENSIONS
from mira_stream.reliability.measure import Measured, aggregate, terms_of
from mira_stream.reliability.table import WHOLE_GROUP, Aggregate, load_table
from mira_stream.scoring.judge import Judgement

NOTHING: Final = Aggregate(rho=None, overlap=None, gain=None)
SLOWEST: Final = "rationale"
LENGTH_NEAR: Final = 0.1
"""A mean within it is the length that was asked for."""


class Turn(NamedTuple):
    """One pass over all views in one mode."""

    seconds: float
    judged: list[Judgement]


class Row(NamedTuple):
    """One mode of a group at a prompt length: `length` as it was asked for, `prompt_tokens` as it is, `document_tokens`
    of them the document's. `over`: the first mode that ran, `ratio` documents/s over those of it (least: null of one
    turn); `of_one_token` over those of `one token`. `rho` and `mae`: against the teacher, mean over the dimensions;
    `gain_of_these`, `overlap_of_these`: of the documents of this run, not those of the reliability table that
    `mira-stream bench modes` prints. `same_scores`: share of the scores that are those of `rationale`. Null where there
    is nothing to say or to compare with."""

    group: str
    length: int
    mode: str
    documents: int
    prompt_tokens: float
    document_tokens: float
    reply_tokens: float
    documents_per_s: float
    over: str
    ratio: float
    ratio_least: float | None
    of_one_token: float | None
    rho: float | None
    mae: float | None
    gain_of_these: float | None
    overlap_of_these: float | None
    same_scores: float | None


def row(
    project: Project, group: str, length: int, kind: str, seen: Sequence[View], turns: Mapping[str, Sequence[Turn]]
) -> Row:
    own, over = turns[kind], next(iter(turns))
    judged = own[-1].judged
    kept = NOTHING if kind == ONE_TOKEN else agreement(project, group, seen, judged)
    rho, mae = (None, None) if kind == ONE_TOKEN else fidelity(seen, judged)
    limit, first = turns.get(ONE_TOKEN), ratios(turns[over], own)
    return Row(
        group=group,
        length=length,
        mode=kind,
        documents=len(seen),
        prompt_tokens=round(mean(one.completion.prompt_tokens for one in judged), 1),
        document_tokens=round(mean(view.tokens for view in seen), 1),
        reply_tokens=round(mean(one.completion.generation_tokens for one in judged), 1),
        documents_per_s=round(len(seen) / median(one.seconds for one in own), 2),
        over=over,
        ratio=round(median(first), 2),
        ratio_least=round(min(first), 2) if len(first) > 1 else None,
        of_one_token=None if limit is None else round(median(ratios(limit, own)), 2),
        rho=rho,
        mae=mae,
        gain_of_these=kept.gain,
        overlap_of_these=kept.overlap,
        same_scores=None if kind in (SLOWEST, ONE_TOKEN) or SLOWEST not in turns else same(judged, turns[SLOWEST][-1]),
    )


def length_notes(rows: Sequence[Row]) -> list[str]:
    """A line for each group and length whose prompts have not the length that was asked for."""
    found = []
    for one in {(one.group, one.length): one for one in rows}.values():
        if one.prompt_tokens > (1 + LENGTH_NEAR) * one.length:
            why = (
                f"what stands around a document takes nearly all of them: {one.document_tokens:,.0f} are the document's"
            )
        elif one.prompt_tokens < (1 - LENGTH_NEAR) * one.length:
            why = "no longer documents are held out"
        else:
            continue
        asked = f"of {one.group}, {one.length:,} tokens were asked for"
        found.append(f"{asked} and prompts have {one.prompt_tokens:,.0f}, for {why}")
    return found


def same(judged: Sequence[Judgement], slowest: Turn) -> float:
    """Share of equal scores."""
    equal = [
        a == b
        for mine, theirs in zip(judged, slowest.judged, strict=True)
        for a, b in zip(mine.reading.scores, theirs.reading.scores, strict=True)
    ]
    return round(sum(equal) / len(equal), 4)


def ratios(base: Sequence[Turn], own: Sequence[Turn]) -> list[float]:
    """How many times as fast, turn by turn."""
    return [other.seconds / one.seconds for other, one in zip(base, own, strict=True)]


def fidelity(seen: Sequence[View], judged: Sequence[Judgement]) -> tuple[float | None, float | None]:
    """Mean rho and MAE of the documents with all fifteen scores."""
    from mira_stream.distill.watched import mean_rho

    pairs = [(view.scores, one.scores) for view, one in zip(seen, judged, strict=True) if one.read == DIMENSIONS]
    if len(pairs) < 2:
        return None, None
    teacher, student = (np.array(side, np.float64) for side in zip(*pairs, strict=True))
    rho = mean_rho(teacher, student)
    return None if rho is None else round(rho, 4), round(float(np.abs(student - teacher).mean()), 4)


def agreement(project: Project, group: str, seen: Sequence[View], judged: Sequence[Judgement]) -> Aggregate:
    """Gain and overlap over the dimensions that the shipped table holds reliable, at the project's target."""
    terms = terms_of(project.settings, group)
    rows = []
    for view, one in zip(seen, judged, strict=True):
        given = [score for score in one.scores if score is not None]
        if len(given) == DIMENSIONS:
            whole = overall([round(score) for score in view.scores])
            rows.append(Measured(view.id, view.source, view.scores, given, whole, recommendation(whole)))
    reliable = load_table(project.reliability_path(group)).modes["scores"].sources[WHOLE_GROUP].reliable
    means = [mean(row.student_scores[slot] for row in rows) for slot in range(DIMENSIONS)]
    return aggregate(rows, reliable, means, terms.target(WHOLE_GROUP), terms)
