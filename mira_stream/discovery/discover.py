"""A group's rubric, from its documents to the file: sample, ask, embed, cluster, name, write.

What was asked is in work/discover-<group>.journal: after any end the same call goes on, and nothing is paid for twice.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from mira_stream.config import Project
from mira_stream.discovery.questions import CUT_BY, Asked, Cutting, Sample, kept_counts, questions, sampled_texts
from mira_stream.errors import ConfigError, DocumentError, StageStopped
from mira_stream.messages import Document
from mira_stream.rubric.anchors import Rubric, RubricHeader, load_rubric, write_rubric
from mira_stream.rubric.freeform import FreeDimension, parse_freeform
from mira_stream.rubric.making import Wanted, make_anchors
from mira_stream.rubric.points import Judged, points_of
from mira_stream.sections import DiscoverySection, LimitsSection
from mira_stream.teaching import (
    Answer,
    Budget,
    Journal,
    Limits,
    Price,
    Progress,
    Question,
    Teacher,
    Tell,
    Unanswered,
    ask_all,
)
from mira_stream.whole_file import replace_file, write_lines

CREATED_BY: Final = "mira-stream rubric discover"
UNANSWERED_SHARE_MAX: Final = 0.5
"""With more questions unanswered than this, what was answered is no sample of the group."""

Embed = Callable[[Sequence[str]], NDArray[np.float32]]
"""Texts in, unit vectors out."""
Read = Callable[[], Iterable[Document]]
"""The group's documents, anew at each call."""


class Terms(NamedTuple):
    """What asking keeps to. `row_max`: after so many documents in a row without a judgement it stops."""

    limits: Limits
    budget: Budget
    price: Price
    progress: Progress | None = None
    tell: Tell = lambda line: None
    row_max: int = LimitsSection().dead_letters_in_a_row


class Plan(NamedTuple):
    """A group's sample and how it is shown."""

    group: str
    sample: Sample
    cutting: Cutting
    section: DiscoverySection
    scope: str


class Letter(NamedTuple):
    """A document of the sample without a judgement, and why: a line of work/discover-<group>.unanswered.jsonl."""

    id: str
    source: str
    reason: str
    error: str
    attempts: int


class Answers(NamedTuple):
    """What the teacher said of a sample."""

    judged: list[Judged]
    asked: list[Asked]
    letters: list[Letter]


def journal_path(project: Project, group: str) -> Path:
    return project.root / "work" / f"discover-{group}.journal"


def unanswered_path(project: Project, group: str) -> Path:
    return project.root / "work" / f"discover-{group}.unanswered.jsonl"


def plan_questions(read: Read, plan: Plan) -> Iterator[Asked | tuple[Document, DocumentError]]:
    """The questions of a plan, in the order of reading."""
    texts = sampled_texts(read(), plan.cutting.settings.family, plan.sample)
    return questions(texts, plan.group, plan.cutting, plan.section.reply_tokens_max)


async def ask_sample(
    read: Read, plan: Plan, teacher: Teacher, journal: Journal, terms: Terms, letters: list[Letter] | None = None
) -> Answers:
    """Ask about every document of the sample. `letters` is filled as they come, also if this is stopped.

    Raises what `ask_all` raises, and StageStopped for a teacher that answers nothing readable again and again: what was
    paid for is kept.
    """
    waiting: dict[str, Asked] = {}
    row = 0
    answers = Answers([], [], [] if letters is None else letters)

    def wanted() -> Iterator[Question]:
        for one in plan_questions(read, plan):
            if isinstance(one, Asked):
                waiting[one.question.key] = one
                yield one.question
            else:
                document, error = one
                answers.letters.append(Letter(document.id, document.source, error.reason, error.error, 0))

    asking = ask_all(
        wanted(), teacher, _read, journal=journal, limits=terms.limits, budget=terms.budget, price=terms.price,
        progress=terms.progress, tell=terms.tell,
    )  # fmt: skip
    async with aclosing(asking) as results:
        async for question, result in results:
            about = waiting.pop(question.key)
            if isinstance(result, Unanswered):
                letter = Letter(about.document_id, about.source, result.reason, result.error, result.attempts)
                answers.letters.append(letter)
                row += result.asked > 0  # what the journal says is no news
                if row >= terms.row_max:
                    raise _stopped(row, letter)
            else:
                row = 0
                answers.judged.append(Judged(about.document_id, about.source, result))
                answers.asked.append(about._replace(question=question._replace(messages=[])))
    return answers


