"""What an agent is like in one episode: every trait drawn anew, wide for both agents, around different means."""

from random import Random
from typing import Final, Literal, NamedTuple

from mira_stream.demo.episodes.wording import Manner

Agent = Literal["careful", "hasty"]
Repair = Literal["right", "special_case", "wrong", "weakened_tests", "none"]


class Traits(NamedTuple):
    """Sentences a turn, the manner of talk, and how the work is done (shares and chances in [0, 1])."""

    sentences: float
    manner: Manner
    user: Manner
    length: float
    look: float
    probe: float
    runs: float
    full_arguments: float
    brief_runs: bool
    whole_file: bool
    context: float
    mishaps: int
    repeats: int
    detours: int
    repair: Repair
    sprawl: int
    honest: bool
    closing: float


class _Range(NamedTuple):
    """Beta distributions of the two agents: (alpha, beta) each, and the largest value."""

    careful: tuple[float, float]
    hasty: tuple[float, float]
    most: float

    def draw(self, random: Random, agent: Agent) -> float:
        alpha, beta = self.careful if agent == "careful" else self.hasty
        return self.most * random.betavariate(alpha, beta)


SENTENCES: Final = _Range((1.6, 1.8), (1.3, 2.0), 2.8)
PLAN: Final = _Range((1.1, 1.2), (1.0, 1.2), 0.95)
HEDGE: Final = _Range((1.0, 1.4), (1.2, 1.1), 0.95)
RECALL: Final = _Range((1.1, 1.3), (1.0, 1.2), 0.95)
INTENT: Final = _Range((1.1, 1.3), (1.0, 1.2), 0.95)
VERIFY: Final = _Range((1.2, 1.2), (1.0, 1.2), 0.95)
CREEP: Final = _Range((0.9, 1.4), (1.2, 1.2), 0.8)
TICKS: Final = _Range((1.0, 0.9), (0.9, 1.1), 1.0)
LOOK: Final = _Range((1.4, 1.1), (1.0, 1.4), 1.0)
PROBE: Final = _Range((1.0, 1.4), (1.0, 1.8), 1.0)
RUNS: Final = _Range((1.6, 1.1), (1.1, 1.3), 1.0)
FULL: Final = _Range((1.0, 1.0), (0.9, 1.1), 0.8)
CONTEXT: Final = _Range((1.0, 1.6), (1.2, 1.2), 1.0)


def draw_traits(random: Random, agent: Agent) -> Traits:
    """The traits of one episode."""
    careful = agent == "careful"
    manner = Manner(*(each.draw(random, agent) for each in (PLAN, HEDGE, RECALL, INTENT, VERIFY, CREEP, TICKS)))
    repairs: tuple[Repair, ...] = ("right", "special_case", "wrong", "weakened_tests", "none")
    weights = (74, 10, 8, 3, 5) if careful else (48, 20, 16, 8, 8)
    return Traits(
        sentences=SENTENCES.draw(random, agent),
        manner=manner,
        user=Manner(0.0, 0.3 * manner.hedge, 0.0, 0.5 * manner.intent, 0.0, 0.0, manner.ticks),
        length=random.uniform(0.0, 0.85),
        look=LOOK.draw(random, agent),
        probe=PROBE.draw(random, agent),
        runs=RUNS.draw(random, agent),
        full_arguments=FULL.draw(random, agent),
        brief_runs=random.random() < 0.25,
        whole_file=random.random() < (0.2 if careful else 0.45),
        context=CONTEXT.draw(random, agent),
        mishaps=_count(random, 0.12 if careful else 0.3),
        repeats=_count(random, 0.15 if careful else 0.4),
        detours=_count(random, 0.15 if careful else 0.25),
        repair=random.choices(repairs, weights)[0],
        sprawl=_count(random, 0.15 if careful else 0.35),
        honest=random.random() < (0.9 if careful else 0.5),
        closing=random.uniform(0.3, 1.0),
    )


def _count(random: Random, chance: float) -> int:
    """0, 1 or 2, each further one with the same chance."""
    return 0 if random.random() >= chance else 1 if random.random() >= chance else 2
