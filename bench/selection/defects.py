"""The planted ladder: what is done to a good document, at six levels (0 is the document as it was). Pure.

A defect takes a document, its level 1..5 and a random generator, and changes about level/5 of what it is about. With
equal generators a higher level changes what the lower one changed, and more. Where there is nothing to change (one
sentence cannot be shuffled) it returns the document as it was: then it does not apply.
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

from mira_stream.messages import Document, Message, ToolCall
from mira_stream.sections import Family

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
    return "\n".join(pieces[place] for place in _places(len(pieces), level, random))


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
        if change is shuffled:
            return replace(document, messages=_thoughts_shuffled(messages, level, random))
        return replace(document, messages=[_said(message, change, level, random) for message in messages])

    return defect


def _thoughts_shuffled(messages: list[Message], level: int, random: Random) -> list[Message]:
    """level/5 of the agent's turns say what another one said: a turn has too few sentences to be shuffled itself."""
    turns = [index for index, one in enumerate(messages) if one.role == "assistant" and one.content]
    found = messages[:]
    for turn, place in zip(turns, _places(len(turns), level, random), strict=True):
        found[turn] = replace(messages[turn], content=messages[turns[place]].content)
    return found


def _said(message: Message, change: Change, level: int, random: Random) -> Message:
    if message.role != "assistant" or not message.content:
        return message
    return replace(message, content=change(message.content, level, random))


def invalid_tool_json(document: Document, level: int, random: Random) -> Document:
    """level/5 of the tool calls have arguments that are no JSON."""

    messages = document.messages or []
    chosen = iter(_ranks(sum(len(one.tool_calls) for one in messages), random))
    count = sum(len(one.tool_calls) for one in messages) * level / LEVELS

    def broken(call: ToolCall) -> ToolCall:
        return call if next(chosen) >= count else replace(call, arguments=random.choice(_no_json(call.arguments)))

    return replace(
        document, messages=[replace(one, tool_calls=[broken(call) for call in one.tool_calls]) for one in messages]
    )


def _no_json(arguments: str) -> list[str]:
    """Ways to write arguments wrong."""
    return [wrong for wrong in (arguments[:-1], arguments.replace('"', "'"), "{,}") if wrong not in ("{}", arguments)]


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
    return [index for index, rank in enumerate(_ranks(len(pieces), random)) if rank < count]


def _ranks(count: int, random: Random) -> list[int]:
    """A random order: with equal generators, the first n of it are also among the first n + 1."""
    ranks = list(range(count))
    random.shuffle(ranks)
    return ranks


def _places(count: int, level: int, random: Random) -> list[int]:
    """Where each of `count` things comes from when level/5 of them, at least two, each take the place of the next."""
    order = sorted(range(count), key=_ranks(count, random).__getitem__)
    moved = order[: max(2, round(count * level / LEVELS))]
    places = list(range(count))
    for place, other in zip(moved, moved[1:] + moved[:1], strict=True):
        places[place] = other
    return places


def _between(text: str, level: int, random: Random, lines: tuple[str, ...]) -> str:
    pieces = _pieces(text)
    chosen = set(_chosen(pieces, level, random))
    return "\n".join(f"{piece}\n{random.choice(lines)}" if i in chosen else piece for i, piece in enumerate(pieces))
