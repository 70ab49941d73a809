"""Views as questions to a teacher, and its answers as labels or dead letters. Pure."""

from collections.abc import Iterable, Iterator

from msgspec import Struct

from mira_stream.distill.labels import Label, Wanted, label
from mira_stream.messages import DIMENSIONS, Mode
from mira_stream.prompt import Prompt
from mira_stream.rubric.anchors import Rubric
from mira_stream.scorecard import Reply, check_taught, parse, read_justifications, write
from mira_stream.sections import GroupSection
from mira_stream.teaching import Answer, Question, Unanswered
from mira_stream.teaching.cost import BYTES_A_TOKEN


class DeadLabel(Struct, frozen=True, kw_only=True):
    """A view that has no label, and why."""

    id: str
    source: str
    window: int
    cut: int
    reason: str
    error: str
    attempts: int


def question_key(group: str, view_key: str) -> str:
    """What the question about a view is known by in the journal."""
    return f"label/{group}/{view_key}"


class Asking:
    """What a group's teacher is asked. Holds the views in flight: a question is known by its key alone.

    Raises ConfigError(mode_invalid) for a mode that the group's layout does not have.
    """

    def __init__(
        self, group: str, settings: GroupSection, mode: Mode, prompt: Prompt, rubric: Rubric, max_tokens: int
    ) -> None:
        check_taught(settings.layout, mode)
        self._group = group
        self._layout = settings.layout
        self._mode = mode
        self._prompt = prompt
        self._rubric = rubric
        self._max_tokens = max_tokens
        self._open: dict[str, Wanted] = {}

    @property
    def expected_reply(self) -> str:
        """A reply about as long as they will be: its justifications are as long as the rubric's examples."""
        reasons = [max((one.reason for one in anchor.examples), key=len, default="") for anchor in self._rubric.anchors]
        brief = max(reasons, key=len)
        reply = Reply([7] * DIMENSIONS, 70, "keep", brief, brief, reasons)
        return write(reply, self._layout, self._mode, self._rubric.names)

    @property
    def expected_reply_tokens(self) -> int:
        """About what the teacher takes for it, at bytes / 4."""
        return -(-len(self.expected_reply.encode()) // BYTES_A_TOKEN)

    def questions(self, wanted: Iterable[Wanted]) -> Iterator[Question]:
        """One question a view; keys must differ."""
        for view in wanted:
            question = self.question(view)
            self._open[question.key] = view
            yield question

    def question(self, view: Wanted) -> Question:
        return Question(question_key(self._group, view.key), self._prompt.messages(view.view), self._max_tokens)

    def read(self, question: Question, answer: Answer) -> Label:
        """Raises DocumentError(reply_unreadable): a label is whole or none."""
        reading = parse(answer.text, self._layout, self._rubric.names)
        reasons = (
            read_justifications(answer.text, self._layout, self._rubric.names) if self._mode == "rationale" else None
        )
        return label(self._open[question.key], reading, reasons)

    def settle(self, question: Question, result: Label | Unanswered) -> Label | DeadLabel:
        """The view's end."""
        view = self._open.pop(question.key)
        if isinstance(result, Label):
            return result
        return DeadLabel(
            id=view.id,
            source=view.source,
            window=view.window,
            cut=view.cut,
            reason=result.reason,
            error=result.error,
            attempts=result.attempts,
        )
