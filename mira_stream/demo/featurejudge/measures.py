"""Measures of a view's text: shares and means over all of it, nothing that hangs on one place."""

import math
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

Measure = Callable[[str], float]
WORD: Final = re.compile(r"[A-Za-z]+")

FUNCTION_WORDS: Final = (
    "the a an of to this that these it its be are by on when which you can may will should at has have been was also"
    " but only"
)
"""Words of English sentences that are no keywords of Python."""
LOGIC_WORDS: Final = "if or and not in for is with as else when while from"
CODE_WORDS: Final = "def class return import self from none true false type str int list dict"
SENTENCE_END: Final = r"[a-z)`\"'][.?!:](?=\s|$)"
CONCEPT_ENDINGS: Final = r"[a-z]{2}(?:ing|ed|tion|ment|able)\b"
JOINED: Final = r"[A-Za-z0-9_)][./:][A-Za-z0-9_]"
INTERFACE_WORDS: Final = (
    r"\b(?:param|Parameters|Returns|Raises|Args|return|type|int|str|float|bool|optional|default|array|list|dict"
    r"|tuple|None)\b"
)
SYMBOLS: Final = "@$%^&*+=<>|~#\\/-_"
OPERATORS: Final = "@$%^&*+=<>|~#\\/-"
QUOTES: Final = "\"'`"
ANSWER: Final = "\n## Answer\n"


@lru_cache(maxsize=16)
def words(view: str) -> tuple[str, ...]:
    """Runs of ASCII letters, lower case."""
    return tuple(WORD.findall(view.lower()))


@lru_cache(maxsize=16)
def full_lines(view: str) -> tuple[str, ...]:
    """Lines that are not empty, without white space at their end."""
    return tuple(line.rstrip() for line in view.splitlines() if line.strip())


def of_characters(characters: str) -> Measure:
    """These characters for each 1,000 characters that are no white space."""
    gone = str.maketrans("", "", characters)

    def measure(view: str) -> float:
        dense = "".join(view.split())
        return 1000 * (len(dense) - len(dense.translate(gone))) / max(1, len(dense))

    return measure


def of_words(chosen: str) -> Measure:
    """These words (lower case, blanks between) for each 100 words."""
    wanted = frozenset(chosen.split())
    return lambda view: 100 * sum(word in wanted for word in words(view)) / max(1, len(words(view)))


def matches(pattern: str) -> Measure:
    """Places that match for each 1,000 characters that are no white space."""
    find = re.compile(pattern, re.MULTILINE).findall
    return lambda view: 1000 * len(find(view)) / max(1, sum(map(len, view.split())))


def word_length(view: str) -> float:
    """Mean letters a word."""
    return sum(map(len, words(view))) / max(1, len(words(view)))


def line_length(view: str) -> float:
    """Mean characters of the lines that are not empty."""
    return sum(map(len, full_lines(view))) / max(1, len(full_lines(view)))


def log_words(view: str) -> float:
    """Natural logarithm of the number of words."""
    return math.log(max(1, len(words(view))))


def capitals(view: str) -> float:
    """Capital letters for each 100 letters."""
    letters = sum(map(len, words(view)))
    return 100 * sum("A" <= character <= "Z" for character in view) / max(1, letters)


def variety(view: str) -> float:
    """Different words over the root of all words (Guiraud's index, steadier in length than their share)."""
    return len(set(words(view))) / math.sqrt(max(1, len(words(view))))


def answer_words(view: str) -> float:
    """Natural logarithm of the number of words after the answer's heading (of all, where it was cut away)."""
    return log_words(view.split(ANSWER, 1)[-1])
