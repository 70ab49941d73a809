"""Packing several replies of a document into one row loses and mixes nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mira_stream.distill.examples import IGNORED, lay_out, pack, shared_prefix, visibility

ids = st.lists(st.integers(3, 9), min_size=1, max_size=12)


@given(prefix=ids, bodies=st.lists(ids, min_size=1, max_size=4), replies=st.lists(ids, min_size=4, max_size=4))
@settings(max_examples=200)
def test_each_reply_sees_its_own_prompt_and_itself(
    prefix: list[int], bodies: list[list[int]], replies: list[list[int]]
) -> None:
    prompts = [[*prefix, *body] for body in bodies]
    shared = shared_prefix(prompts)
    example = pack(prompts, replies[: len(prompts)], shared)
    row = lay_out(example, shared, example.tokens + 3)
    visible = visibility(row)
    for number, (prompt, reply) in enumerate(zip(prompts, replies, strict=False), start=1):
        last = int(np.flatnonzero(row.branch == number)[-1])
        seen = np.flatnonzero(visible[last])
        assert [*prompt[:shared], *row.ids[seen]] == [*prompt, *reply[:-1]]
        assert row.positions[seen].tolist() == list(range(shared, len(prompt) + len(reply) - 1))
        own = row.branch == number
        assert [t for t in row.targets[own] if t != IGNORED] == reply
    assert (row.targets[row.branch <= 0] == IGNORED).all()


@given(prompts=st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=5))
def test_the_shared_prefix_is_shared_and_leaves_every_prompt_a_token(prompts: list[list[int]]) -> None:
    shared = shared_prefix(prompts)
    assert len({tuple(prompt[:shared]) for prompt in prompts}) == 1
    assert shared < min(map(len, prompts))


def test_a_row_too_short_is_refused() -> None:
    example = pack([[1, 2, 3]], [[4, 5]], 0)
    with pytest.raises(ValueError, match="does not fit"):
        lay_out(example, 0, example.tokens - 1)
