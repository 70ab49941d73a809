"""The student's byte-level BPE tokenizer: ChatML markers, and replies that cost few tokens.

A slot (`[A7]` with the line break before it) and a score (` 7/10`) are one token each, so that the fifteen lines
of a reply are thirty tokens: decoding steps are what a small student's time goes into.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import orjson
from tokenizers import Regex, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Split
from tokenizers.pre_tokenizers import Sequence as Steps
from tokenizers.trainers import BpeTrainer

from mira_stream.messages import SLOTS
from mira_stream.render import Offsets, Tokenize

if TYPE_CHECKING:  # importing it takes a second, which labelling for a student that is there does without
    from transformers import PreTrainedTokenizerFast

PAD: Final = "<|endoftext|>"
START: Final = "<|im_start|>"
END: Final = "<|im_end|>"
POSITIONS_MAX: Final = 2048
CHAT_TEMPLATE: Final = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_PIECES: Final = "|".join(
    (
        r"\n?\[A1?[0-9]\]",
        r" (?:10|[1-9])/10",
        r"\n?(?:overall|training_recommendation):",
        r" ?\p{L}+",
        r" ?\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+",
        r"\n+",
        r"[^\S\n]+(?!\S)",
        r"[^\S\n]+",
    )
)


class Vocabulary(NamedTuple):
    """Ids the training needs by name; `scores` are those of ` 1/10` to ` 10/10`; `size`: how many ids there are."""

    pad: int
    end: int
    scores: tuple[int, ...]
    size: int


def train_tokenizer(texts: Iterable[str], size: int) -> "PreTrainedTokenizerFast":
    """Learn merges from rendered views; the parts of every reply are made single tokens whatever the views are."""
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(BPE(unk_token=None))
    core.pre_tokenizer = Steps(
        [Split(Regex(_PIECES), behavior="isolated"), ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    core.decoder = ByteLevelDecoder()
    documents = list(texts)
    # Each part of a reply as often as there are documents: its merges then come before the views' rare words.
    parts = "".join(_reply_parts())
    trainer = BpeTrainer(
        vocab_size=size,
        special_tokens=[PAD, START, END],
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator([*documents, *([parts] * max(200, len(documents)))], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=[START],
        clean_up_tokenization_spaces=False,
        model_max_length=POSITIONS_MAX,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def save_tokenizer(tokenizer: "PreTrainedTokenizerFast", folder: Path) -> None:
    """Write tokenizer.json and a tokenizer_config.json that every version of transformers reads alike."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "chat_template": CHAT_TEMPLATE,
        "eos_token": END,
        "pad_token": PAD,
        "additional_special_tokens": [START],
        "clean_up_tokenization_spaces": False,
        "model_max_length": POSITIONS_MAX,
    }
    (folder / "tokenizer_config.json").write_bytes(orjson.dumps(config, option=orjson.OPT_INDENT_2))


def load_tokenizer(folder: Path) -> "PreTrainedTokenizerFast":
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(str(folder))


def vocabulary(tokenizer: "PreTrainedTokenizerFast") -> Vocabulary:
    """Raises ValueError if a score is not a single token."""
    scores = []
    for value in range(1, 11):
        ids = plain_ids(tokenizer, f" {value}/10")
        if len(ids) != 1:
            raise ValueError(f"the score {value}/10 costs {len(ids)} tokens")
        scores.append(ids[0])
    core = tokenizer.backend_tokenizer
    return Vocabulary(core.token_to_id(PAD), core.token_to_id(END), tuple(scores), core.get_vocab_size())


def plain_ids(tokenizer: "PreTrainedTokenizerFast", text: str) -> list[int]:
    """Token ids of a text that holds no markers of its own."""
    ids: list[int] = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
    return ids


def chat_text(messages: Sequence[dict[str, str]]) -> str:
    """What the chat template makes of messages, with the opening of the reply behind them."""
    turns = [f"{START}{message['role']}\n{message['content']}{END}\n" for message in messages]
    return "".join(turns) + f"{START}assistant\n"


def tokenize_with(tokenizer: "PreTrainedTokenizerFast") -> Tokenize:
    """The function `render.cut` wants: the character offsets of a text's tokens."""
    core = tokenizer.backend_tokenizer

    def tokenize(text: str) -> Offsets:
        offsets: Offsets = core.encode(text, add_special_tokens=False).offsets
        return offsets

    return tokenize


def _reply_parts() -> list[str]:
    parts = ["[A1]"]
    parts += [f"\n[{slot}]" for slot in SLOTS] + [f"[{slot}]" for slot in SLOTS]
    parts += [f" {value}/10" for value in range(1, 11)] * 2
    parts += ["\noverall:", *(f" {value}" for value in range(101))]
    parts += [f"\ntraining_recommendation: {word}" for word in ("keep", "downsample", "drop")]
    parts += [f"{START}{role}\n" for role in ("system", "user", "assistant")]
    return parts
