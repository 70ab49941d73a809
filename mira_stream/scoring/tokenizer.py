"""A student's tokenizer, for counting and cutting; the engines make prompts out of chat messages themselves."""

from pathlib import Path
from typing import Final

import tokenizers

from mira_stream.errors import ConfigError
from mira_stream.render import Offsets

BYTES_PER_TOKEN: Final = 4
BYTES_BASIS: Final = "bytes/4"


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

    def tokenize(self, text: str) -> Offsets:
        """Of each token the characters [start, end) it stands for."""
        offsets: Offsets = self._tokenizer.encode(text, add_special_tokens=False).offsets
        return offsets


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
