"""From labels to what a student is taught: chat prompts exactly as the engine will make them, and the replies."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from transformers import PreTrainedTokenizerFast

from mira_stream.distill.examples import Example, Ids, pack, shared_prefix
from mira_stream.distill.labels import Label, Split
from mira_stream.distill.tokenizer import chat_text, plain_ids, vocabulary
from mira_stream.errors import ConfigError
from mira_stream.messages import Layout, Mode
from mira_stream.prompt import Prompt
from mira_stream.scorecard import Reply, check_taught, write

LOWEST_TOKEN_SCORE: Final = 1
"""A student from scratch has a token for each score from here to 10."""


class Lesson(NamedTuple):
    """What a student is taught to say, and in which context. `names`: the rubric's fifteen, in slot order."""

    prompt: Prompt
    names: tuple[str, ...]
    layout: Layout
    mode: Mode
    context_tokens: int
    """Prompt and reply together: what is longer is left out."""


class TrainingSet(NamedTuple):
    """`prefix`: the tokens that every prompt of the group begins with; `replies`: how many labels are in it."""

    prefix: Ids
    examples: list[Example]
    replies: int
    too_long: int


def check_lesson(lesson: Lesson, labels: Sequence[Label]) -> None:
    """Raises ConfigError: a layout and mode that do not go together, or justifications to learn that nobody gave."""
    if lesson.mode != "head":
        check_taught(lesson.layout, lesson.mode)
    if lesson.mode == "rationale" and (bare := sum(not _justified(label) for label in labels)):
        raise ConfigError(
            "justifications_missing",
            f"{bare} of {len(labels)} labels have no justifications, and mode rationale teaches them",
            'label with a teacher that justifies its scores, or set mode = "scores" for the group',
        )


def reply_text(label: Label, lesson: Lesson, lowest: int = 0) -> str:
    """The reply that a label teaches.

    Scores of layout `scores_first` are whole (half to even) and at least `lowest`, in both modes: so a student has
    one habit of saying a score, and says the same whether it may go on after the score block or not.
    """
    scores: list[float] = list(label.scores)
    if lesson.layout == "scores_first" or lowest:
        scores = [max(lowest, round(score)) for score in label.scores]
    else:
        scores = [round(score, 1) for score in label.scores]
    reply = Reply(scores, round(label.overall), label.recommendation)
    if lesson.mode == "rationale":
        said = (getattr(label, name, None) or "" for name in ("domain_tag", "brief"))
        tag, brief = (text or "none" for text in said)
        reply = reply._replace(domain_tag=tag, brief=brief, justifications=getattr(label, "justifications", None) or ())
    return write(reply, lesson.layout, lesson.mode, lesson.names)


def prompt_ids(tokenizer: PreTrainedTokenizerFast, prompt: Prompt, view: str) -> Ids:
    """Token ids of a view's prompt, up to where the reply begins (a tokenizer of ours)."""
    return plain_ids(tokenizer, chat_text(prompt.messages(view)))


def training_set(
    labels: Sequence[Label], lesson: Lesson, tokenizer: PreTrainedTokenizerFast, split: Split = "distill"
) -> TrainingSet:
    """Labels of a share, those of one window of a document in one example.

    Raises ConfigError if the share has none that fits the context.
    """
    end = vocabulary(tokenizer).end
    windows: dict[tuple[str, str, int], list[tuple[Ids, Ids]]] = {}
    too_long = 0
    for label in labels:
        if label.split != split:
            continue
        reply = [*plain_ids(tokenizer, reply_text(label, lesson, LOWEST_TOKEN_SCORE)), end]
        asked = prompt_ids(tokenizer, lesson.prompt, label.view)
        if len(asked) + len(reply) > lesson.context_tokens:
            too_long += 1
            continue
        windows.setdefault((label.source, label.id, label.window), []).append((asked, reply))
    if not windows:
        raise no_labels(split, too_long)
    prefix = shared_prefix([ids for pairs in windows.values() for ids, _ in pairs])
    examples = [pack([ids for ids, _ in pairs], [reply for _, reply in pairs], prefix) for pairs in windows.values()]
    first = next(iter(windows.values()))[0][0]
    return TrainingSet(first[:prefix], examples, sum(map(len, windows.values())), too_long)


def no_labels(split: Split, too_long: int) -> ConfigError:
    """The error of a share without a label to use."""
    if too_long:
        return ConfigError(
            "labels_too_long",
            f"all {too_long} labels of the share {split} are longer than the context",
            "raise context_tokens_max of the group in mira.toml",
        )
    return ConfigError("labels_missing", f"no label of the share {split}", "mira-stream label --documents 2000")


def _justified(label: Label) -> bool:
    reasons: list[str] = getattr(label, "justifications", None) or []
    return len(reasons) == len(label.scores) and all(reason.strip() for reason in reasons)
