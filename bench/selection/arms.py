"""The arms: from what is known of a seed's documents to what each method keeps at half of the tokens."""

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.selection.pool import Known
from mira_stream.selection.dsir import DsirModel
from mira_stream.selection.rules import choose

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
SHARE: Final = 0.5
PRIMARY: Final = ("mira-group", "random-per-source", "dsir")
"""Named beforehand: the first against each of the others, by precision of clean tokens."""
ARMS: Final = (
    "mira-global",
    "mira-group",
    "mira-source",
    "teacher-group",
    "random",
    "random-per-source",
    "dsir",
    "ppl",
    "fixed-rubric-14:featurejudge",
    "oracle",
)
Variant = Literal["global", "group", "source"]


class Pool(NamedTuple):
    """One seed's documents with what was measured of them; `reference`: good documents (apart from these) that
    methods with a target may look at, by group."""

    known: Sequence[Known]
    views: Sequence[str]
    tokens: NDArray[np.int64]
    student: Floats
    teacher: Floats
    fixed: Floats
    reference: Mapping[str, Sequence[str]]
    seed: int

    @property
    def clean(self) -> Bools:
        return np.array([one.clean for one in self.known])

    @property
    def levels(self) -> Floats:
        return np.array([one.level for one in self.known], np.float64)

    def of(self, field: Callable[[Known], str]) -> list[str]:
        return [field(one) for one in self.known]


class Arm(NamedTuple):
    """`scores`: higher is kept sooner. `variant`: the scope in which documents compete for tokens."""

    name: str
    scores: Floats
    variant: Variant


def arms(pool: Pool, foreign: Mapping[str, Mapping[str, float]], steps: int) -> list[Arm]:
    """Every arm of one seed; `foreign`: (id, score) files of others. Raises KeyError for a document they lack."""
    chance = Random(f"arms/{pool.seed}")
    lots = np.array([chance.random() for _ in pool.known])
    found = [
        Arm("mira-global", pool.student, "global"),
        Arm("mira-group", pool.student, "group"),
        Arm("mira-source", pool.student, "source"),
        Arm("teacher-group", pool.teacher, "group"),
        Arm("random", lots, "global"),
        Arm("random-per-source", lots, "source"),
        Arm("dsir", dsir(pool), "global"),
        Arm("ppl", -perplexity(pool, steps), "global"),
        Arm("fixed-rubric-14:featurejudge", pool.fixed, "global"),
        Arm("oracle", -pool.levels, "global"),
    ]
    assert tuple(arm.name for arm in found) == ARMS
    ids = pool.of(lambda one: one.document.id)
    return found + [Arm(name, np.array([scores[one] for one in ids]), "global") for name, scores in foreign.items()]


def kept(pool: Pool, arm: Arm) -> Bools:
    """What the arm keeps of half the pool's tokens."""
    return choose(
        arm.scores,
        pool.tokens,
        pool.of(lambda one: one.document.source),
        pool.of(lambda one: one.document.id),
        variant=arm.variant,
        budget_tokens=int(pool.tokens.sum() * SHARE),
        groups={one.document.source: one.group for one in pool.known},
    )


def dsir(pool: Pool) -> Floats:
    """Log importance weights towards the reference, with Gumbel noise: top-k of them is importance resampling."""
    target = [text for texts in pool.reference.values() for text in texts]
    weights = DsirModel.fit(pool.views, target).weights(pool.views)
    return weights + np.random.default_rng(pool.seed).gumbel(size=len(weights))


def perplexity(pool: Pool, steps: int) -> Floats:
    """Bits a byte under a language model of the reference."""
    from bench.selection.language_model import bits_of_each, train

    model = train([text for texts in pool.reference.values() for text in texts], steps, pool.seed)
    return np.array(bits_of_each(model, pool.views))


def shares(pool: Pool, chosen: Bools) -> tuple[float, float]:
    """Precision and recall of clean tokens."""
    tokens, clean = pool.tokens, pool.clean
    hit = float(tokens[chosen & clean].sum())
    return hit / max(1.0, float(tokens[chosen].sum())), hit / max(1.0, float(tokens[clean].sum()))
