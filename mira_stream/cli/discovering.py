"""What `mira-stream rubric discover` does for one group: sample, say what it will cost, ask, make the rubric."""

from collections.abc import Iterator
from contextlib import nullcontext
from hashlib import sha256
from itertools import chain
from math import ceil
from typing import Any, Final, NamedTuple

import msgspec

from mira_stream.cli.grouping import embedding_of
from mira_stream.cli.interrupts import run
from mira_stream.cli.output import say, talk
from mira_stream.cli.sampled import Steps, read_aloud, source_documents
from mira_stream.cli.teachers import (
    Ahead,
    Judge,
    Spent,
    check_left_behind,
    look_ahead,
    open_teacher,
    say_estimate,
    seen_reply_tokens,
    teacher_budget,
    teacher_limits,
    teacher_price,
)
from mira_stream.config import Project
from mira_stream.demo.featurejudge.judge import MODEL
from mira_stream.discovery.discover import (
    Answers,
    Letter,
    Plan,
    Terms,
    ask_sample,
    journal_path,
    make_rubric,
    plan_questions,
    replaced_path,
    save_letters,
    save_rubric,
)
from mira_stream.discovery.fitting import fit, said
from mira_stream.discovery.questions import CUT_BY, Asked, Cutting, by_characters, draw_sample, sampled_texts
from mira_stream.discovery.templates import prompt_room, write_missing_templates
from mira_stream.embedding import Embedder
from mira_stream.errors import ConfigError
from mira_stream.messages import Document
from mira_stream.rubric.anchors import Rubric
from mira_stream.teaching import Budget, Estimate, Journal, Spending, estimate

PLUMBING: Final = (
    "the feature judge draws its dimension names from its own list: with it, discovery shows the plumbing, not the"
    " insight; name a model behind an OpenAI-compatible URL in [teacher]"
)
ESTIMATE_QUESTIONS: Final = 200


class Order(NamedTuple):
    """What is wanted, and what it may cost. `introduced`: of another group it was said who the teacher is."""

    documents: int | None = None
    cost_max: float | None = None
    tokens_max: int | None = None
    concurrency: int | None = None
    retry_unread: bool = False
    agreed: bool = False
    introduced: bool = False


def discover_group(project: Project, group: str, order: Order) -> dict[str, Any]:
    """Discover and write a group's rubric; what was made of what, and what it cost.

    Raises ConfigError (no sources, nothing readable, points_too_few, too_many_unanswered, k), DependencyError,
    StageStopped (teacher_unreadable), BudgetReached, CheckFailed (answers_left_behind). What was paid for is kept in
    each case.
    """
    plan = plan_of(project, group, order.documents)
    if (there := plan.sample.documents) < plan.section.documents:
        talk.print(f"{group}: {there:,} different documents, {plan.section.documents:,} were asked for", markup=False)
    price = teacher_price(project)
    budget = teacher_budget(price, order.cost_max, order.tokens_max)
    spent = Spent(price, f"{group}: ")
    with Journal(journal_path(project, group)) as journal, Steps(talk, f"discover {group}") as steps:

        def progress(spending: Spending) -> None:
            spent.hear(spending)
            steps.at(spending.asked + spending.from_journal, plan.sample.documents, f"cost {spending.cost:,.2f}")

        terms = Terms(
            teacher_limits(project, order.concurrency, retry_unread=order.retry_unread),
            budget,
            price,
            progress,
            lambda line: say(f"{group}: {line}"),
            project.settings.limits.dead_letters_in_a_row,
        )
        agreed = order.agreed or budget != Budget()
        answers = run(_ask(project, plan, journal, terms, spent, agreed=agreed, introduced=order.introduced))
    before = project.rubric_path(group).read_bytes() if project.rubric_path(group).is_file() else b""
    rubric = save_rubric(project, group, _made(project, plan, answers))
    if before and (old := sha256(before).hexdigest()[:12]) != rubric.version:
        talk.print(
            f"{group}: version {old} is replaced and kept as {replaced_path(project, group, old)}; labels, students and"
            " tables made with it are refused from now on",
            markup=False,
            soft_wrap=True,
        )
    return _finished(project, plan, rubric, answers, spent.newest)


async def _ask(
    project: Project, plan: Plan, journal: Journal, terms: Terms, spent: Spent, *, agreed: bool, introduced: bool
) -> Answers:
    group = plan.group
    async with open_teacher(project, introduced=introduced) as teacher:
        for line in _fitting(project, plan):
            say(f"{group}: {line}")
        ahead, expected = look_before(project, plan, journal, teacher)
        say(f"{group}: {say_estimate(expected, terms.price)}")
        check_left_behind(ahead, journal, agreed)
        letters: list[Letter] = []
        try:
            with spent:
                return await ask_sample(lambda: _documents(project, group), plan, teacher, journal, terms, letters)
        finally:  # also of a run that is stopped: it is then that somebody looks
            save_letters(project, group, letters)


