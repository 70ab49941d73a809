"""What `mira-stream reliability --retest N` does: the teacher judges N held-out views a second time."""

from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Final, NamedTuple

from mira_stream.cli.output import say
from mira_stream.cli.teachers import (
    Spent,
    look_ahead,
    open_teacher,
    say_estimate,
    seen_reply_tokens,
    teacher_budget,
    teacher_limits,
    teacher_price,
)
from mira_stream.config import Project
from mira_stream.distill.teach import Asking
from mira_stream.errors import BudgetReached, ConfigError, DependencyError
from mira_stream.messages import Mode
from mira_stream.prompt import Prompt, load_prompt
from mira_stream.reliability.retest import Again, View, choose, read_scores, retest
from mira_stream.reliability.table import Retest
from mira_stream.rubric.anchors import Rubric
from mira_stream.sections import TeacherSection
from mira_stream.teaching import Answer, Journal, Question, Unanswered, ask_all, estimate

WITHOUT: Final = "or leave the re-test out: no --retest; of the pipeline [reliability] retest = 0"
FIX: Final = f"a re-test needs the teacher that gave the labels: put [teacher] as it was then; {WITHOUT}"


class RetestOrder(NamedTuple):
    """How many views are judged again, and what that may cost. `teacher` gave the labels, in `mode`, at `temperature`
    (None: labels of earlier versions do not say)."""

    views: int
    teacher: str
    mode: Mode
    temperature: float | None = None
    cost_max: float | None = None
    tokens_max: int | None = None


async def retest_teacher(project: Project, group: str, rubric: Rubric, views: list[View], order: RetestOrder) -> Retest:
    """Answers are kept in work/retest-<group>.journal: the same command goes on, and none is paid for twice.

    Raises ConfigError(teacher_mismatch) if the labels are another teacher's, DependencyError(teacher_unreadable) if
    no answer could be read, and what asking raises.
    """
    settings = project.settings
    _check_same(settings.teacher, order)
    price = teacher_price(project)
    budget = teacher_budget(price, order.cost_max, order.tokens_max)
    prompt = load_prompt(project.prompts_path(group), rubric)
    layout = settings.groups[group].layout
    chosen = choose(views, order.views)
    asked = questions(project, group, prompt, chosen)
    by_key = {question.key: view for question, view in zip(asked, chosen, strict=True)}

    def read(question: Question, answer: Answer) -> list[float]:
        return read_scores(answer.text, layout, rubric.names)

    again: dict[str, list[float]] = {}
    with Journal(retest_journal(project, group), {"rubric": rubric.version}) as journal:
        ahead = look_ahead(asked, journal, settings.teacher)
        reply_tokens = seen_reply_tokens(journal) or expected_reply_tokens(project, group, order.mode, prompt, rubric)
        say(say_estimate(estimate(ahead.left, price, reply_tokens=reply_tokens), price))
        async with open_teacher(project, groups=[group], mode=order.mode) as teacher:
            with Spent(price) as spent:
                results = ask_all(
                    asked,
                    Again(teacher),
                    read,
                    journal=journal,
                    limits=teacher_limits(project),
                    budget=budget,
                    price=price,
                    progress=spent.hear,
                    tell=say,
                )
                try:
                    async with aclosing(results):
                        async for question, result in results:
                            if not isinstance(result, Unanswered):
                                again[by_key[question.key].key] = result
                except BudgetReached as error:
                    raise BudgetReached(error.code, error.cause, f"{error.fix}; {WITHOUT}") from None
    found = retest(chosen, again, order.teacher, settings.teacher.temperature, prompt.files_sha256)
    if found is None:
        raise DependencyError(
            "teacher_unreadable",
            f"none of {len(chosen)} views was judged again",
            "see that prompt, layout and mode fit the teacher",
        )
    return found


def retest_journal(project: Project, group: str) -> Path:
    """The teacher's second answers."""
    return project.root / "work" / f"retest-{group}.journal"


def questions(project: Project, group: str, prompt: Prompt, views: Sequence[View]) -> list[Question]:
    """One a view."""
    tokens_max = project.settings.teacher.reply_tokens_max
    return [Question(f"retest/{group}/{view.key}", prompt.messages(view.view), tokens_max) for view in views]


def expected_reply_tokens(project: Project, group: str, mode: Mode, prompt: Prompt, rubric: Rubric) -> int:
    """About what a reply takes before one was seen, as `label` expects it."""
    settings = project.settings
    asking = Asking(group, settings.groups[group], mode, prompt, rubric, settings.teacher.reply_tokens_max)
    return asking.expected_reply_tokens


def _check_same(teacher: TeacherSection, order: RetestOrder) -> None:
    """Raises ConfigError(teacher_mismatch)."""
    if teacher.model != order.teacher:
        cause = f"the labels are of teacher {order.teacher}, [teacher] names {teacher.model}"
        raise ConfigError("teacher_mismatch", cause, FIX)
    if order.temperature is not None and teacher.temperature != order.temperature:
        cause = (
            f"the labels were asked for at temperature {order.temperature:g}, [teacher] says {teacher.temperature:g}"
        )
        raise ConfigError("teacher_mismatch", cause, FIX)