def make_rubric(plan: Plan, answers: Answers, teacher: str, embed: Embed, embedding: str) -> bytes:
    """The rubric file's bytes: the same for the same answers and settings.

    Raises ConfigError (too_many_unanswered, points_too_few).
    """
    check_answered(plan.group, len(answers.judged), len(answers.letters))
    points = points_of(answers.judged)
    section = plan.section
    anchors = make_anchors(
        points, embed([point.text for point in points]), Wanted(section.seed, section.name_rule, section.examples)
    )
    header = RubricHeader(
        group=plan.group,
        teacher=teacher,
        created_by=CREATED_BY,
        seed=section.seed,
        embedding=embedding,
        sample=_provenance(plan, answers),
        name_rule=section.name_rule,
        scope=plan.scope,
    )
    return write_rubric(header, anchors)


def save_letters(project: Project, group: str, letters: Sequence[Letter]) -> None:
    """Write the dead letters of stage 1, or take away those of an earlier run."""
    write_lines(unanswered_path(project, group), [msgspec.json.encode(letter._asdict()) for letter in letters])


def save_rubric(project: Project, group: str, data: bytes) -> Rubric:
    """Write the rubric, whole or not at all; as it is read again. One that was there goes to `replaced_path`."""
    path = project.rubric_path(group)
    if path.is_file() and (before := path.read_bytes()) != data:
        replace_file(replaced_path(project, group, sha256(before).hexdigest()[:12]), before)
    replace_file(path, data)
    return load_rubric(path)


def replaced_path(project: Project, group: str, version: str) -> Path:
    """Where a rubric is kept that a newer one took the place of."""
    return project.root / "work" / f"rubric-{group}-{version}.jsonl"


def check_answered(group: str, answered: int, unanswered: int) -> None:
    """Raises ConfigError(too_many_unanswered | nothing_answered)."""
    letters = f"work/discover-{group}.unanswered.jsonl says why; --retry-unread asks a mended teacher again"
    if not answered:
        raise ConfigError("nothing_answered", f"no document of group {group} was judged", letters)
    if unanswered > UNANSWERED_SHARE_MAX * (answered + unanswered):
        raise ConfigError(
            "too_many_unanswered",
            f"{unanswered} of {answered + unanswered} documents of group {group} were not judged",
            f"{letters}; use a teacher that keeps to the asked JSON, or a larger reply_tokens_max",
        )


def _stopped(row: int, last: Letter) -> StageStopped:
    return StageStopped(
        "teacher_unreadable",
        f"{row} documents in a row were not judged; the last: {last.reason}: {last.error}",
        "use a teacher that keeps to the asked JSON, or a larger [discovery] reply_tokens_max, and then --yes: what was"
        " paid for is kept, but answers nothing of that; --retry-unread asks the same teacher the same again",
    )


def _read(question: Question, answer: Answer) -> list[FreeDimension]:
    if answer.finish_reason == "length":
        raise DocumentError("reply_unreadable", f"the reply was cut off at {question.max_tokens} tokens")
    return parse_freeform(answer.text)


def _provenance(plan: Plan, answers: Answers) -> dict[str, Any]:
    """Of the header: which documents the rubric rests on; `digest` names them and what was said of them."""
    digest = sha256()
    for one in sorted(answers.judged):
        digest.update(msgspec.json.encode([one.document_id, one.source, list(one.dimensions)]))
    return {
        "documents": len(answers.judged),
        "seed": plan.section.seed,
        "sources": kept_counts(answers.asked),
        "unanswered": len(answers.letters),
        "cut_by": CUT_BY,
        "digest": digest.hexdigest()[:12],
    }
