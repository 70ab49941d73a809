"""Token ids of chat messages: those that `vllm serve` makes of them, without reading anew what every prompt shares."""

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import count
from typing import TYPE_CHECKING, Final

import structlog

from mira_stream.scoring.seams import is_compared, last_seam, part
from mira_stream.scoring.tokenizer import StudentTokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log: Final = structlog.get_logger("mira_stream.engine")
PIECES_KEPT: Final = 16


class ChatPrompts:
    """A chat template and its tokenizer. Tokenizers split a text at control tokens before anything else, so the pieces
    between them are read one by one, and those that come again (rubric and instructions) only once. Of the piece that
    holds the document, what was read when its tokens were counted is not read again: `student` still has it. Where a
    tokenizer does it otherwise, which the first prompts and one of a thousand later ones show, prompts are read whole.
    """

    def __init__(self, chat: "PreTrainedTokenizerBase", student: StudentTokenizer | None = None) -> None:
        self._chat = chat
        self._student = student
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

    def ids(self, messages: list[dict[str, str]], view: str = "") -> list[int]:
        """Thinking off, ready for the reply. `view`: the document in the messages. May be called in threads."""
        text = self._chat.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=False, enable_thinking=False
        )
        assert isinstance(text, str)
        if not self.in_pieces:
            return self._whole(text)
        assert self._control is not None
        parted = part(view) if self._student is not None and self._student.in_parts else None
        found: list[int] = []
        for piece in self._control.split(text):
            at = -1 if parted is None else piece.find(parted.seams)
            if parted is not None and at >= 0:
                found += self._around(piece[: at + 1], parted.middle, piece[at + 1 + len(parted.middle) :])
                parted = None
            elif piece:
                found += self._piece(piece)
        if is_compared(next(self._numbers)) and found != (whole := self._whole(text)):
            log.warning("prompts_whole", note="this tokenizer reads a prompt otherwise than its pieces")
            self.in_pieces = False
            return whole
        return found

    def _around(self, left: str, middle: str, right: str) -> list[int]:
        """What stands before the document and comes again ends at the last seam before it."""
        assert self._student is not None
        at = last_seam(left) or 0
        return [*self._piece(left[:at]), *self._read(left[at:]), *self._student.middle(middle), *self._read(right)]

    def _whole(self, text: str) -> list[int]:
        return list(self._chat.encode(text, add_special_tokens=False))

    def _read(self, piece: str) -> Sequence[int]:
        assert self._backend is not None
        # Of one piece, because only this leaves out where in the text each token stands, a quarter of the work.
        if not piece:
            return ()
        (found,) = self._backend.encode_batch_fast([piece], add_special_tokens=False)
        return tuple(found.ids)


def _either(tokens: Sequence[str]) -> re.Pattern[str] | None:
    """Splits a text at each of them, the longest first, and keeps them."""
    found = sorted((token for token in tokens if token), key=len, reverse=True)
    return re.compile(f"({'|'.join(map(re.escape, found))})") if found else None
