"""The planted ladder: what is done to a good document, at six levels (0 is the document as it was). Pure.

A defect takes a document, its level 1..5 and a seeded random generator, and changes about level/5 of what it is about.
It was written after the feature judge was frozen, and nothing was tuned on it; a third of the defects, chosen by a
hash of their names, is reported apart all the same, for whoever tunes something later.
"""

import json
import re
from collections.abc import Callable, Mapping
from hashlib import blake2b
from random import Random
from typing import Final

from msgspec.structs import replace

from mira_stream.config import Family
from mira_stream.messages import Document, Message, ToolCall

LEVELS: Final = 5
Change = Callable[[str, int, Random], str]
Defect = Callable[[Document, int, Random], Document]
_SENTENCE: Final = re.compile(r"(?<=[.!?:])\s+|\n+")
BOILERPLATE: Final = (
    "Accept all cookies to continue. Manage preferences. Reject.",
    "Home | Products | Pricing | Blog | Careers | Contact | Log in | Sign up",
    "Share this page on social media. Print. Email. Save for later.",
    "Subscribe to our newsletter and never miss an update!",
    "Copyright 2021. All rights reserved. Terms of use. Privacy policy.",
    "Related articles you may like: 10 tricks, 7 secrets, 5 mistakes.",
    "You have reached your limit of free pages this month.",
    "Loading comments... Be the first to comment. Report abuse.",
)
FOREIGN: Final = (
    "Das lässt sich so nicht sagen, weil der Wert vorher noch nicht bekannt ist.",
    "Il faut d'abord vérifier que la liste n'est pas vide avant de continuer.",
    "El resultado depende del orden en que se leen los elementos.",
    "Questo metodo restituisce sempre una nuova copia dell'oggetto.",
    "この関数は引数を変更しません。",
    "Функция возвращает пустой список, если ничего не найдено.",
    "如果参数为空,则返回默认值。",
    "Zwraca liczbę elementów, które spełniają podany warunek.",
)
NEGATIONS: Final = (
    "This is not true: the opposite holds.",
    "No, exactly the reverse is the case.",
    "That statement is wrong and must not be relied on.",
    "In fact none of this ever happens.",
)


