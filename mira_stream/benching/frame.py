"""With how many tokens all prompts of an engine begin and end alike: the frame that each document stands in, of which a
prefix cache can serve the beginning. Pure."""

from itertools import takewhile
from typing import Annotated

from msgspec import Meta, Struct

Count = Annotated[int, Meta(ge=0)]


class Frame(Struct, frozen=True):
    """Tokens before the document and behind it."""

    head: Count
    tail: Count


class Frames:
    """Is told of prompts, one by one."""

    def __init__(self) -> None:
        self._head: tuple[int, ...] = ()
        self._tail: tuple[int, ...] = ()
        self._shortest = 0
        self._differ = False

    def add(self, prompt: tuple[int, ...]) -> None:
        """The token ids of a prompt; nothing where an engine does not give them."""
        if not prompt or (prompt == self._head and not self._differ):
            return
        if not self._shortest:
            self._head = self._tail = prompt
            self._shortest = len(prompt)
            return
        self._differ = True
        self._shortest = min(self._shortest, len(prompt))
        if prompt[: len(self._head)] != self._head:
            self._head = self._head[: _alike(self._head, prompt)]
        if prompt[len(prompt) - len(self._tail) :] != self._tail:
            self._tail = self._tail[len(self._tail) - _alike(self._tail[::-1], prompt[::-1]) :]

    @property
    def frame(self) -> Frame | None:
        """None until two different prompts have been seen: one alone is its own frame."""
        if not self._differ:
            return None
        head = len(self._head)
        return Frame(head, min(len(self._tail), self._shortest - head))


def _alike(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """At how many places from the beginning on they are equal."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
