"""Decoys: documents that look different and are as good as before, or look fluent and are not. Pure."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Final, NamedTuple

from msgspec.structs import replace

from mira_stream.messages import Document, Message, ToolCall
from mira_stream.sections import Family

Decoy = Callable[[Sequence[Document], Random], Document]
"""Of four good documents of one source, the first of which is the one it is compared with."""
RARE: Final = ("quoll", "zephyr", "kumquat", "fjord", "ibex", "ocelot", "tundra", "yurt", "lichen", "gneiss")
WRONG: Final = "docs/unrelated.md"
_NAME: Final = re.compile(r"\b[a-z]{3,}_[a-z_]+\b")


class Expectation(NamedTuple):
    """`may_rise`, `may_fall`: which move of the mean quality is no fault; a move under the tolerance never is."""

    may_rise: bool
    may_fall: bool


def four_times_as_long(documents: Sequence[Document], random: Random) -> Document:
    """Four documents of the same source, one after the other."""
    first = documents[0]
    if first.text is not None:
        return replace(first, text="\n\n".join(one.text or "" for one in documents))
    if first.parts is not None:
        parts = [one.parts for one in documents if one.parts is not None]
        question = "\n\n".join(one.question for one in parts)
        return replace(
            first, parts=replace(first.parts, question=question, answer="\n\n".join(p.answer for p in parts))
        )
    return replace(first, messages=[message for one in documents for message in one.messages or []])


def rare_names(documents: Sequence[Document], random: Random) -> Document:
    """Composed identifiers are replaced, each by the same other one throughout: as right as before, and rare."""
    names: dict[str, str] = {}

    words = [f"{one}_{other}" for one in RARE for other in RARE]
    random.shuffle(words)

    def rare(match: re.Match[str]) -> str:
        # Never one new name for two old ones: the code would not be as right as before.
        return names.setdefault(match[0], f"{words[len(names) % len(words)]}{'_x' * (len(names) // len(words))}")

    def renamed(text: str) -> str:
        return _NAME.sub(rare, text)

    first = documents[0]
    if first.text is not None:
        return replace(first, text=renamed(first.text))
    if first.parts is not None:
        parts = first.parts
        return replace(first, parts=replace(parts, question=renamed(parts.question), answer=renamed(parts.answer)))
    return replace(first, messages=[_renamed(message, renamed) for message in first.messages or []])


def _renamed(message: Message, renamed: Callable[[str], str]) -> Message:
    calls = [replace(call, arguments=renamed(call.arguments)) for call in message.tool_calls]
    return replace(message, content=renamed(message.content) if message.content else message.content, tool_calls=calls)


def fluent_wrong_calls(documents: Sequence[Document], random: Random) -> Document:
    """Every sentence stays; every call asks for something that is not there, in good JSON, and is answered so.

    Named among the decoys because its fluency must not lift a score; it is worse than what it was made of, so that a
    lower score is right.
    """

    def wrong(call: ToolCall) -> ToolCall:
        try:
            arguments = json.loads(call.arguments)
        except json.JSONDecodeError:
            return call
        if isinstance(arguments, dict):
            other = {"path": WRONG, "folder": "docs", "pattern": "weather", "code": "weather('Oslo')"}
            arguments = {key: other.get(key, value) for key, value in arguments.items()}
        return replace(call, arguments=json.dumps(arguments))

    first = documents[0]
    changed = [
        replace(one, content=f"error: nothing found for {WRONG}")
        if one.role == "tool"
        else replace(one, tool_calls=[wrong(call) for call in one.tool_calls])
        for one in first.messages or []
    ]
    return replace(first, messages=changed)


DECOYS: Final[Mapping[Family, Mapping[str, tuple[Decoy, Expectation]]]] = {
    "text": {
        "four_times_as_long": (four_times_as_long, Expectation(False, False)),
        "rare_names": (rare_names, Expectation(False, False)),
    },
    "qa": {
        "four_times_as_long": (four_times_as_long, Expectation(False, False)),
        "rare_names": (rare_names, Expectation(False, False)),
    },
    "agent": {
        "four_times_as_long": (four_times_as_long, Expectation(False, False)),
        "rare_names": (rare_names, Expectation(False, False)),
        "fluent_wrong_calls": (fluent_wrong_calls, Expectation(False, True)),
    },
}
