"""A student's tokenizer, for counting and cutting; the engines make prompts out of chat messages themselves."""

from array import array
from collections.abc import Sequence
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Final, overload

import structlog
import tokenizers

from mira_stream.errors import ConfigError
from mira_stream.render import Offsets
from mira_stream.scoring.seams import SEAM, is_compared, part

log: Final = structlog.get_logger("mira_stream.tokenizer")
BYTES_PER_TOKEN: Final = 4
BYTES_BASIS: Final = "bytes/4"
MIDDLES_KEPT: Final = 512
"""A document's prompt is made soon behind its view, but that of all that were admitted at once may be made between."""


class StudentTokenizer:
    """tokenizer.json of a student's folder. Raises ConfigError if it cannot be read."""

    def __init__(self, folder: Path) -> None:
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # the library raises bare Exception
            raise ConfigError(
                "student_invalid", f"{folder / 'tokenizer.json'}: {error}", "copy the student's folder again"
            ) from None
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.basis = f"tokenizer:{folder.name}"
        self.size = self._tokenizer.get_vocab_size()
        added = [token.content for token in self._tokenizer.get_added_tokens_decoder().values()]
        # Runs of white space are added tokens in some tokenizers, and no control tokens.
        self.special_tokens = tuple(token for token in added if len(token) > 1 and not token.isspace())
        self.in_parts = not any(SEAM.search(token) for token in added)
        self.middle = lru_cache(MIDDLES_KEPT)(self._ids)
        """Ids of a text's middle, of up to 16 thousand characters; kept for a while: its prompt has them, too."""
        self._numbers = count()

    def tokenize(self, text: str) -> Offsets:
        """Of each token the characters [start, end) it stands for. Tokens are counted, or located, when that is asked:
        counting takes three quarters of the time."""
        return _Tokens(self, text)

    def locate(self, text: str) -> list[tuple[int, int]]:
        offsets: list[tuple[int, int]] = self._tokenizer.encode(text, add_special_tokens=False).offsets
        return offsets

    def count(self, text: str) -> int:
        parted = part(text) if self.in_parts else None
        if parted is None:
            return len(self._ids(text))
        found = len(self._ids(parted.head)) + len(self.middle(parted.middle)) + len(self._ids(parted.tail))
        if is_compared(next(self._numbers)) and found != (whole := len(self._ids(text))):
            log.warning("texts_whole", note="this tokenizer reads a text otherwise than its parts")
            self.in_parts = False
            return whole
        return found

    def _ids(self, text: str) -> "array[int]":
        # Of one text, because only this leaves out where each token stands, a quarter of the work.
        (found,) = self._tokenizer.encode_batch_fast([text], add_special_tokens=False)
        return array("I", found.ids)  # a ninth of what the numbers take as objects


class _Tokens(Sequence[tuple[int, int]]):
    """Of one text; it is counted once, and located once."""

    def __init__(self, tokenizer: StudentTokenizer, text: str) -> None:
        self._tokenizer = tokenizer
        self._text = text
        self._count: int | None = None
        self._offsets: list[tuple[int, int]] | None = None

    def __len__(self) -> int:
        if self._offsets is not None:
            return len(self._offsets)
        if self._count is None:
            self._count = self._tokenizer.count(self._text)
        return self._count

    @overload
    def __getitem__(self, at: int) -> tuple[int, int]: ...
    @overload
    def __getitem__(self, at: slice) -> list[tuple[int, int]]: ...
    def __getitem__(self, at: int | slice) -> tuple[int, int] | list[tuple[int, int]]:
        if self._offsets is None:
            self._offsets = self._tokenizer.locate(self._text)
        return self._offsets[at]


def tokenize_bytes(text: str) -> Offsets:
    """Where no tokenizer is known: a token is as many characters as fill four bytes."""
    offsets: list[tuple[int, int]] = []
    start = size = 0
    for end, character in enumerate(text, start=1):
        size += 1 if character < "\x80" else len(character.encode(errors="surrogatepass"))
        if size >= BYTES_PER_TOKEN:
            offsets.append((start, end))
            start, size = end, size - BYTES_PER_TOKEN
    if start < len(text):
        offsets.append((start, len(text)))
    return offsets
