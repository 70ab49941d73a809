"""Training examples: prompts and replies as token ids, and several replies of one document packed into one row.

Views of a document that begin alike share their tokens (the trunk); every reply branches off where its own prompt
leaves the trunk, and sees nothing of the other replies. What the student computes for a reply is exactly what it
would compute for that prompt alone.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Ids = list[int]
IGNORED: Final = -1


class Reply(NamedTuple):
    """A teacher's reply to one view: the trunk's first `cut` tokens, then `tail`, are its prompt."""

    cut: int
    tail: Ids
    reply: Ids


class Example(NamedTuple):
    """One document: `trunk` follows the prefix that all prompts of the group share."""

    trunk: Ids
    replies: tuple[Reply, ...]

    @property
    def tokens(self) -> int:
        """Length of the row: the last token of a reply is only ever a target."""
        return len(self.trunk) + sum(len(reply.tail) + len(reply.reply) - 1 for reply in self.replies)


class Row(NamedTuple):
    """`ids` and `positions` [S]; `branch` [S]: 0 on the trunk, k on the k-th reply, IGNORED on padding;
    `cuts` [replies]: how much of the trunk each reply sees; `targets` [S]: next token of a reply or IGNORED."""

    ids: NDArray[np.int64]
    positions: NDArray[np.int64]
    branch: NDArray[np.int64]
    cuts: NDArray[np.int64]
    targets: NDArray[np.int64]


def common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two sequences begin with in common."""
    limit = min(len(first), len(second))
    for index in range(limit):
        if first[index] != second[index]:
            return index
    return limit


def shared_prefix(prompts: Sequence[Ids]) -> int:
    """Tokens that all prompts begin with, always fewer than the shortest has."""
    first, last = min(prompts), max(prompts)
    return min(common_prefix(first, last), len(first) - 1, len(last) - 1)


def pack(prompts: Sequence[Ids], replies: Sequence[Ids], prefix: int) -> Example:
    """One example of a document's prompts; the longest prompt is the trunk, its last token excepted."""
    trunk = max(prompts, key=len)[prefix:-1]
    branches = []
    for prompt, reply in zip(prompts, replies, strict=True):
        own = prompt[prefix:]
        # At least one token of the prompt must head the branch: it is the one that predicts the reply's first.
        cut = min(common_prefix(trunk, own), len(own) - 1)
        branches.append(Reply(cut, own[cut:], reply))
    return Example(trunk, tuple(branches))


def lay_out(example: Example, prefix: int, length: int) -> Row:
    """The example as one row of `length` tokens. Raises ValueError if it is longer."""
    if example.tokens > length:
        raise ValueError(f"an example of {example.tokens} tokens does not fit a row of {length}")
    ids = np.zeros(length, np.int64)
    positions = np.zeros(length, np.int64)
    branch = np.full(length, IGNORED)
    targets = np.full(length, IGNORED)
    end = len(example.trunk)
    ids[:end], positions[:end], branch[:end] = example.trunk, np.arange(prefix, prefix + end), 0
    for number, reply in enumerate(example.replies, start=1):
        sequence = [*reply.tail, *reply.reply]
        start, end = end, end + len(sequence) - 1
        ids[start:end], branch[start:end] = sequence[:-1], number
        positions[start:end] = np.arange(prefix + reply.cut, prefix + reply.cut + end - start)
        targets[start + len(reply.tail) - 1 : end] = reply.reply
    return Row(ids, positions, branch, np.array([reply.cut for reply in example.replies]), targets)


def visibility(row: Row) -> NDArray[np.bool_]:
    """[S, S]: which tokens of its row each token may see (itself always, so that padding stays finite)."""
    length = len(row.ids)
    order = np.arange(length)
    earlier = order[:, None] >= order[None, :]
    same = row.branch[:, None] == row.branch[None, :]
    cuts = np.concatenate([[length], row.cuts])[np.maximum(row.branch, 0)]
    on_trunk = (row.branch[None, :] == 0) & (order[None, :] < cuts[:, None])
    visible: NDArray[np.bool_] = earlier & (same | on_trunk)
    return visible
