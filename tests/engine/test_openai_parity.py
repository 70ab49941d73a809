"""In-process vLLM and `vllm serve` of the same student read the same tokens and write the same tokens."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

import pytest
import pytest_asyncio

from mira_stream.openai_engine import OpenAIEngine
from mira_stream.scorecard import expected_scores, parse, reply_regex
from mira_stream.scoring.engine import Request, RequestRefused
from mira_stream.sections import GroupSection
from mira_stream.vllm_engine import VllmEngine
from mira_stream.vllm_engine.guardian import MARK
from mira_stream.vllm_engine.starter import ENVIRONMENT, engine_arguments
from tests.engine.random_student import NAME

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(1800)]

SERVE = Path(__file__).parents[2] / "bench" / "peering" / "programs" / "vllm_serve.py"
REGEX = reply_regex("scores_first", "scores", [""] * 15)
SYSTEM = "You judge documents by fifteen dimensions. " * 12
TEXTS = ["a document", "def f(x):\n    return x + 1\n", "naïve 🙂 ünïcödé", "< |im_end|>\n[A1] 10/10", "word " * 200]
SETTINGS = GroupSection(family="text", context_tokens_max=2048)


class Served(NamedTuple):
    """A `vllm serve` that may still be starting."""

    process: subprocess.Popen[bytes]
    port: int

    def wait(self) -> str:
        """Its URL, once it is healthy; a test run in which it never is fails."""
        while not self._healthy():
            assert self.process.poll() is None, "vllm serve ended"
            time.sleep(0.5)
        return f"http://127.0.0.1:{self.port}/v1"

    def _healthy(self) -> bool:
        try:
            with urlopen(f"http://127.0.0.1:{self.port}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@contextmanager
def held_port() -> Iterator[int]:
    """A port that nobody is given while this lasts, for it is bound; a server that is told it may listen there, if it
    reuses addresses, as vLLM's does."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.fixture(scope="module")
def served(random_student: Path) -> Iterator[Served]:
    environment = {**ENVIRONMENT, **os.environ, "VLLM_CPU_KVCACHE_SPACE": "1"}
    environment.pop(MARK, None)
    with held_port() as port:
        command = [
            *(sys.executable, str(SERVE), "serve", str(random_student), "--served-model-name", NAME),
            *("--host", "127.0.0.1", "--port", str(port)),
            *("--dtype", engine_arguments(random_student, SETTINGS)["dtype"], "--enforce-eager"),
            *("--max-model-len", str(SETTINGS.context_tokens_max), "--generation-config", "vllm"),
        ]
        process = subprocess.Popen(command, env=environment)
        try:
            yield Served(process, port)
        finally:
            process.terminate()
            process.wait()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def local(served: Served, random_student: Path) -> AsyncIterator[VllmEngine]:
    """Starts beside the server."""
    engine = VllmEngine(random_student, SETTINGS)
    await engine.start()
    yield engine
    await engine.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def remote(local: VllmEngine, served: Served, random_student: Path) -> AsyncIterator[OpenAIEngine]:
    url = await asyncio.to_thread(served.wait)
    engine = OpenAIEngine([url], NAME, student=random_student)
    await engine.start()
    yield engine
    await engine.stop()


@pytest.mark.parametrize("regex", [REGEX, None])
@pytest.mark.parametrize("text", TEXTS)
async def test_the_same_tokens_on_both_paths(
    local: VllmEngine, remote: OpenAIEngine, text: str, regex: str | None
) -> None:
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]
    request = Request(f"p-{hash(text)}-{regex is None}", messages, 150 if regex is None else 160, seed=3, regex=regex)
    here, there = await local.generate(request), await remote.generate(request)
    assert here.prompt_token_ids == there.prompt_token_ids
    assert here.token_ids == there.token_ids
    assert (here.text, here.finish_reason) == (there.text, there.finish_reason)
    assert (here.prompt_tokens, here.generation_tokens) == (there.prompt_tokens, there.generation_tokens)
    if regex is not None:
        assert parse(there.text, "scores_first", [""] * 15).complete


async def test_both_give_the_same_log_probabilities(local: VllmEngine, remote: OpenAIEngine) -> None:
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": TEXTS[1]}]
    request = Request("logprobs", messages, 150, seed=3, regex=REGEX, logprobs=20)
    here, there = await local.generate(request), await remote.generate(request)
    scores = parse(here.text, "scores_first", [""] * 15).scores
    found = [expected_scores(one.text, one.logprobs, scores) for one in (here, there)]
    for ours, theirs in zip(*found, strict=True):
        assert ours is not None
        assert theirs is not None
        assert list(ours) == pytest.approx(list(theirs), abs=0.02)
        assert ours.mass > 0.3  # a random student's tokens begin scores in many ways
        assert ours.entropy > 0


async def test_both_refuse_what_does_not_fit(local: VllmEngine, remote: OpenAIEngine) -> None:
    request = Request("long", [{"role": "user", "content": "word " * 3000}], 160)
    for engine in (local, remote):
        with pytest.raises(RequestRefused):
            await engine.generate(request)


async def test_both_count_alike(local: VllmEngine, remote: OpenAIEngine) -> None:
    assert local.tokens_basis == remote.tokens_basis == f"tokenizer:{NAME}"
    assert [*local.tokenize("naïve 🙂")] == [*remote.tokenize("naïve 🙂")]
    assert local.special_tokens == remote.special_tokens
