"""How good is the selection? Planted defects and executed tests as truth, baselines beside it, in one run.

    python bench/selection_quality.py
    python bench/selection_quality.py --export-documents documents.jsonl      # {id, source, text} of every document
    python bench/selection_quality.py --arm mine=scores.jsonl                 # {id, score}: one more arm

Half of every seed's documents are good, half have a planted defect at one of five levels; every arm keeps half of the
tokens. Primary measure, named beforehand: the share of clean tokens among those kept, mira-group against
random-per-source and against dsir, paired over seeds, Holm over the two. What this measures: whether defects are
turned away, and how faithfully the students follow their teacher. It is no 14 B model's benchmark, and the teacher is
a stand-in that measures features. Last line: one JSON object.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run as a file, too

from bench.command import DEMO_PROJECT
from bench.command.arguments import Parser, at_least, folder, new_file, positive, project_of
from bench.command.ending import program
from bench.command.last_line import last_line
from bench.selection.arms import ARMS, Pool
from bench.selection.findings import (
    Scorers,
    arm_table,
    comparisons,
    decoy_table,
    defect_means,
    defect_table,
    executed_table,
    goals,
    why,
)
from bench.selection.foreign import export_documents, read_scores
from bench.selection.planted_cells import mask_quality
from bench.selection.pool import Known, group_of
from bench.selection.report import plot, show
from bench.selection.scoring import Scored
from bench.selection.work import Material, Outcome, Size, beside, compare, material, score
from mira_stream.chance import u
from mira_stream.config import Project, load_project
from mira_stream.demo.featurejudge.judge import judge_sha256

SEEDS = Size().seeds
QUICK = Size(seeds=2, documents=6, ladder=1, reference=6, steps=30, episodes=8, functions=8, faults=1)


GRACE_S = 0.5
"""A worker that a stop has reached, too, ends by itself."""
PIECE = 160
"""Documents that a process scores at a time."""


class Clock:
    """Says what is under way, and how long each part took."""

    def __init__(self) -> None:
        self.parts: dict[str, float] = {}
        self._started = time.monotonic()

    def done(self, part: str) -> None:
        now = time.monotonic()
        self.parts[part] = round(now - self._started - sum(self.parts.values()), 1)
        print(f"{part}: {self.parts[part]:.0f} s", flush=True)


def main() -> None:
    asked = _arguments()
    size = QUICK if asked.quick else Size(seeds=asked.seeds or SEEDS)
    project = load_project(asked.project, {})
    print(f"feature judge sha256 {judge_sha256()}; {size.seeds} seeds", flush=True)
    clock = Clock()
    with _workers(asked.processes) as workers:
        sources = sorted(project.settings.sources)
        found = dict(zip(sources, workers.map(material, *_times(asked.project, sources, size)), strict=True))
        clock.done("documents")
        known = [one for source in sources for one in _all(found[source])]
        if asked.export_documents is not None:
            count = export_documents(asked.export_documents, known, project.settings.family_of)
            print(f"{count} documents in {asked.export_documents}")
            return
        foreign = {name: read_scores(path, {one.document.id for one in known}) for name, path in asked.arm}
        scored = _score(workers, asked.project, known)
        clock.done("scores")
        reference = {source: found[source].reference for source in sources}
        pools = [_pool(project, found, scored, seed) for seed in range(size.seeds)]
        measured = [one for source in sources for one in _measured(found[source])]
        others = workers.submit(beside, *_target(pools), [scored[one].view for one in measured], size.steps)
        seeds = []
        for outcome in workers.map(compare, pools, *_repeat(size.seeds, reference, foreign, size.steps)):
            seeds.append(outcome)
            print(f"seed {len(seeds)} of {size.seeds}: {len(outcome)} selections, a language model on each", flush=True)
        scorers = _scorers(measured, scored, others.result(), foreign)
        clock.done("selections and language models")
    result = _findings(found, scorers, seeds, size)
    clock.done("planted cells")
    result |= {"feature_judge": judge_sha256(), "size": size._asdict(), "seconds": clock.parts}
    show(result)
    plot(asked.plot, result)
    last_line(result)


@contextmanager
def _workers(processes: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that end with the block, and at once where it is left by an error or a stop: by itself the pool would
    wait for what they are at."""
    with ProcessPoolExecutor(processes, get_context("spawn")) as workers:
        try:
            yield workers
        except BaseException:
            workers.shutdown(wait=False, cancel_futures=True)
            for child in active_children():
                child.join(GRACE_S)
                child.terminate()
            raise


def _findings(
    found: Mapping[str, Material], scorers: Scorers, seeds: Sequence[Mapping[str, Outcome]], size: Size
) -> dict[str, Any]:
    arms, compared = arm_table(seeds), comparisons(seeds)
    rungs = [one for own in found.values() for one in own.rungs]
    fakes = [one for own in found.values() for one in own.decoys]
    executed = [pair for own in found.values() for pair in own.executed]
    mira = scorers["mira"]
    mask = mask_quality(sources=4 if size == QUICK else 40, documents=500, seed=1)
    defects = defect_table(rungs, scorers)
    return {
        "arms": arms,
        "comparisons": compared,
        "defects": defects,
        "defect_means": defect_means(defects),
        "why": why(defects),
        "decoys": decoy_table(fakes, mira, {one.base: mira[one.document.id] for one in rungs if one.level == 0}),
        "executed": executed_table(executed, scorers),
        "mask": mask._asdict(),
        "goals": goals(arms, compared, mask),
    }


