"""What the stream's benchmark asks: documents and replies as long as they are said to be, the same every time."""

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bench.busy.sets import DOCUMENTS, EQUAL_CHARACTERS, NAMES, REPLIES, SHORT_REPLY_TOKENS, SKEW, WAITED, asked, varied
from bench.busy.stopwatch import Stopwatch
from mira_stream.messages import Document
from mira_stream.records import Outgoing
from mira_stream.scoring.engine import Request
from tests.unit.scoring_project import make_project

GIVEN = [Document(id=f"{at}", source=f"s{at % 2}", text=f"text {at} of some length. " * 40) for at in range(5)]


def test_documents_are_of_one_length_or_of_lengths_one_to_fifty() -> None:
    for name in NAMES:
        one = asked(name, GIVEN, 400)
        assert one == asked(name, GIVEN, 400)
        assert len({document.id for document in one.documents}) == 400
        assert {document.source for document in one.documents} == {"s0", "s1"}
        lengths = sorted(len(document.text or "") for document in one.documents)
        if name == DOCUMENTS:
            assert 0.9 * SKEW < lengths[-1] / lengths[0] <= SKEW
            assert lengths[200] < (lengths[0] + lengths[-1]) / 4, "most are short"
        else:
            assert set(lengths) == {EQUAL_CHARACTERS}
        assert one.varied == (name in (REPLIES, WAITED))


def test_replies_are_as_long_as_their_lots() -> None:
    tokens = sorted(varied(Request("r", [], 160, seed=seed * 7919)).max_tokens for seed in range(500))
    assert tokens[0] >= SHORT_REPLY_TOKENS
    assert tokens[-1] <= SHORT_REPLY_TOKENS * SKEW
    assert tokens[-1] > 40 * tokens[0]
    assert varied(Request("a", [], 1, seed=5)).max_tokens == varied(Request("b", [], 2, seed=5)).max_tokens


async def test_the_longest_block_of_the_loop_is_that_of_the_timed_part(tmp_path: Path) -> None:
    factory: Any = SimpleNamespace(project=make_project(tmp_path))
    stop = asyncio.Event()
    watch = Stopwatch(factory, 2, stop)
    watch.handled()
    await asyncio.sleep(0)
    time.sleep(0.1)  # noqa: ASYNC251 - the block to be seen
    watch.committed([Outgoing("mira.scores", b"", b"")])
    assert not stop.is_set()
    watch.committed([Outgoing("mira.scores", b"", b"")])
    assert stop.is_set()
    told = watch.block_s
    assert told >= 0.08
    time.sleep(0.3)  # noqa: ASYNC251 - behind the last card nothing is timed
    await asyncio.sleep(0)
    assert watch.block_s == told < watch.seconds