def truncation(text: str, level: int, random: Random) -> str:
    """The last level/6 of the text is missing, in the middle of a word."""
    return text[: max(20, len(text) * (LEVELS + 1 - level) // (LEVELS + 1))]


def shuffled(text: str, level: int, random: Random) -> str:
    """level/5 of the sentences change places with one another."""
    pieces = _pieces(text)
    chosen = _chosen(pieces, level, random)
    moved = chosen[:]
    random.shuffle(moved)
    order = dict(zip(chosen, moved, strict=True))
    return "\n".join(pieces[order.get(index, index)] for index in range(len(pieces)))


def boilerplate(text: str, level: int, random: Random) -> str:
    """Lines of a web page's frame stand between the sentences: one for every five, at the highest level for each."""
    return _between(text, level, random, BOILERPLATE)


def mixed_language(text: str, level: int, random: Random) -> str:
    """level/5 of the sentences are replaced by ones in other languages that say something else."""
    pieces = _pieces(text)
    for index in _chosen(pieces, level, random):
        pieces[index] = random.choice(FOREIGN)
    return "\n".join(pieces)


def contradiction(text: str, level: int, random: Random) -> str:
    """level/5 of the sentences are followed by their denial."""
    return _between(text, level, random, NEGATIONS)


def noise(text: str, level: int, random: Random) -> str:
    """As if read by a bad scanner: 3 % of the characters a level are others."""
    wrong = {index for index in range(len(text)) if random.random() < 0.03 * level}
    return "".join(random.choice("~^|1lI0O#%@") if i in wrong and c.isalnum() else c for i, c in enumerate(text))


def _of_text(change: Change) -> Defect:
    """The same defect for every family: of the text, the answer, or each thing an agent says."""

    def defect(document: Document, level: int, random: Random) -> Document:
        if document.text is not None:
            return replace(document, text=change(document.text, level, random))
        if document.parts is not None:
            return replace(document, parts=replace(document.parts, answer=change(document.parts.answer, level, random)))
        messages = document.messages or []
        if change is truncation:
            return replace(document, messages=messages[: max(2, len(messages) * (LEVELS + 1 - level) // (LEVELS + 1))])
        return replace(document, messages=[_said(message, change, level, random) for message in messages])

    return defect


def _said(message: Message, change: Change, level: int, random: Random) -> Message:
    if message.role != "assistant" or not message.content:
        return message
    return replace(message, content=change(message.content, level, random))


def invalid_tool_json(document: Document, level: int, random: Random) -> Document:
    """level/5 of the tool calls have arguments that are no JSON."""

    def broken(call: ToolCall) -> ToolCall:
        if random.random() >= level / LEVELS:
            return call
        return replace(call, arguments=random.choice((call.arguments[:-1], call.arguments.replace('"', "'"), "{,}")))

    messages = document.messages or []
    return replace(
        document, messages=[replace(one, tool_calls=[broken(call) for call in one.tool_calls]) for one in messages]
    )


def repeated_failing_call(document: Document, level: int, random: Random) -> Document:
    """One call that fails is made again and again: 2 times a level."""
    messages = list(document.messages or [])
    place = next((index for index, one in enumerate(messages) if one.tool_calls), len(messages) - 1)
    path = json.dumps({"path": "src/missing_file.py"})
    again = [
        Message(role="assistant", tool_calls=[ToolCall(name="view_file", arguments=path)]),
        Message(role="tool", name="view_file", content="error: no such file: src/missing_file.py"),
    ]
    return replace(document, messages=[*messages[:place], *(again * (2 * level)), *messages[place:]])


def leaked_solution(document: Document, level: int, random: Random) -> Document:
    """The repair stands in the request, and level/5 of the looking and testing that would have found it is gone."""
    messages = list(document.messages or [])
    edits = [
        call.arguments for one in messages for call in one.tool_calls if call.name in ("str_replace", "write_file")
    ]
    hint = f"{messages[0].content or ''}\nThe solution is this edit: {edits[-1] if edits else 'none is needed'}"
    kept = [replace(messages[0], content=hint)]
    drop = False
    for one in messages[1:]:
        if one.role == "assistant":
            looks = [call for call in one.tool_calls if call.name not in ("str_replace", "write_file")]
            drop = bool(looks) and random.random() < level / LEVELS
        if not drop:
            kept.append(one)
    return replace(document, messages=kept)


_SHARED: Final[dict[str, Defect]] = {
    change.__name__: _of_text(change)
    for change in (truncation, shuffled, boilerplate, mixed_language, contradiction, noise)
}
DEFECTS: Final[Mapping[Family, Mapping[str, Defect]]] = {
    "text": _SHARED,
    "qa": _SHARED,
    "agent": _SHARED
    | {defect.__name__: defect for defect in (invalid_tool_json, repeated_failing_call, leaked_solution)},
}


def held_back() -> list[str]:
    """A third of the defects, by a hash of their names."""
    names = sorted({name for defects in DEFECTS.values() for name in defects})
    return sorted(names, key=lambda name: blake2b(name.encode(), digest_size=8).digest())[: len(names) // 3]


def _pieces(text: str) -> list[str]:
    return [piece for piece in _SENTENCE.split(text) if piece.strip()] or [text]


def _chosen(pieces: list[str], level: int, random: Random) -> list[int]:
    count = max(1, round(len(pieces) * level / LEVELS))
    return sorted(random.sample(range(len(pieces)), min(count, len(pieces))))


def _between(text: str, level: int, random: Random, lines: tuple[str, ...]) -> str:
    pieces = _pieces(text)
    chosen = set(_chosen(pieces, level, random))
    return "\n".join(f"{piece}\n{random.choice(lines)}" if i in chosen else piece for i, piece in enumerate(pieces))
