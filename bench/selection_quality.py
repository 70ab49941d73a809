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
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import orjson

import mira_stream.demo

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run as a file, too

from bench.selection.arms import Pool
from bench.selection.findings import (
    arm_table,
    comparisons,
    decoy_table,
    defect_table,
    executed_table,
    goals,
)
from bench.selection.planted_cells import mask_quality
from bench.selection.pool import Known, group_of
from bench.selection.report import plot, show
from bench.selection.scoring import Scored
from bench.selection.work import Material, Size, compare, material, score
from mira_stream.config import Project, load_project
from mira_stream.demo.featurejudge.judge import judge_sha256
from mira_stream.render import render

SHIPPED = Path(mira_stream.demo.__path__[0]) / "project"
QUICK = Size(seeds=2, documents=8, ladder=2, reference=6, steps=30, episodes=12, faults=1)


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
    size = QUICK if asked.quick else Size(seeds=asked.seeds)
    project = load_project(asked.project, {})
    print(f"feature judge sha256 {judge_sha256()}; {size.seeds} seeds", flush=True)
    clock = Clock()
    with ProcessPoolExecutor(asked.processes, get_context("spawn")) as workers:
        sources = sorted(project.settings.sources)
        found = dict(zip(sources, workers.map(material, *_times(asked.project, sources, size)), strict=True))
        clock.done("documents")
        known = [one for source in sources for one in _all(found[source])]
        if asked.export_documents is not None:
            _export(asked.export_documents, project, known)
            return
        foreign = {name: _scores(path) for name, path in asked.arm}
        scored = _score(workers, asked.project, known)
        clock.done("scores")
        reference = {source: found[source].reference for source in sources}
        pools = [_pool(project, found, scored, seed) for seed in range(size.seeds)]
        seeds = list(workers.map(compare, pools, *_repeat(size.seeds, reference, foreign, size.steps)))
        clock.done("selections and language models")
    result = _findings(found, scored, seeds, size)
    clock.done("planted cells")
    result |= {"feature_judge": judge_sha256(), "size": size._asdict(), "seconds": clock.parts}
    show(result)
    plot(asked.plot, result)
    print(orjson.dumps(result).decode())


def _findings(
    found: Mapping[str, Material], scored: Mapping[str, "Judged"], seeds: Sequence[Mapping[str, Any]], size: Size
) -> dict[str, Any]:
    arms, compared = arm_table(seeds), comparisons(seeds)
    rungs = [one for own in found.values() for one in own.rungs]
    fakes = [one for own in found.values() for one in own.decoys]
    executed = [pair for own in found.values() for pair in own.executed]

    def of(known: Sequence[Known], field: str) -> np.ndarray:
        return np.array([getattr(scored[one.document.id], field) for one in known])

    bases = {one.base: scored[one.document.id].student for one in rungs if one.level == 0}
    quick = size.seeds < 8
    mask = mask_quality(sources=4 if quick else 40, documents=500, seed=1)
    fields = {"student": "student", "teacher": "teacher", "fixed-rubric-14:featurejudge": "fixed"}
    return {
        "arms": arms,
        "comparisons": compared,
        "defects": defect_table(rungs, of(rungs, "student"), of(rungs, "teacher")),
        "decoys": decoy_table(fakes, of(fakes, "student"), bases),
        "executed": executed_table(executed, {n: of([one for one, _ in executed], f) for n, f in fields.items()}),
        "mask": mask._asdict(),
        "goals": goals(arms, compared, mask),
    }


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
    """Every document once, a group a piece of work in halves."""
    pieces = []
    for group in sorted({one.group for one in known}):
        own = list({one.document.id: one for one in known if one.group == group}.values())
        pieces += [(group, own[::2]), (group, own[1::2])]
    results = workers.map(score, *_times(root, [group for group, _ in pieces], [own for _, own in pieces], zipped=True))
    return {
        one.document.id: Judged(scored, place)
        for (_, own), scored in zip(pieces, results, strict=True)
        for place, one in enumerate(own)
    }


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


def _export(path: Path, project: Project, known: Sequence[Known]) -> None:
    """What another scorer may see."""
    with path.open("wb") as file:
        for one in {one.document.id: one for one in known}.values():
            source = one.document.source
            text = render(one.document, project.settings.family_of(source))
            file.write(orjson.dumps({"id": one.document.id, "source": source, "text": text}) + b"\n")
    print(f"{path}: score each id, then --arm NAME=FILE with lines of {{id, score}}")


def _scores(path: Path) -> dict[str, float]:
    rows = map(orjson.loads, path.read_bytes().splitlines())
    return {row["id"]: float(row["score"]) for row in rows}


def _arm(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not equals or not Path(path).is_file():
        raise argparse.ArgumentTypeError(f"{text!r} is no NAME=FILE of a file that is there")
    return name, Path(path)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--project", type=Path, default=SHIPPED, help="whose students are measured")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--quick", action="store_true", help="small: whether everything runs")
    parser.add_argument("--processes", type=int, default=min(2, len(os.sched_getaffinity(0))))
    parser.add_argument("--arm", type=_arm, action="append", default=[], help="NAME=FILE: (id, score) as one more arm")
    parser.add_argument("--export-documents", type=Path, help="write the documents and end")
    parser.add_argument("--plot", type=Path, default=Path("build/selection_quality.png"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
