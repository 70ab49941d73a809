"""The pieces of work that run side by side in processes of their own."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench.selection.arms import Pool, arms, kept, shares
from bench.selection.pool import Known, decoys, functions, good, group_of, half_damaged, ladder
from bench.selection.scoring import GroupJudge, Scored
from bench.selection.statistics import spearman
from mira_stream.chance import u
from mira_stream.config import load_project
from mira_stream.demo.corpus_agent import episodes
from mira_stream.render import render
from mira_stream.selection.dsir import DsirModel


class Size(NamedTuple):
    """How much is measured; counts are of one source; `functions` of a group, `faults` of a function."""

    seeds: int = 8
    documents: int = 48
    ladder: int = 10
    reference: int = 40
    steps: int = 250
    episodes: int = 150
    functions: int = 60
    faults: int = 3

    @property
    def wanted(self) -> int:
        return self.seeds * self.documents + self.ladder + self.reference


class Material(NamedTuple):
    """What one source gives: documents by purpose; `executed`: with whether their tests pass."""

    pools: list[Known]
    rungs: list[Known]
    decoys: list[Known]
    executed: list[tuple[Known, bool]]
    reference: list[str]


class Outcome(NamedTuple):
    """One arm at one seed: shares of clean tokens; by source, bits a byte, and rho of score and length of good ones."""

    precision: float
    recall: float
    bits: Mapping[str, float]
    length: Mapping[str, float]


def material(root: Path, source: str, size: Size) -> Material:
    """Documents of one source, and the functions and episodes that its group's truth is executed on."""
    project = load_project(root, {})
    group, family = group_of(project, source), project.settings.family_of(source)
    documents = good(project, source, size.wanted)
    # By chance, not by their order in the corpus: neighbours come from the same file.
    documents.sort(key=lambda one: u("seed", one.id))
    rungs = documents[: size.ladder]
    reference = documents[size.ladder : size.ladder + size.reference]
    rest = documents[size.ladder + size.reference :]
    pools = []
    for seed in range(size.seeds):
        pools += half_damaged(project, source, rest[seed :: size.seeds], seed)
    first = source == min(name for name, other in project.settings.sources.items() if other.group == group)
    executed = functions(project, group, size.functions, size.faults) if first and family != "agent" else []
    if family == "agent":
        found = episodes(source, size.episodes, seed=1)
        executed = [(Known(one.document, group, "", 0, one.outcome.function), one.outcome.solved) for one in found]
    views = [render(one, family) for one in reference]
    return Material(pools, list(ladder(project, source, rungs)), list(decoys(project, source, rungs)), executed, views)


def score(root: Path, group: str, known: Sequence[Known]) -> Scored:
    """Qualities of documents of one group."""
    return _judge(root, group).judge([one.document for one in known])


@cache
def _judge(root: Path, group: str) -> GroupJudge:
    return GroupJudge(root, group)


def beside(raw: Sequence[str], target: Sequence[str], views: Sequence[str], steps: int) -> dict[str, np.ndarray]:
    """Scores of views by the baselines that aim at a target: log importance weights, minus bits a byte."""
    import torch

    from bench.selection.language_model import bits_of_each, train

    torch.set_num_threads(1)
    model = train(target, steps, 0)
    return {"dsir": DsirModel.fit(raw, target).weights(views), "ppl": -np.array(bits_of_each(model, views))}


def compare(
    pool: Pool, reference: Mapping[str, Sequence[str]], foreign: Mapping[str, Mapping[str, float]], steps: int
) -> dict[str, Outcome]:
    """All arms at one seed. `reference`: good documents of every source, for bits a byte."""
    import torch

    from bench.selection.language_model import bits_a_byte, train

    torch.set_num_threads(1)
    found = {}
    for arm in arms(pool, foreign, steps):
        chosen = kept(pool, arm)
        model = train([view for view, take in zip(pool.views, chosen, strict=True) if take], steps, pool.seed)
        bits = {source: bits_a_byte(model, texts) for source, texts in reference.items()}
        found[arm.name] = Outcome(*shares(pool, chosen), bits, _length(pool, arm.scores))
    return found


def _length(pool: Pool, scores: np.ndarray) -> dict[str, float]:
    """Spearman's rho of score and length among good documents, by source."""
    sources = np.array(pool.of(lambda one: one.document.source))
    found = {}
    for source in sorted(set(sources.tolist())):
        these = (sources == source) & pool.clean
        lengths = np.array([len(view) for view, take in zip(pool.views, these, strict=True) if take])
        found[source] = spearman(scores[these], lengths)
    return found
