"""Turns a document into the text a judge reads. Pure and versioned: a change of output is a new VERSION.

The teacher judges the same rendered, cut view as the student: what lies behind the cut is noise in a label.
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from mira_stream.errors import DocumentError
from mira_stream.messages import Document, Message, Parts, View
from mira_stream.sections import Family, TooLong

VERSION: Final = "render.v1"

Offsets = Sequence[tuple[int, int]]
"""Of each token, the characters [start, end) it stands for. How many there are may be known before they are."""
Tokenize = Callable[[str], Offsets]

CHARACTERS_PER_TOKEN_MAX: Final = 16
"""Text beyond this many characters a token of the budget is never tokenised (bounds the work of a giant)."""
CHARACTERS_PER_TOKEN: Final = 5
"""Text of no more a token of the budget will hardly need a cut: its tokens are counted before they are located."""
SPECIAL_OPENINGS: Final = ("<|", "<｜", "</s>", "<s>", "[INST]", "[/INST]", "<think>", "</think>", "<start_of_turn>")
"""How control tokens of known chat formats begin; a student's own are given to `neutralise` beside them."""
NEUTRALISE_PASSES_MAX: Final = 4
MARKER_TOKENS: Final = 16
"""Kept free of the budget for the line between head and tail, more if it takes more."""


class Rendered(NamedTuple):
    """The view of a document: its text, how it was cut, and its token count before the view was cut."""

    text: str
    view: View
    tokens: int


def render(document: Document, family: Family) -> str:
    """The whole document as text. Raises DocumentError(empty_document | wrong_format)."""
    if family == "agent":
        if document.messages is None:
            raise DocumentError("wrong_format", "an agent group judges `messages`")
        text = _messages(document.messages)
    elif family == "qa":
        if document.parts is None:
            raise DocumentError("wrong_format", "a qa group judges `parts`")
        text = _parts(document.parts)
    else:
        if document.text is None:
            raise DocumentError("wrong_format", "a text group judges `text`")
        text = document.text
    if not text.strip():
        raise DocumentError("empty_document", "nothing but white space")
    return neutralise(text)


def neutralise(text: str, special_tokens: Sequence[str] = ()) -> str:
    """Break chat markers apart, so that a document's text can never act as one.

    `special_tokens`: those of the student's tokenizer. Raises DocumentError(wrong_format) if one cannot be broken.
    """
    for _ in range(NEUTRALISE_PASSES_MAX):
        found = [one for one in (*SPECIAL_OPENINGS, *special_tokens) if one in text]
        if not found:
            return text
        for opening in found:
            text = text.replace(opening, opening[0] + " " + opening[1:])
    raise DocumentError("wrong_format", f"the text holds the control token {found[0]!r}, which cannot be broken apart")


def cut(text: str, tokenize: Tokenize, cutoff_tokens: int, budget_tokens: int, too_long: TooLong) -> Rendered:
    """First to `cutoff_tokens` (what training sees), then to the judge's `budget_tokens`.

    Raises DocumentError(too_long) when the policy is `reject`. The text between head and tail is replaced
    by a line that says how many characters are missing.
    """
    offsets, fitting = tokenize(text[: cutoff_tokens * CHARACTERS_PER_TOKEN_MAX]), min(cutoff_tokens, budget_tokens)
    if len(text) <= fitting * CHARACTERS_PER_TOKEN and len(offsets) <= fitting:
        return Rendered(text, "whole", len(offsets))  # where its tokens stand was not asked
    offsets = offsets[:cutoff_tokens]
    tokens = len(offsets)
    if tokens <= budget_tokens:
        end = offsets[-1][1] if offsets else 0
        whole = end >= len(text.rstrip())
        return Rendered(text if whole else text[:end], "whole" if whole else "head", tokens)
    if too_long == "reject":
        raise DocumentError("too_long", f"{tokens} tokens, the judge reads {budget_tokens}")
    if too_long == "head":
        return Rendered(text[: offsets[budget_tokens - 1][1]], "head", tokens)
    end = offsets[-1][1]
    marker_tokens = max(MARKER_TOKENS, len(tokenize(_marker(end))))
    tail = budget_tokens // 4
    head = max(1, budget_tokens - tail - marker_tokens)
    head_end, tail_start = offsets[head - 1][1], offsets[tokens - tail][0] if tail else end
    return Rendered(text[:head_end] + _marker(tail_start - head_end) + text[tail_start:end], "head_tail", tokens)


def _marker(characters: int) -> str:
    return f"\n[... {characters} characters left out ...]\n"


def _messages(messages: Sequence[Message]) -> str:
    blocks = []
    for message in messages:
        title = message.role if message.name is None else f"{message.role} {message.name}"
        lines = [f"### {title}"]
        if message.content:
            lines.append(message.content)
        lines += [f"-> {call.name} {call.arguments}" for call in message.tool_calls]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _parts(parts: Parts) -> str:
    if not parts.question.strip() or not parts.answer.strip():
        raise DocumentError("empty_document", "question or answer is empty")
    think = "" if parts.think is None else f"\n\n## Thinking\n{parts.think}"
    return f"## Question\n{parts.question}{think}\n\n## Answer\n{parts.answer}"
