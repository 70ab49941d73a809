"""What `mira-stream label` does: documents of a group's sources, their views, and a teacher to judge them."""

from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec

from mira_stream.cli.interrupts import run
from mira_stream.cli.label_progress import LabelProgress
from mira_stream.cli.label_work import Order, Work, fitting, look_before, work_of
from mira_stream.cli.labels_place import labelling_again
from mira_stream.cli.output import say, talk
from mira_stream.cli.teachers import (
    Spent,
    check_left_behind,
    open_teacher,
    say_estimate,
    teacher_limits,
)
from mira_stream.config import Project
from mira_stream.discovery.templates import write_missing_templates
from mira_stream.distill.labels import (
    SCHEMA,
    Label,
    about,
    check_prompt,
    check_rubric,
    columns,
)
from mira_stream.distill.teach import DeadLabel
from mira_stream.errors import DependencyError, StageStopped
from mira_stream.parquet import read_metadata, write_table
from mira_stream.pipeline.steps import label_journal
from mira_stream.prompt import load_prompt
from mira_stream.rubric.anchors import load_rubric
from mira_stream.teaching import Budget, Journal, Spending, Teacher, Unanswered, ask_all
from mira_stream.teaching.journal import put_aside
from mira_stream.whole_file import write_lines


def label_group(project: Project, order: Order) -> dict[str, Any]:
    """Judge documents of the group and write their labels; how many of what were written, and what it cost.

    Raises ConfigError for a project that cannot be labelled (rubric_mismatch, prompt_mismatch: labels or answers of
    another rubric, or labels of another prompt, are in the way), DependencyError for a teacher that cannot be used,
    StageStopped for one that answers nothing readable again and again, BudgetReached, CheckFailed
    (answers_left_behind). What was paid for is kept in each case.
    """
    journal_path = label_journal(project, order.group)
    dead_path = journal_path.with_suffix(".dead.jsonl")
    command = labelling_again(project, order.group, order.labels)
    rubric = load_rubric(project.rubric_path(order.group))
    for name in write_missing_templates(project, order.group):
        talk.print(f"{project.prompts_path(order.group) / name}: was missing, is the shipped one now", markup=False)
    prompt = load_prompt(project.prompts_path(order.group), rubric)
    begun = journal_path.with_suffix(".anew")
    if order.anew:
        _begin_anew(journal_path, begun, f"{rubric.version} {prompt.files_sha256}")
    elif order.labels.is_file():
        there = read_metadata(order.labels)
        check_rubric(order.labels, there, rubric.version, command)
        check_prompt(order.labels, there, prompt.files_sha256, command)
    with Journal(journal_path, {"rubric": rubric.version}, f"{command} --anew") as journal:
        work = work_of(project, order, rubric, prompt, journal)
        try:
            found, spending = run(_ask(work, journal))
        except StageStopped:
            begun.unlink(missing_ok=True)  # answers that nobody can read are nothing to go on behind
            raise
        finally:
            write_lines(dead_path, [msgspec.json.encode(one) for one in work.dead])
    begun.unlink(missing_ok=True)
    if not found:
        raise DependencyError(
            "teacher_unreadable", f"no view has a label; {_first(work.dead)}", f"see {dead_path} for the reasons"
        )
    asked = project.settings.teacher
    metadata = about(rubric.version, asked.model, work.prompt.files_sha256, order.mode, asked.temperature)
    write_table(order.labels, SCHEMA, columns(found), metadata)
    if work.dead:
        talk.print(f"{len(work.dead)} views have no label: {dead_path}", markup=False, soft_wrap=True)
    training = sum(row.split == "distill" for row in found)
    return {
        "documents": len({(row.source, row.id) for row in found}),
        "training": training,
        "heldout": len(found) - training,
        "dead": len(work.dead),
        "clusters": len({row.cluster for row in found}),
        "left_out": work.choice.crossing + work.choice.repeated,
        "spent": {"cost": spending.cost, "tokens": spending.prompt_tokens + spending.generation_tokens},
        "asked": spending.asked,
        "from_journal": spending.from_journal,
    }


def _begin_anew(journal: Path, begun: Path, of: str) -> None:
    """Put the answers so far aside, once: the file `begun` says that an --anew of this rubric and prompt was stopped,
    and what it paid for is gone on behind."""
    if begun.is_file() and begun.read_text() == of:
        talk.print("goes on with the labelling anew that was stopped", markup=False)
        return
    put_aside(journal)
    begun.parent.mkdir(parents=True, exist_ok=True)
    begun.write_text(of)


def _say_before(work: Work, journal: Journal, teacher: Teacher) -> None:
    """Raises CheckFailed(answers_left_behind) if most of what the journal holds would be asked again."""
    documents = work.choice.documents
    ahead, guess = look_before(work, journal, teacher)
    copies = f"{work.choice.copies:,} near-duplicates" if work.choice.copies else "no near-duplicates"
    talk.print(f"{len(documents):,} documents, {copies} among them; {len(journal):,} answers in the journal")
    for line in fitting(work):
        talk.print(line, markup=False, soft_wrap=True)
    talk.print(say_estimate(guess, work.price), markup=False, soft_wrap=True)
    check_left_behind(ahead, journal, work.order.agreed or work.budget != Budget())


async def _ask(work: Work, journal: Journal) -> tuple[list[Label], Spending]:
    order = work.order
    async with open_teacher(work.project, groups=[order.group], mode=order.mode) as teacher:
        _say_before(work, journal, teacher)
        with Spent(work.price) as spent:
            return await _labels(work, journal, teacher, spent), spent.newest


async def _labels(work: Work, journal: Journal, teacher: Teacher, spent: Spent) -> list[Label]:
    found: list[Label] = []
    row = 0
    row_max = work.project.settings.limits.dead_letters_in_a_row
    with LabelProgress(talk, len(work.choice.documents), spent) as progress:
        results = ask_all(
            work.asking.questions(work.views(work.choice.documents)),
            teacher,
            work.asking.read,
            journal=journal,
            limits=teacher_limits(work.project, work.order.concurrency, retry_unread=work.order.retry_unread),
            budget=work.budget,
            price=work.price,
            progress=spent.hear,
            tell=say,
        )
        async with aclosing(results):
            async for question, result in results:
                end = work.asking.settle(question, result)
                progress.settled(end.source, end.id)
                if isinstance(end, Label):
                    found.append(end)
                    row = 0
                    continue
                work.dead.append(end)
                row += isinstance(result, Unanswered) and result.asked > 0  # what the journal says is no news
                if row >= row_max:
                    raise _stopped(row, end)
    return found


def _stopped(row: int, last: DeadLabel) -> StageStopped:
    return StageStopped(
        "teacher_unreadable",
        f"{row} views in a row have no label; the last: {last.reason}: {last.error}",
        "see that prompt, layout and mode fit the teacher; then --retry-unread asks again what is asked in the same"
        " words, --yes what is asked in others; what was paid for is kept",
    )


def _first(dead: list[DeadLabel]) -> str:
    return f"the first: {dead[0].reason}: {dead[0].error}" if dead else "there was none to judge"
