"""What the steps that a pipeline has before it will ask of the teacher: nobody is asked for it, and nothing written.

A step is estimated as its own command estimates it; where that cannot be known yet, it is said why.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from mira_stream.cli.discovering import look_before as look_before_discovery
from mira_stream.cli.discovering import plan_of
from mira_stream.cli.label_work import look_before, order_of, work_of
from mira_stream.cli.labels_place import labels_place
from mira_stream.cli.measuring import read_held_out
from mira_stream.cli.output import say
from mira_stream.cli.retesting import expected_reply_tokens, questions, retest_journal
from mira_stream.cli.teachers import look_ahead, say_estimate, seen_reply_tokens, teacher_price
from mira_stream.config import Project
from mira_stream.discovery.discover import journal_path
from mira_stream.discovery.templates import coming_prompt
from mira_stream.errors import ConfigError, MiraError
from mira_stream.pipeline.before import Planned
from mira_stream.pipeline.steps import ASKS_TEACHER, label_journal
from mira_stream.reliability.retest import choose
from mira_stream.rubric.anchors import load_rubric
from mira_stream.teaching import Estimate, Journal, estimate

NEW_GROUPS: Final = "new groups"


class Foreseen(NamedTuple):
    """What a step will ask, or why that cannot be said. `sure`: it is due, whatever the steps before it make.
    `heldout`: so many views to measure on will be labelled."""

    step: str
    expected: Estimate | None
    unknown: str = ""
    sure: bool = True
    heldout: int = 0

    def entry(self) -> dict[str, Any]:
        """For --json."""
        numbers = {} if self.expected is None else self.expected._asdict()
        return {"step": self.step, "sure": self.sure, "unknown": self.unknown, **numbers}


class _NotYetError(Exception):
    """What must be there before this can be said."""


def foresee(project: Project, planned: Sequence[Planned]) -> list[Foreseen]:
    """The steps that ask the teacher and are due, or may be, in the order of the plan."""
    coming = {one.step for one in planned if one.state in ("due", "follows")}
    found: dict[str, Foreseen] = {}
    for one in planned:
        stage, _, group = one.step.partition(" ")
        if stage not in ASKS_TEACHER or (stage == "reliability" and not project.settings.reliability.retest):
            continue
        if one.state == "later":
            found.setdefault(NEW_GROUPS, Foreseen(NEW_GROUPS, None, one.why))
        elif one.step in coming:
            sure = one.state == "due"
            try:
                found[one.step] = _foreseen(project, stage, group, coming, found)._replace(step=one.step, sure=sure)
            except _NotYetError as error:
                found[one.step] = Foreseen(one.step, None, str(error), sure)
            except MiraError as error:
                found[one.step] = Foreseen(one.step, None, f"{error.cause}; do: {error.fix}", sure)
    return list(found.values())


def foreseen_lines(project: Project, found: Sequence[Foreseen]) -> list[str]:
    """Lines for a person: a step each, and the sum of those that are sure."""
    price = teacher_price(project)
    lines = []
    for one in found:
        what = f"not known yet: {one.unknown}" if one.expected is None else say_estimate(one.expected, price)
        lines.append(f"{one.step:28} {'' if one.sure else 'if it is due: '}{what}")
    known = [one.expected for one in found if one.expected is not None and one.sure]
    if len(found) > 1 and known:
        whole = Estimate(*(sum(values) for values in zip(*known, strict=True)))
        lines.append(f"{'in all, as far as known':28} {say_estimate(whole, price)}")
    return ["asked of the teacher:", *lines] if lines else []


def _foreseen(
    project: Project, stage: str, group: str, coming: Collection[str], found: Mapping[str, Foreseen]
) -> Foreseen:
    """Raises _NotYetError, and MiraError as the step's own command does."""
    sources, labels = project.settings.sources_of(group), project.settings.labels
    retest = project.settings.reliability.retest
    if made := [name for name in sources if f"corpus {name}" in coming]:
        raise _NotYetError(f"documents of {', '.join(made)} are made first")
    if stage == "discover":
        _say_read(group, sources)
        with _opened(journal_path(project, group)) as journal:
            look = look_before_discovery(project, plan_of(project, group), journal, project.settings.teacher)
            return Foreseen("", look[1])
    if f"discover {group}" in coming:
        documents = f"{labels.documents:,} + {labels.heldout:,} documents of each source"
        most = documents if stage == "label" else f"{retest:,} views"
        raise _NotYetError(f"its rubric is made first; {most} at most")
    if stage == "label":
        _say_read(group, sources)
        return _labelling(project, group)
    if (label := found.get(f"label {group}")) is None:
        return Foreseen("", _retest(project, group))
    if label.expected is None or not label.expected.questions:
        raise _NotYetError(f"its labels are made first; {retest:,} views at most")
    return Foreseen("", _share(project, label.expected, min(retest, label.heldout)))


def _say_read(group: str, sources: Sequence[str]) -> None:
    say(f"{group}: reading all documents of {', '.join(sources)}, to say what will be asked about them")


def _labelling(project: Project, group: str) -> Foreseen:
    rubric = load_rubric(project.rubric_path(group))
    prompt = coming_prompt(project, group, rubric)
    with _opened(label_journal(project, group), {"rubric": rubric.version}) as journal:
        work = work_of(project, order_of(project, group), rubric, prompt, journal, planned=True)
        heldout = sum(one.split == "heldout" for one in work.choice.documents)
        return Foreseen("", look_before(work, journal, project.settings.teacher)[1], heldout=heldout)


def _retest(project: Project, group: str) -> Estimate:
    """Of labels that are there."""
    settings, rubric = project.settings, load_rubric(project.rubric_path(group))
    prompt = coming_prompt(project, group, rubric)
    held_out = read_held_out(labels_place(project, group), rubric.version, prompt, "")
    asked = questions(project, group, prompt, choose(held_out.views(), settings.reliability.retest))
    mode = held_out.mode or settings.groups[group].lesson_mode
    with _opened(retest_journal(project, group), {"rubric": rubric.version}) as journal:
        left = look_ahead(asked, journal, settings.teacher).left
        reply_tokens = seen_reply_tokens(journal) or expected_reply_tokens(project, group, mode, prompt, rubric)
        return estimate(left, teacher_price(project), reply_tokens=reply_tokens)


def _share(project: Project, of: Estimate, count: int) -> Estimate:
    """As many questions of the same kind."""
    prompt, generation = (round(tokens * count / of.questions) for tokens in (of.prompt_tokens, of.generation_tokens))
    return Estimate(count, prompt, generation, teacher_price(project).of(prompt, generation))


@contextmanager
def _opened(path: Path, about: Mapping[str, str] | None = None) -> Iterator[Journal | None]:
    """The answers that are there; one of another rubric is put aside before the step asks."""
    with ExitStack() as stack:
        journal = None
        if path.is_file():
            try:
                journal = stack.enter_context(Journal(path, about))
            except ConfigError as error:
                if error.code != "rubric_mismatch":
                    raise
        yield journal
