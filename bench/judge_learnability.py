"""Could a small student learn what the feature judge measures?

A linear probe stands for the student: ridge regression from character 1-3-gram densities of a view (and the log of its
length) to the judge's score, trained on documents that may be trained on, tried on held-out ones, a cell = source x
dimension. `top` is the largest share of one score, `levels` how many scores occur. Last line: one JSON object.

    python bench/judge_learnability.py --group text --train 2000 --heldout 500
"""

import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix, hstack
from scipy.stats import spearmanr
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import Ridge

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run as a file, too

from bench.command import DEMO_PROJECT
from bench.command.arguments import Parser, at_least
from bench.command.ending import program
from bench.command.last_line import last_line
from mira_stream.chance import is_heldout
from mira_stream.config import load_project
from mira_stream.demo import corpora
from mira_stream.demo.featurejudge.judge import feature_named, scores
from mira_stream.render import Offsets, cut, render
from mira_stream.rubric.anchors import load_rubric

PROJECT = load_project(DEMO_PROJECT, {})
PIECE = re.compile(r"\w{1,5}|\s+|[^\w\s]{1,2}")
GRAMS = HashingVectorizer(
    analyzer="char", ngram_range=(1, 3), n_features=2**16, norm=None, alternate_sign=False, lowercase=False
)


def pieces(text: str) -> Offsets:
    """About as many as a student's tokenizer makes (2 to 3 characters each)."""
    return [match.span() for match in PIECE.finditer(text)]


def views(source: str, group: str, count: int, wanted: Callable[[str], bool]) -> list[str]:
    """Rendered and cut as the student reads them."""
    settings = PROJECT.settings.groups[group]
    return [
        cut(render(document, settings.family), pieces, 32_768, settings.document_tokens_max, settings.too_long).text
        for document in corpora.documents(source, count, wanted)
    ]


def densities(texts: list[str]) -> csr_matrix:
    lengths = np.array([max(1, len(text)) for text in texts], dtype=float)
    grams = GRAMS.transform(texts).multiply(1 / lengths[:, None]).sqrt()
    return hstack([grams, csr_matrix(np.log(lengths)[:, None] / 10)]).tocsr()


def judged(group: str, texts: list[str]) -> np.ndarray:
    family, names = PROJECT.settings.groups[group].family, load_rubric(PROJECT.rubric_path(group)).names
    return np.array([scores(family, text, names) for text in texts], dtype=float)


def _mean(values: Sequence[float | None]) -> float | None:
    """Of those that are known."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def correlation(true: np.ndarray, guessed: np.ndarray) -> float | None:
    """Spearman's rho; None where one of them is the same throughout, which correlates with nothing."""
    if min(len(set(true)), len(set(guessed))) < 2:
        return None
    return float(spearmanr(true, guessed)[0])


def cuts(measured: np.ndarray) -> list[float]:
    """Nine cut points: deciles, three digits; where many views have none, none is the first level."""
    least = measured.min()
    points = [float(f"{point:.3g}") for point in np.quantile(measured, np.arange(1, 10) / 10)]
    if len(set(points)) == len(points):
        return points
    some = np.quantile(measured[measured > least], np.arange(1, 9) / 9)
    return [float(f"{point:.3g}") for point in (least, *some)]


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--group", choices=["text", "qa", "agent"], default="text")
    parser.add_argument("--train", type=at_least(2), default=2000, help="documents a source to fit on")
    parser.add_argument("--heldout", type=at_least(2), default=500, help="documents a source to try on")
    parser.add_argument("--cuts", action="store_true", help="also print cut points for each dimension")
    asked = parser.parse_args()
    group, names = asked.group, load_rubric(PROJECT.rubric_path(asked.group)).names
    sources = [source.name for source in corpora.SOURCES if source.group == group]
    training = [
        text
        for source in sources
        for text in views(source, group, asked.train, lambda document_id: not is_heldout(document_id))
    ]
    probe = Ridge(alpha=0.3, solver="sparse_cg", max_iter=400).fit(densities(training), judged(group, training))
    cells = {}
    print(f"{'dimension':26}" + "".join(f"{source:>16} rho   mae  top levels" for source in sources))
    heldout = {source: views(source, group, asked.heldout, is_heldout) for source in sources}
    found = {source: (judged(group, heldout[source]), probe.predict(densities(heldout[source]))) for source in sources}
    for slot, name in enumerate(names):
        row = f"A{slot + 1:<3}{name:22}"
        for source, (true, guessed) in found.items():
            counts = Counter(true[:, slot])
            rho = correlation(true[:, slot], guessed[:, slot])
            mae = float(np.abs(np.clip(np.round(guessed[:, slot]), 1, 10) - true[:, slot]).mean())
            top = max(counts.values()) / len(true)
            cells[f"{source}/A{slot + 1}"] = {"rho": rho, "mae": mae, "top": top, "levels": len(counts)}
            row += f"{'-' if rho is None else f'{rho:.2f}':>20} {mae:5.2f} {top:4.0%} {len(counts):6}"
        print(row)
    if asked.cuts:
        family = PROJECT.settings.groups[group].family
        for slot, name in enumerate(names):
            measure = feature_named(family, name).measure
            print(f"A{slot + 1}", cuts(np.array([measure(text) for text in training])))
    means = {key: _mean([cell[key] for cell in cells.values()]) for key in ("rho", "mae")}
    last_line({"group": group, "cells": cells, "mean": means})


if __name__ == "__main__":
    program(main)
