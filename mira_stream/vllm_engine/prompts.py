"""Token ids of chat messages: those that `vllm serve` makes of them, without reading anew what every prompt shares."""

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import count
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log: Final = structlog.get_logger("mira_stream.engine")
PIECES_KEPT: Final = 16
PROVEN: Final = 8
EVERY: Final = 1_000
"""So many of an engine's first prompts are read both ways, and one of so many later ones."""


class ChatPrompts:
    """A chat template and its tokenizer. Tokenizers split a text at control tokens before anything else, so the pieces
    between them are read one by one, and those that come again (rubric and instructions) only once. Where a tokenizer
    does it otherwise, which the first prompts and one of a thousand later ones show, prompts are read whole."""

    def __init__(self, chat: "PreTrainedTokenizerBase") -> None:
        self._chat = chat
        self._backend = getattr(chat, "backend_tokenizer", None)
        tokens = chat.added_tokens_decoder.values()
        exact = not any(token.lstrip or token.rstrip or token.single_word for token in tokens)
        self._control = _either([token.content for token in tokens])
        self.in_pieces = self._backend is not None and self._control is not None and exact
        self._numbers = count()
        if self._backend is not None:
            self._backend.no_truncation()
            self._backend.no_padding()
        self._piece = lru_cache(PIECES_KEPT)(self._read)

    def ids(self, messages: list[dict[str, str]]) -> list[int]:
        """Thinking off, ready for the reply. May be called in threads."""
        text = self._chat.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=False, enable_thinking=False
        )
        assert isinstance(text, str)
        if not self.in_pieces:
            return self._whole(text)
        assert self._control is not None
        found = [token for piece in self._control.split(text) if piece for token in self._piece(piece)]
        number = next(self._numbers)
        if (number < PROVEN or number % EVERY == 0) and found != (whole := self._whole(text)):
            log.warning("prompts_whole", note="this tokenizer reads a prompt otherwise than its pieces")
            self.in_pieces = False
            return whole
        return found

    def _whole(self, text: str) -> list[int]:
        return list(self._chat.encode(text, add_special_tokens=False))

    def _read(self, piece: str) -> Sequence[int]:
        assert self._backend is not None
        # Of one piece, because only this leaves out where in the text each token stands, a quarter of the work.
        (found,) = self._backend.encode_batch_fast([piece], add_special_tokens=False)
        return tuple(found.ids)


def _either(tokens: Sequence[str]) -> re.Pattern[str] | None:
    """Splits a text at each of them, the longest first, and keeps them."""
    found = sorted((token for token in tokens if token), key=len, reverse=True)
    return re.compile(f"({'|'.join(map(re.escape, found))})") if found else None
