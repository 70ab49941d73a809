"""What asking a teacher costs: before the first call, as an upper bound for each request, and in the end. Pure."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from mira_stream.errors import BudgetReached
from mira_stream.teaching.port import Answer, Question

MILLION: Final = 1_000_000
BYTES_A_TOKEN: Final = 4
"""A common mean of English text and code; used for estimates and pacing, never for a hard stop."""
MESSAGE_TOKENS: Final = 16
"""Room for what a chat template writes around one message."""
REPLY_SHARE: Final = 0.5
"""Share of `max_tokens` that a reply is assumed to take before one was seen."""


class Price(NamedTuple):
    """Of a million tokens, in any one currency."""

    prompt_per_million: float = 0.0
    generation_per_million: float = 0.0

    def of(self, prompt_tokens: float, generation_tokens: float) -> float:
        return (prompt_tokens * self.prompt_per_million + generation_tokens * self.generation_per_million) / MILLION

    @property
    def known(self) -> bool:
        return self.prompt_per_million > 0 or self.generation_per_million > 0


class Budget(NamedTuple):
    """Hard stops over all that a journal holds, this run's answers and earlier ones; None is no stop."""

    cost_max: float | None = None
    tokens_max: int | None = None


class Spending(NamedTuple):
    """`asked` answers came from the teacher and `from_journal` from the journal; tokens and cost are this run's."""

    asked: int = 0
    from_journal: int = 0
    unanswered: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    generation_tokens: int = 0
    cost: float = 0.0

    def paid(self, answer: Answer) -> "Spending":
        """With one answer more that came from the teacher; what it cost is the price's to say."""
        return self._replace(
            asked=self.asked + 1,
            prompt_tokens=self.prompt_tokens + answer.prompt_tokens,
            generation_tokens=self.generation_tokens + answer.generation_tokens,
        )


class Estimate(NamedTuple):
    """What `questions` questions will take, about."""

    questions: int
    prompt_tokens: int
    generation_tokens: int
    cost: float


class Bound(NamedTuple):
    """Tokens that a request cannot exceed."""

    prompt_tokens: int
    generation_tokens: int


def content_bytes(question: Question) -> int:
    return sum(len(message["content"].encode()) for message in question.messages)


def bound(question: Question) -> Bound:
    """No tokenizer in use makes more than one token of a byte; a reply ends at `max_tokens`."""
    return Bound(content_bytes(question) + MESSAGE_TOKENS * len(question.messages), question.max_tokens)


def expected_prompt_tokens(question: Question) -> int:
    """Bytes / 4, rounded up."""
    return -(-content_bytes(question) // BYTES_A_TOKEN)


def estimate(
    questions: Iterable[Question], price: Price, *, total: int | None = None, reply_tokens: float | None = None
) -> Estimate:
    """What asking them will take: prompts at bytes / 4, replies at `reply_tokens` (what was seen of this teacher,
    see `Journal.reply_tokens`) or half of what they may take. With `total`, the questions are a sample of so many.
    """
    count, prompt, generation = 0, 0, 0.0
    for question in questions:
        count += 1
        prompt += expected_prompt_tokens(question)
        generation += REPLY_SHARE * question.max_tokens if reply_tokens is None else reply_tokens
    wanted = count if total is None else total
    scale = wanted / count if count else 0.0
    return Estimate(wanted, round(prompt * scale), round(generation * scale), price.of(prompt, generation) * scale)


class Ledger:
    """Tokens paid for and tokens that requests in flight may still cost, against a budget."""

    def __init__(self, budget: Budget, price: Price, prompt_tokens: int, generation_tokens: int) -> None:
        self._budget = budget
        self._price = price
        self._paid = [prompt_tokens, generation_tokens]
        self._open = [0, 0]
        self.in_flight = 0

    def fits(self, most: Bound) -> bool:
        """Whether a request more stays within the budget, even if all in flight take what they may."""
        prompt = self._paid[0] + self._open[0] + most.prompt_tokens
        generation = self._paid[1] + self._open[1] + most.generation_tokens
        cost_max, tokens_max = self._budget
        within_cost = cost_max is None or self._price.of(prompt, generation) <= cost_max
        return within_cost and (tokens_max is None or prompt + generation <= tokens_max)

    def begin(self, most: Bound) -> None:
        self._add(most, 1)

    def end(self, most: Bound, prompt_tokens: int = 0, generation_tokens: int = 0) -> None:
        """The request is over; what it cost, if it was answered."""
        self._add(most, -1)
        self._paid[0] += prompt_tokens
        self._paid[1] += generation_tokens

    def _add(self, most: Bound, sign: int) -> None:
        self.in_flight += sign
        self._open[0] += sign * most.prompt_tokens
        self._open[1] += sign * most.generation_tokens

    def reached(self, answers: int) -> BudgetReached:
        """What was reached, what is done so far and how to go on; `answers` are in the journal."""
        prompt, generation = self._paid
        return BudgetReached(
            "budget_reached",
            f"the next question could pass {self._said()}; so far {answers:,} answers are paid for and in the journal:"
            f" {prompt:,} prompt + {generation:,} generation = {prompt + generation:,} tokens{self._cost()}",
            f"run the same command with a higher {self._flags()}: it goes on behind these {answers:,} answers,"
            " and none is paid for twice",
        )

    def _cost(self) -> str:
        return f", cost {self._price.of(*self._paid):,.4f}" if self._price.known else ""

    def _flags(self) -> str:
        cost_max, tokens_max = self._budget
        return " or ".join(["--max-cost"] * (cost_max is not None) + ["--max-tokens"] * (tokens_max is not None))

    def _said(self) -> str:
        cost_max, tokens_max = self._budget
        stops = [f"--max-cost {cost_max:g}"] if cost_max is not None else []
        stops += [f"--max-tokens {tokens_max:,}"] if tokens_max is not None else []
        return " or ".join(stops)