def _measured(found: Material) -> list[str]:
    """Ids of the documents that are scored and not selected from."""
    return [one.document.id for one in (*found.rungs, *found.decoys, *(one for one, _ in found.executed))]


def _target(pools: Sequence[Pool]) -> tuple[list[str], list[str]]:
    """Views to select from, and what methods with a target aim at."""
    raw = [view for pool in pools for view in pool.views]
    return raw, [text for texts in pools[0].reference.values() for text in texts]


def _scorers(
    ids: Sequence[str], scored: Mapping[str, "Judged"], others: Mapping[str, np.ndarray], foreign: Scorers
) -> dict[str, Mapping[str, float]]:
    """Everything that scores single documents, by name. Random scores show what chance looks like here."""
    found: dict[str, Mapping[str, float]] = {
        "mira": {one: scored[one].student for one in ids},
        "teacher": {one: scored[one].teacher for one in ids},
        "fixed-rubric-14:featurejudge": {one: scored[one].fixed for one in ids},
    }
    found |= {name: dict(zip(ids, values.tolist(), strict=True)) for name, values in others.items()}
    return {**found, "random": {one: u("audit", one) for one in ids}, **foreign}


class Judged:
    """What is known of one document by its scores."""

    __slots__ = ("fixed", "student", "teacher", "tokens", "view")

    def __init__(self, scored: Scored, place: int) -> None:
        self.student = float(scored.student[place])
        self.teacher = float(scored.teacher[place])
        self.fixed = float(scored.fixed[place])
        self.tokens = int(scored.tokens[place])
        self.view = scored.views[place]


def _score(workers: ProcessPoolExecutor, root: Path, known: Sequence[Known]) -> dict[str, Judged]:
    """Every document once, PIECE of one group at a time."""
    pieces = []
    for group in sorted({one.group for one in known}):
        own = list({one.document.id: one for one in known if one.group == group}.values())
        pieces += [(group, own[start : start + PIECE]) for start in range(0, len(own), PIECE)]
    groups, parts = [group for group, _ in pieces], [own for _, own in pieces]
    found: dict[str, Judged] = {}
    total = sum(map(len, parts))
    for own, scored in zip(parts, workers.map(score, [root] * len(pieces), groups, parts), strict=True):
        found |= {one.document.id: Judged(scored, place) for place, one in enumerate(own)}
        print(f"scored {len(found)} of {total} documents", flush=True)
    return found


def _pool(project: Project, found: Mapping[str, Material], scored: Mapping[str, Judged], seed: int) -> Pool:
    known = [one for own in found.values() for one in own.pools if one.seed == seed]
    judged = [scored[one.document.id] for one in known]
    reference: dict[str, list[str]] = {}
    for source, own in found.items():
        # Half of the reference is a target to aim at, the other half measures.
        reference.setdefault(group_of(project, source), []).extend(own.reference[::2])
    return Pool(
        known,
        [one.view for one in judged],
        np.array([one.tokens for one in judged]),
        np.array([one.student for one in judged]),
        np.array([one.teacher for one in judged]),
        np.array([one.fixed for one in judged]),
        reference,
        seed,
    )


def _all(found: Material) -> list[Known]:
    return [*found.pools, *found.rungs, *found.decoys, *(one for one, _ in found.executed)]


def _times(root: Path, items: Sequence[Any], extra: Any, *, zipped: bool = False) -> tuple[list[Any], ...]:
    """Arguments for `map`: the root before every item; `extra` behind each, or one of it each."""
    return [root] * len(items), list(items), list(extra) if zipped else [extra] * len(items)


def _repeat(count: int, reference: Mapping[str, Sequence[str]], *rest: Any) -> list[list[Any]]:
    measured = {source: texts[1::2] for source, texts in reference.items()}
    return [[one] * count for one in (measured, *rest)]


def _arm(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not equals or not Path(path).is_file():
        raise argparse.ArgumentTypeError(f"{text!r} is no NAME=FILE of a file that is there")
    if name in ARMS:
        raise argparse.ArgumentTypeError(f"there is an arm {name!r} already; choose another name")
    return name, Path(path)


def _arguments() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--project", type=folder, default=DEMO_PROJECT, help="whose students are measured")
    parser.add_argument("--seeds", type=at_least(2), help=f"default: {SEEDS}")
    parser.add_argument("--quick", action="store_true", help="small: whether everything runs")
    parser.add_argument("--processes", type=positive, default=min(2, len(os.sched_getaffinity(0))))
    parser.add_argument("--arm", type=_arm, action="append", default=[], help="NAME=FILE: (id, score) as one more arm")
    parser.add_argument("--export-documents", type=new_file, help="write the documents and end")
    parser.add_argument("--plot", type=new_file, default="build/selection_quality.png")
    asked = parser.parse_args()
    if asked.quick and asked.seeds is not None:
        parser.error(f"--seeds would be ignored, --quick has {QUICK.seeds}: leave one of them out")
    project_of(parser, asked.project, [])
    return asked


if __name__ == "__main__":
    program(main)
