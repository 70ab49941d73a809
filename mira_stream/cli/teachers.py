"""The teacher that mira.toml names, ready to be asked, with its limits, prices and budget."""

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple, Protocol, Self

from mira_stream.cli.output import say, talk
from mira_stream.config import Project
from mira_stream.demo.featurejudge.judge import MODEL
from mira_stream.demo.featurejudge.server import ServedGroup, serving
from mira_stream.errors import CheckFailed, ConfigError, UsageError
from mira_stream.messages import Mode
from mira_stream.openai_engine import OpenAITeacher
from mira_stream.prompt import load_prompt
from mira_stream.rubric.anchors import load_rubric
from mira_stream.teaching import Budget, Estimate, Journal, Limits, Price, Question, Spending
from mira_stream.teaching.journal import question_digest


@asynccontextmanager
async def open_teacher(
    project: Project, *, groups: Iterable[str] = (), mode: Mode | None = None, introduced: bool = False
) -> AsyncIterator[OpenAITeacher]:
    """The endpoint of [teacher]; the feature judge without a base_url is served here and asked in the same way.

    `groups`: those whose anchored prompts it will be asked, in `mode` if given, else in their own; free-form questions
    need none. `introduced`: whether it is a stand-in was said before. Raises ConfigError (teacher_missing,
    endpoint_model, api_key_missing), DependencyError if none answers.
    """
    teacher = project.settings.teacher
    if not teacher.base_url and teacher.model != MODEL:
        raise ConfigError("teacher_missing", f"[teacher] {teacher.model} has no base_url", "set [teacher] base_url")
    for line in () if introduced else stand_in(project):
        talk.print(line, markup=False, soft_wrap=True)
    async with AsyncExitStack() as stack:
        url = teacher.base_url
        if not url:
            url = await stack.enter_async_context(serving({group: _served(project, group, mode) for group in groups}))
        opened = OpenAITeacher.for_project(project, url)
        stack.push_async_callback(opened.stop)
        await opened.start()
        yield opened


def stand_in(project: Project) -> list[str]:
    """What is to be said of a teacher that is none, before it is asked."""
    if project.settings.teacher.model != MODEL:
        return []
    return [
        f"teacher: {MODEL}, a stand-in that measures features and understands nothing: its scores are no judgement;"
        " name a model behind an OpenAI-compatible URL in [teacher] of mira.toml for one"
    ]


def teacher_limits(project: Project, concurrency: int | None = None, *, retry_unread: bool = False) -> Limits:
    """[teacher]'s limits; `concurrency` is the flag that goes before it."""
    teacher = project.settings.teacher
    return Limits(
        concurrency or teacher.concurrency,
        teacher.requests_per_minute,
        teacher.tokens_per_minute,
        teacher.attempts,
        teacher.silent_s,
        retry_unread,
        teacher.request_timeout_s,
    )


def teacher_price(project: Project) -> Price:
    return Price(project.settings.teacher.prompt_price, project.settings.teacher.generation_price)


def teacher_budget(price: Price, cost_max: float | None, tokens_max: int | None) -> Budget:
    """--max-cost and --max-tokens. Raises UsageError for a cost that could never be reached."""
    if cost_max is not None and not price.known:
        raise UsageError(
            "price_unknown",
            "--max-cost cannot stop a teacher without prices",
            "set [teacher] prompt_price and generation_price (of a million tokens), or use --max-tokens",
        )
    return Budget(cost_max, tokens_max)


class Ahead(NamedTuple):
    """Questions looked at: `left` are to be asked; of the others the answer is `known`. `behind` of those left were
    answered in other words, by another teacher or about another view."""

    left: list[Question]
    known: int
    behind: int

    @property
    def looked(self) -> int:
        return len(self.left) + self.known


class Judge(Protocol):
    """What an answer is known by, beside its question: a teacher, or [teacher] of mira.toml."""

    @property
    def model(self) -> str: ...

    @property
    def temperature(self) -> float: ...


def look_ahead(questions: Iterable[Question], journal: Journal | None, teacher: Judge) -> Ahead:
    """Which of these questions the journal answers; None: there is none yet."""
    left: list[Question] = []
    known = behind = 0
    for one in questions:
        digest = question_digest(one, teacher.model, teacher.temperature)
        if journal is not None and journal.find(one, digest, 1) is not None:
            known += 1
            continue
        left.append(one)
        behind += journal is not None and journal.is_left_behind(one, digest)
    return Ahead(left, known, behind)


def check_left_behind(ahead: Ahead, journal: Journal, agreed: bool) -> None:
    """Raises CheckFailed(answers_left_behind) if most of what was paid for would be asked again, and nobody agreed."""
    if ahead.behind > ahead.known and not agreed:
        tokens = journal.prompt_tokens + journal.generation_tokens
        raise CheckFailed(
            "answers_left_behind",
            f"{journal.path} holds {len(journal):,} answers ({tokens:,} tokens); {ahead.behind} of"
            f" {ahead.behind + ahead.known} looked at answer no question of today: teacher, prompt, limits or tokenizer"
            " have changed since",
            "change that back; or ask again: --yes, or up to a limit: --max-cost, --max-tokens (what was paid counts)",
        )


def seen_reply_tokens(journal: Journal | None) -> float | None:
    """Mean generation tokens of the answers that are there."""
    return None if journal is None else journal.reply_tokens


def say_estimate(estimate: Estimate, price: Price) -> str:
    """What is printed before the first call."""
    tokens = f"about {estimate.prompt_tokens:,} prompt and {estimate.generation_tokens:,} generation tokens"
    return f"{estimate.questions:,} questions to ask, {tokens}{_cost(estimate.cost, price)}"


class Spent:
    """Hears of the spending, and says it behind the last answer, however the block ends."""

    def __init__(self, price: Price, about: str = "") -> None:
        self.price = price
        self.newest = Spending()
        self._about = about

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        say(f"{self._about}{say_spending(self.newest, self.price)}")

    def hear(self, spending: Spending) -> None:
        self.newest = spending


def say_spending(spending: Spending, price: Price) -> str:
    parts = [f"{spending.asked:,} answers asked for", f"{spending.from_journal:,} from the journal"]
    parts += [f"{spending.unanswered:,} questions unanswered"] if spending.unanswered else []
    parts += [f"{spending.retries:,} requests sent again"] if spending.retries else []
    tokens = f"{spending.prompt_tokens:,} prompt and {spending.generation_tokens:,} generation tokens"
    return f"{', '.join(parts)}; {tokens}{_cost(spending.cost, price)}"


def _cost(cost: float, price: Price) -> str:
    return f", cost {cost:,.2f}" if price.known else " (no prices in [teacher])"


def _served(project: Project, group: str, mode: Mode | None) -> ServedGroup:
    rubric = load_rubric(project.rubric_path(group))
    settings = project.settings.groups[group]
    prompt = load_prompt(project.prompts_path(group), rubric)
    return ServedGroup(settings.family, prompt, rubric, settings.layout, mode or settings.lesson_mode)
