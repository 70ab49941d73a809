"""Where a text can be parted so that its tokens are those of its parts, whatever stands around them."""

import re
from typing import Final, NamedTuple

_LETTER: Final = "A-Za-zÀ-ÖØ-öø-ÿА-Яа-яЁё"
SEAM: Final = re.compile(f"(?<=[{_LETTER}]) (?=[{_LETTER}])")
"""Before the blank between two words. Tokenizers that part a text by an expression before they look for tokens (GPT-2's
and all byte-level ones since: Llama 3, Qwen, DeepSeek) take letters as far as they go, and a blank to the word behind
it. Not each tokenizer does: who parts a text compares some readings with those of the whole (`is_compared`)."""
CHARACTERS_MIN: Final = 128
CHARACTERS_MAX: Final = 16 * 1024
SEARCHED: Final = 128
"""A seam is looked for within so many characters of each end."""
PROVEN: Final = 8
EVERY: Final = 1_000


class Parted(NamedTuple):
    """`middle` begins with a blank and is most of the text."""

    head: str
    middle: str
    tail: str

    @property
    def seams(self) -> str:
        """The middle with what makes a seam of either end of it: one character before it, two behind."""
        return f"{self.head[-1]}{self.middle}{self.tail[:2]}"


def part(text: str) -> Parted | None:
    """At the first seam and at the last. None if the text has none there, or is too short or too long to be parted."""
    if not CHARACTERS_MIN <= len(text) <= CHARACTERS_MAX:
        return None
    first, last = SEAM.search(text, 0, SEARCHED), last_seam(text)
    if first is None or last is None or first.start() >= last:
        return None
    return Parted(text[: first.start()], text[first.start() : last], text[last:])


def last_seam(text: str) -> int | None:
    """Where the last seam is, if there is one near the end."""
    found = [seam.start() for seam in SEAM.finditer(text, max(0, len(text) - SEARCHED))]
    return found[-1] if found else None


def is_compared(number: int) -> bool:
    """Whether a reading is compared with that of the whole, by its number from 0: the first ones, and few later."""
    return number < PROVEN or number % EVERY == 0
