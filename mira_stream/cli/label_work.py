"""What one run of `mira-stream label` is about: its order, the documents it chooses, and what asking will take."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Final, NamedTuple

from mira_stream.cli.labelled import candidates, student_tokenizer, there_tokenizer
from mira_stream.cli.labels_place import labels_place
from mira_stream.cli.output import talk
from mira_stream.cli.teachers import Ahead, Judge, look_ahead, seen_reply_tokens, teacher_budget, teacher_price
from mira_stream.config import Project
from mira_stream.discovery.fitting import fit, said
from mira_stream.discovery.questions import Cutting, by_characters
from mira_stream.distill.choosing import Choice, choose, warnings
from mira_stream.distill.labels import Augmentation, Chosen, Wanted, views
from mira_stream.distill.teach import Asking, DeadLabel
from mira_stream.distill.tokenizer import END, chat_text
from mira_stream.errors import ConfigError, DocumentError
from mira_stream.messages import Mode
from mira_stream.prompt import Prompt
from mira_stream.render import Tokenize
from mira_stream.rubric.anchors import Rubric
from mira_stream.teaching import Budget, Estimate, Journal, Price, estimate

ESTIMATE_DOCUMENTS: Final = 200
"""So many documents, spread over all, are looked at for the estimate."""


class Order(NamedTuple):
    """What is to be labelled, and what it may cost."""

    group: str
    labels: Path
    documents: int
    heldout: int
    more: Augmentation
    new_tokenizer: bool
    mode: Mode
    cost_max: float | None = None
    tokens_max: int | None = None
    concurrency: int | None = None
    anew: bool = False
    retry_unread: bool = False
    agreed: bool = False


class Work(NamedTuple):
    """One run: what is asked of whom about what."""

    project: Project
    order: Order
    rubric: Rubric
    prompt: Prompt
    asking: Asking
    price: Price
    budget: Budget
    choice: Choice
    tokenize: Tokenize
    dead: list[DeadLabel]

    def views(self, documents: list[Chosen]) -> Iterator[Wanted]:
        """Views of these documents; one that cannot be cut is a dead letter."""
        settings = self.project.settings
        for one in documents:
            try:
                yield from views(
                    one,
                    settings.groups[self.order.group],
                    settings.tokens.train_cutoff_tokens,
                    self.tokenize,
                    self.order.more,
                )
            except DocumentError as error:
                self.dead.append(_dead(one.id, one.source, error))


def order_of(project: Project, group: str) -> Order:
    """What [labels] of mira.toml says, as the pipeline labels."""
    wanted = project.settings.labels
    return Order(
        group=group,
        labels=labels_place(project, group),
        documents=wanted.documents,
        heldout=wanted.heldout,
        more=Augmentation(wanted.windows, wanted.cuts),
        new_tokenizer=False,
        mode=project.settings.groups[group].lesson_mode,
    )


def work_of(
    project: Project, order: Order, rubric: Rubric, prompt: Prompt, journal: Journal | None, *, planned: bool = False
) -> Work:
    """Chooses the documents. Only `planned`, nothing is written: a student without a tokenizer is given none."""
    settings = project.settings
    price = teacher_price(project)
    budget = teacher_budget(price, order.cost_max, order.tokens_max)
    group = settings.groups[order.group]
    asking = Asking(order.group, group, order.mode, prompt, rubric, settings.teacher.reply_tokens_max)
    dead: list[DeadLabel] = []
    found = candidates(
        project,
        order.group,
        order.documents,
        order.heldout,
        journal or (),
        lambda name, source, error: dead.append(_dead(name, source, error)),
    )
    with talk.status(f"{order.group}: reading documents") if talk.is_terminal else nullcontext():
        choice = choose(found)
    if not choice.documents:
        raise ConfigError("documents_missing", f"group {order.group} has no document to label", "add to its sources")
    for line in warnings(choice, settings.sources_of(order.group)):
        talk.print(f"warning: {line}", markup=False, soft_wrap=True)
    if planned:
        tokenize = there_tokenizer(project, order.group) or by_characters
    else:
        tokenize = student_tokenizer(project, order.group, choice.documents, prompt, order.new_tokenizer)
    return Work(project, order, rubric, prompt, asking, price, budget, choice, tokenize, dead)


def look_before(work: Work, journal: Journal | None, teacher: Judge) -> tuple[Ahead, Estimate]:
    """What asking will take, from some of the documents: what the journal does not hold yet."""
    documents, some = work.choice.documents, _some(work)
    quiet = work._replace(dead=[])
    ahead = look_ahead((work.asking.question(view) for view in quiet.views(some)), journal, teacher)
    total = round(len(ahead.left) * len(documents) / len(some))
    reply_tokens = seen_reply_tokens(journal) or work.asking.expected_reply_tokens
    return ahead, estimate(ahead.left, work.price, total=total, reply_tokens=reply_tokens)


def _some(work: Work) -> list[Chosen]:
    documents = work.choice.documents
    return documents[:: -(-len(documents) // ESTIMATE_DOCUMENTS)]


def fitting(work: Work) -> list[str]:
    """Which of these documents are not judged whole, or would not fit the student's context when it is taught: with the
    prompt and a reply as long as expected, not as long as the teacher's may be."""
    settings = work.project.settings
    cutting = Cutting(settings.groups[work.order.group], settings.tokens.train_cutoff_tokens, work.tokenize)
    around = len(work.tokenize(chat_text(work.prompt.messages("")) + work.asking.expected_reply + END))
    return said(fit((one.text for one in _some(work)), cutting, around), cutting, len(work.choice.documents))


def _dead(name: str, source: str, error: DocumentError) -> DeadLabel:
    return DeadLabel(id=name, source=source, window=0, cut=0, reason=error.reason, error=error.error, attempts=0)
