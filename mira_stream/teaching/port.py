"""What asking a teacher means: questions with a key of their own, answers with what they cost."""

from typing import NamedTuple, Protocol


class Question(NamedTuple):
    """One thing to ask. `key` names it for good (`discover/qa/<document id>`): an answer is looked up by it."""

    key: str
    messages: list[dict[str, str]]
    max_tokens: int

    def __repr__(self) -> str:
        return f"<Question {self.key}>"


class Answer(NamedTuple):
    """What the teacher wrote, and the tokens that were paid for."""

    text: str
    finish_reason: str
    prompt_tokens: int
    generation_tokens: int

    def __repr__(self) -> str:
        return f"<Answer {self.finish_reason} {self.prompt_tokens}+{self.generation_tokens} tokens>"


class Unanswered(NamedTuple):
    """A question that ended without a readable answer: a word of `messages.REASONS`, what happened, how often tried,
    and how often of that in this run."""

    key: str
    reason: str
    error: str
    attempts: int
    asked: int = 0


class Teacher(Protocol):
    """Any model that answers chat messages. `ask` may run many times at once."""

    @property
    def model(self) -> str:
        """The name labels are recorded under."""
        ...

    @property
    def temperature(self) -> float:
        """Part of what an answer in a journal is known by, beside model, messages and max_tokens."""
        ...

    async def ask(self, question: Question, attempt: int) -> Answer:
        """Attempt 1 is the configured sampling; later ones differ in seed.

        Raises EngineError: retriable for now (rate limit, time-out), else the question is refused for good;
        DependencyError if the teacher can never be asked like this (wrong key, no such model).
        """
        ...
