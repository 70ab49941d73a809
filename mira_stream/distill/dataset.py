"""From labels to token ids: chat prompts exactly as the engine will make them, and the replies of the teacher."""

from collections.abc import Sequence
from typing import NamedTuple

from transformers import PreTrainedTokenizerFast

from mira_stream.distill.examples import Example, Ids, pack, shared_prefix
from mira_stream.distill.labels import Label
from mira_stream.distill.tokenizer import chat_text, plain_ids, vocabulary
from mira_stream.errors import ConfigError
from mira_stream.messages import SLOTS
from mira_stream.prompt import Prompt
from mira_stream.scorecard import Reply, write


class TrainingSet(NamedTuple):
    """`prefix`: the tokens that every prompt of the group begins with; `replies`: how many labels are in it."""

    prefix: Ids
    examples: list[Example]
    replies: int


def prompt_ids(tokenizer: PreTrainedTokenizerFast, prompt: Prompt, view: str) -> Ids:
    """Token ids of a view's prompt, up to where the reply begins."""
    return plain_ids(tokenizer, chat_text(prompt.messages(view)))


def training_set(labels: Sequence[Label], prompt: Prompt, tokenizer: PreTrainedTokenizerFast) -> TrainingSet:
    """Labels of the training share, those of one window of a document in one example.

    Raises ConfigError if there are none.
    """
    end = vocabulary(tokenizer).end
    windows: dict[tuple[str, str, int], list[tuple[Ids, Ids]]] = {}
    for label in labels:
        if label.split != "distill":
            continue
        text = write(Reply(label.scores, label.overall, label.recommendation), "scores_first", "scores", SLOTS)
        reply = [*plain_ids(tokenizer, text), end]
        key = (label.source, label.id, label.window)
        windows.setdefault(key, []).append((prompt_ids(tokenizer, prompt, label.view), reply))
    if not windows:
        raise ConfigError("labels_missing", "no label of the training share", "mira-stream label --documents 2000")
    prefix = shared_prefix([ids for pairs in windows.values() for ids, _ in pairs])
    examples = [pack([ids for ids, _ in pairs], [reply for _, reply in pairs], prefix) for pairs in windows.values()]
    first = next(iter(windows.values()))[0][0]
    return TrainingSet(first[:prefix], examples, sum(map(len, windows.values())))
