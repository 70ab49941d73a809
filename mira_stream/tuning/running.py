"""Runs a search: what it asks for is measured, and what is measured is told to it."""

from collections.abc import Callable, Sequence

from mira_stream.benching.alternating import Alternating, NotRun
from mira_stream.config import Project
from mira_stream.errors import DependencyError
from mira_stream.tuning.search import Failed, Tuned, search
from mira_stream.tuning.space import Choice, Knob, said, with_choice

Talk = Callable[[str], None]


async def run_search(
    project: Project, group: str, knobs: Sequence[Knob], pairs: int, engines: Alternating, talk: Talk
) -> Tuned:
    """Raises DependencyError(tune_start) if the settings in force do not run."""
    steps = search(knobs, pairs)
    try:
        ask = next(steps)
        start = shown(ask.choice)
        while True:
            tried = shown(ask.choice)
            try:
                if engines.alive > 1:
                    tried = shown(ask.other)
                    await engines.ready(tried, with_choice(project, group, ask.other))
                    tried = shown(ask.choice)
                turn = await engines.turn(tried, with_choice(project, group, ask.choice))
            except NotRun as why:
                if tried == start:
                    cause = f"the settings in force do not run: {why}"
                    raise DependencyError("tune_start", cause, "look at it with: mira-stream doctor") from None
                talk(f"{tried}: does not run: {why}")
                ask = steps.throw(Failed(str(why)))
            else:
                ask = steps.send(turn.documents_per_s)
    except StopIteration as end:
        tuned: Tuned = end.value
        return tuned


def shown(choice: Choice) -> str:
    """As a line; also what tells one choice from another."""
    return ", ".join(f"{name} = {said(value)}" for name, value in choice.items())
