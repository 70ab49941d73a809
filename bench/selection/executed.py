"""Truth that was executed: repair episodes by their hidden tests, functions and their mutants by all their tests.

No feature of the judge contains it: a scorer's AUC here is what it knows of being right, beyond how a text looks.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Final, NamedTuple

from mira_stream.chance import is_heldout, u
from mira_stream.demo.corpus_agent import SOURCES, UNBOUNDED, episodes
from mira_stream.demo.episodes.bank import TASKS
from mira_stream.demo.episodes.mutate import mutants, silent_mutants, surviving_mutants
from mira_stream.demo.episodes.task import Task
from mira_stream.distill.labels import is_measured
from mira_stream.messages import Document, Parts

MUTANTS_MAX: Final = 3
"""Of one function and one kind of outcome."""


class Executed(NamedTuple):
    """A document, whether what it holds is right, and the function it is about: documents of one function are no
    independent draws."""

    document: Document
    right: bool
    function: str


def repaired(source: str, count: int) -> list[Executed]:
    """Episodes no student was trained or measured on; right: every visible and hidden test passes at the end."""
    fit = (
        episode
        for episode in episodes(source, UNBOUNDED)
        if is_heldout(episode.document.id) and not is_measured(episode.document.id)
    )
    return [
        Executed(episode.document, episode.outcome.solved, episode.outcome.function) for episode in islice(fit, count)
    ]


def agent_sources(known: Sequence[str]) -> list[str]:
    """Those of the project's sources whose episodes can be executed here."""
    return [name for name in known if name in SOURCES]


def mutated(source: str, functions: int) -> list[Executed]:
    """Functions as answers to what they are for: as they were written, and with one fault each.

    Right: every test passes; that is the function itself and the faults that no test notices (as a test suite sees
    it, they are none). Wrong: a visible or a hidden test fails.
    """
    chosen = sorted(TASKS, key=lambda task: u("seed", task.name))[:functions]
    return [one for task in chosen for one in _versions(task, source)]


def _versions(task: Task, source: str) -> list[Executed]:
    alive = surviving_mutants(task)[:MUTANTS_MAX]
    killed = [*silent_mutants(task)[:MUTANTS_MAX], *mutants(task)[:MUTANTS_MAX]]
    codes = [("own", task.code, True)]
    codes += [(mutant.name, mutant.code, True) for mutant in alive]
    codes += [(mutant.name, mutant.code, False) for mutant in killed]
    question = f"Write the Python function `{task.name}`. {task.about}"
    return [
        Executed(
            Document(id=f"mutants/{task.name}/{name}", source=source, parts=Parts(question=question, answer=code)),
            right,
            task.name,
        )
        for name, code, right in codes
    ]