def plan_of(project: Project, group: str, documents: int | None = None) -> Plan:
    """The sample of a group that is judged, of so many `documents` if given. Raises ConfigError(group_empty)."""
    settings = project.settings
    if not settings.sources_of(group):
        raise ConfigError(
            "group_empty", f"no source is in group {group!r}", "mira-stream rubric group, or give a source that group"
        )
    section = settings.discovery
    if documents is not None:
        section = msgspec.structs.replace(section, documents=documents)
    family = settings.groups[group].family
    with talk.status(f"{group}: reading documents") if talk.is_terminal else nullcontext():
        sample = draw_sample(_read_aloud(project, group), family, section.documents, section.seed)
    for reason, count in sorted(sample.left_out.items()):
        talk.print(f"{group}: {count} documents left out: {reason}", markup=False)
    if not sample.documents:
        raise ConfigError("group_empty", f"no document of group {group!r} can be judged", "look at its sources' files")
    cutting = Cutting(settings.groups[group], settings.tokens.train_cutoff_tokens, by_characters)
    return Plan(group, sample, cutting, section, settings.grouping.scope)


def _documents(project: Project, group: str) -> Iterator[Document]:
    return chain.from_iterable(source_documents(project, name) for name in project.settings.sources_of(group))


def _read_aloud(project: Project, group: str) -> Iterator[Document]:
    names = project.settings.sources_of(group)
    return chain.from_iterable(read_aloud(name, source_documents(project, name)) for name in names)


def look_before(project: Project, plan: Plan, journal: Journal | None, teacher: Judge) -> tuple[Ahead, Estimate]:
    """What asking will take: a few questions of each source and stratum that the journal does not answer, for all."""
    some = plan_questions(lambda: _read_aloud(project, plan.group), _small(plan))
    ahead = look_ahead((one.question for one in some if isinstance(one, Asked)), journal, teacher)
    total = round(plan.sample.documents * len(ahead.left) / ahead.looked) if ahead.looked else 0
    return ahead, estimate(ahead.left, teacher_price(project), total=total, reply_tokens=seen_reply_tokens(journal))


def _small(plan: Plan) -> Plan:
    """The plan over some of its documents, of each source and stratum alike."""
    part = min(1.0, ESTIMATE_QUESTIONS / plan.sample.documents)
    few = {cell: digests[: ceil(part * len(digests))] for cell, digests in plan.sample.chosen.items()}
    return plan._replace(sample=plan.sample._replace(chosen=few))


def _fitting(project: Project, plan: Plan) -> list[str]:
    """Which documents are not judged whole. How long the anchored prompt is shows when there is a rubric."""
    family = plan.cutting.settings.family
    texts = sampled_texts(_documents(project, plan.group), family, _small(plan).sample)
    found = fit((text for _, text in texts), plan.cutting, None)
    return [f"{line} (tokens by {CUT_BY})" for line in said(found, plan.cutting, plan.sample.documents)]


def _made(project: Project, plan: Plan, answers: Answers) -> bytes:
    embedder = Embedder(embedding_of(project))
    with Steps(talk, f"embed {plan.group}") as steps:
        return make_rubric(
            plan,
            answers,
            project.settings.teacher.model,
            lambda texts: embedder.embed(texts, steps.at),
            embedder.described,
        )


def _finished(project: Project, plan: Plan, rubric: Rubric, answers: Answers, spent: Spending) -> dict[str, Any]:
    """Templates where there are none, warnings, and the summary."""
    written = write_missing_templates(project, plan.group)
    warnings = [PLUMBING] if project.settings.teacher.model == MODEL else []
    room = prompt_room(project, plan.group, rubric)
    warnings += [room] if room else []
    for warning in warnings:
        talk.print(f"{plan.group}: {warning}", markup=False, soft_wrap=True)
    return {
        "group": plan.group,
        "rubric": rubric.version,
        "path": str(project.rubric_path(plan.group)),
        "names": list(rubric.names),
        "documents": len(answers.judged),
        "unanswered": len(answers.letters),
        "asked": spent.asked,
        "from_journal": spent.from_journal,
        "spent": {"cost": spent.cost, "tokens": spent.prompt_tokens + spent.generation_tokens},
        "templates_written": written,
        "warnings": warnings,
    }
