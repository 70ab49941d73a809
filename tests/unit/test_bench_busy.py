"""What the stream's benchmark asks: documents and replies as long as they are said to be, the same every time."""

import asyncio
import os
import sys
import time
from pathlib import Path
from subprocess import PIPE, Popen
from types import SimpleNamespace
from typing import Any

from bench.busy.processes import ASYNC_CORE, KAFKA, LLM_CORE, Processes, bind, is_worker
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


def test_a_childs_cpu_is_told_under_its_name_and_everything_else_leaves_its_core() -> None:
    processes = Processes()
    processes.name(KAFKA)  # whatever else runs as a child of the tests
    name = "import ctypes; ctypes.CDLL(None).prctl(15, b'VLLM::Worker', 0, 0, 0)"  # PR_SET_NAME
    work = f"{name}; sum(range(5_000_000)); print('done', flush=True); input()"
    with Popen([sys.executable, "-c", work], stdin=PIPE, stdout=PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"done\n"
        processes.name(ASYNC_CORE)
        engine, nobody = processes.reading(ASYNC_CORE)(), processes.reading(LLM_CORE)()
        assert engine.engine > 0 == nobody.engine
        assert engine.waited >= 0 == nobody.waited
        assert is_worker(child.pid)
        assert not is_worker(os.getpid())
        cores = os.sched_getaffinity(0)
        if len(cores) > 1:
            os.sched_setaffinity(child.pid, {min(cores)})
            processes.name(LLM_CORE)  # none
            try:
                processes.bind_apart()
                assert os.sched_getaffinity(0) == cores - {min(cores)}
                assert os.sched_getaffinity(child.pid) == {min(cores)}
            finally:
                bind([os.getpid()], cores)
        child.communicate(b"\n")
    assert processes.reading(ASYNC_CORE)().engine == 0, "it has ended"
