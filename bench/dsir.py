"""How much faster is our DSIR than its authors' package, and is it the same?

Both fit on the same raw and target documents of this machine and weigh every raw document, on one core, from memory, in
turns, another one first in each round; the best of `--rounds` counts. Compared to the bit: log differences, weights,
lengths. What limits ours: finding words, then looking up buckets; what limits theirs: one SHA-256 and one array access
a word and pair. Last line: one JSON object.

    python bench/dsir.py --documents 1000
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, Final, NamedTuple

import numpy as np
from data_selection import HashedNgramDSIR
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run as a file, too

from bench.command import DEMO_PROJECT
from bench.command.arguments import Parser, at_least, positive
from bench.command.ending import program
from bench.command.last_line import last_line
from mira_stream.benching.alternating import order
from mira_stream.config import load_project
from mira_stream.demo import corpora
from mira_stream.render import render
from mira_stream.selection.dsir import DsirModel

GOAL: Final = 2.5


class Found(NamedTuple):
    """What one implementation found, and the seconds it took to fit and to weigh."""

    log_diff: np.ndarray
    weights: np.ndarray
    words: np.ndarray
    fit_s: float
    weigh_s: float

    @property
    def total_s(self) -> float:
        return self.fit_s + self.weigh_s


def texts(source: str, count: int) -> list[str]:
    """Documents of one of the demo's text sources."""
    project = load_project(DEMO_PROJECT, {})
    family = project.settings.family_of(source)
    return [render(document, family) for document in corpora.documents(source, count, lambda id_: True)]


def ours(raw: list[str], target: list[str]) -> Found:
    start = perf_counter()
    model = DsirModel.fit(raw, target)
    fitted = perf_counter()
    found = model.weights_and_words(raw)
    return Found(model.log_diff, found.log_weights, found.words, fitted - start, perf_counter() - fitted)


def theirs(raw: list[str], target: list[str]) -> Found:
    def load(path: str) -> Iterator[dict[str, str]]:
        return ({"text": text} for text in (raw if path == "raw" else target))

    with TemporaryDirectory() as folder, Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere):
        dsir = HashedNgramDSIR(["raw"], ["target"], folder, load, target_load_dataset_fn=load, num_proc=1)
        start = perf_counter()
        dsir.fit_importance_estimator()
        fitted = perf_counter()
        dsir.compute_importance_weights()
        done = perf_counter()
        kept = [np.load(Path(folder) / name / "0.npy") for name in ("log_importance_weights", "perexample_metadata")]
    return Found(dsir.log_diff, kept[0], kept[1], fitted - start, done - fitted)


def same(one: Found, other: Found) -> bool:
    """To the bit."""
    bits = [(one.log_diff, other.log_diff), (one.weights, other.weights)]
    return all(a.tobytes() == b.tobytes() for a, b in bits) and one.words.tolist() == other.words.tolist()


def main() -> int:
    parser = Parser(__doc__)
    parser.add_argument("--documents", type=at_least(4), default=1000, help="raw documents, half of each text source")
    parser.add_argument("--rounds", type=positive, default=3)
    given = parser.parse_args()
    half = given.documents // 2
    target = texts("distdocs", half + half // 2)
    raw, target = texts("stdlib", half) + target[:half], target[half:]
    ways: dict[str, Callable[[list[str], list[str]], Found]] = {"ours": ours, "data-selection": theirs}
    rounds: dict[str, list[Found]] = {name: [] for name in ways}
    with threadpool_limits(1):
        for number in range(given.rounds):
            for name in order([*ways], number):
                rounds[name].append(ways[name](raw, target))
    best = {name: min(found, key=lambda one: one.total_s) for name, found in rounds.items()}
    grams = int(2 * best["ours"].words.sum())
    for name, found in best.items():
        rate = grams / found.weigh_s / 1e6
        print(f"{name:15} fit {found.fit_s:7.2f} s   weigh {found.weigh_s:7.2f} s   {rate:6.2f} M n-grams/s weighed")
    identical = all(same(found, best["data-selection"]) for found in rounds["ours"])
    speedup = best["data-selection"].total_s / best["ours"].total_s
    print(f"{len(raw):,} raw, {len(target):,} target documents; {speedup:.1f} times as fast; identical: {identical}")
    said: dict[str, Any] = {
        "bench": "dsir",
        "documents": len(raw),
        "n_grams": grams,
        "seconds": {name: round(found.total_s, 3) for name, found in best.items()},
        "speedup": round(speedup, 2),
        "goal": GOAL,
        "identical": identical,
    }
    last_line(said)
    return 0 if identical and speedup >= GOAL else 1


if __name__ == "__main__":
    program(main)
