"""Commands that ask a teacher, stopped in every way, over HTTP: what is under way is answered, and paid for once."""

import asyncio
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from mira_stream.cli.main import main
from mira_stream.distill.labels import SCHEMA, about, columns
from mira_stream.embedding import Embedder
from mira_stream.parquet import write_table
from mira_stream.prompt import load_prompt
from mira_stream.rubric.anchors import load_rubric
from mira_stream.teaching import Question
from tests.flow import test_discover_command as discovering
from tests.flow.reliability_project import labels
from tests.flow.test_label import DEMO, NOTES, good
from tests.unit.test_openai_engine import Server, serving

pytestmark = pytest.mark.models  # commands that import transformers, started many times
PLACES = 4
TOML = f"""
[groups.text]
family = "text"
student = "{DEMO / "students" / "text"}"
context_tokens_max = 1280
[sources.notes]
group = "text"
path = "notes.jsonl"
id = "name"
[labels]
documents = 20
heldout = 4
[discovery]
documents = 24
[teacher]
model = "student"
base_url = "URL"
concurrency = {PLACES}
request_timeout_s = 90.0
prompt_price = 1.0
generation_price = 1.0
"""


class Toy(Server):
    """A stand-in for a teacher that judges nothing. After `at_once` answers it holds back the next until `let_go`."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = self.judge
        self.at_once = 6
        self.begun = 0
        self.let_go = asyncio.Event()
        self.held = asyncio.Event()
        """As many questions as there are places wait for their answers."""

    async def judge(self, request: HttpRequest) -> Response:
        self.begun += 1
        if self.begun == self.at_once + PLACES:
            self.held.set()
        if self.begun > self.at_once:
            await self.let_go.wait()
        question = Question("", (await request.json())["messages"], 0)
        freeform = "JSON" in question.messages[0]["content"]
        text = (discovering.judged if freeform else good)(question, 1)
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        return JSONResponse({"id": "c", "object": "chat.completion", "choices": [choice], "usage": usage})

    @property
    def questions(self) -> Counter[str]:
        """How often each was asked."""
        return Counter(str((body["messages"], body["seed"])) for body in self.bodies)


class Command:
    """A command as a process of its own, over the project, and what it has said."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said = ""

    @classmethod
    async def start(cls, root: Path, *words: str) -> "Command":
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable, "-m", "mira_stream", *words, "--project", str(root),
                stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
            )
        )  # fmt: skip

    async def says(self, text: str) -> None:
        """Until it has said that."""
        assert self.process.stderr is not None
        while text not in self.said:
            line = await self.process.stderr.readline()
            assert line, f"it ended without a word of {text!r}: {self.said}"
            self.said += line.decode()

    async def ends(self) -> int:
        assert self.process.stderr is not None
        self.said += (await self.process.stderr.read()).decode()
        return await self.process.wait()


@pytest.fixture
async def teacher() -> AsyncIterator[Toy]:
    toy = Toy()
    async with serving(toy):
        yield toy


@pytest.fixture
def root(tmp_path: Path, teacher: Toy) -> Path:
    (tmp_path / "mira.toml").write_text(TOML.replace("URL", teacher.url))
    (tmp_path / "notes.jsonl").write_bytes(b"".join(orjson.dumps(note) + b"\n" for note in NOTES))
    for part in ("rubrics/text.jsonl", "prompts/text/system.txt", "prompts/text/user.txt"):
        (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / part).write_bytes((DEMO / part).read_bytes())
    return tmp_path


LABEL = ("label", "--group", "text")
DISCOVER = ("rubric", "discover", "--group", "text")
PIPELINE = ("pipeline", "--until", "label")
STOPPED = 130


@pytest.mark.parametrize(
    ("words", "number"), [(LABEL, signal.SIGINT), (LABEL, signal.SIGTERM), (PIPELINE, signal.SIGINT),
                          (PIPELINE, signal.SIGTERM)]
)  # fmt: skip
async def test_stopped_it_keeps_what_is_under_way_and_asks_each_question_once_in_all(
    root: Path, teacher: Toy, words: tuple[str, ...], number: signal.Signals
) -> None:
    stopped = await Command.start(root, *words)
    await teacher.held.wait()
    stopped.process.send_signal(number)
    await stopped.says("stopping: 4 answers under way, up to 90 s")
    teacher.let_go.set()
    assert await stopped.ends() == STOPPED
    assert "10 answers asked for, 0 from the journal; 1,000 prompt and 100 generation tokens, cost 0.00" in stopped.said
    assert teacher.calls == 10
    resumed = await Command.start(root, *words)
    assert await resumed.ends() == 0
    assert "10 from the journal" in resumed.said
    assert set(teacher.questions.values()) == {1}
    assert teacher.calls == 24


@pytest.mark.parametrize("words", [LABEL, PIPELINE])
async def test_stopped_twice_it_ends_at_once_and_only_what_was_under_way_is_asked_again(
    root: Path, teacher: Toy, words: tuple[str, ...]
) -> None:
    stopped = await Command.start(root, *words)
    await teacher.held.wait()
    stopped.process.send_signal(signal.SIGTERM)
    await stopped.says("stopping: 4 answers under way")
    stopped.process.send_signal(signal.SIGINT)
    assert await stopped.ends() == STOPPED
    assert "4 answers under way thrown away, to be asked for again" in stopped.said
    assert "6 answers asked for" in stopped.said
    teacher.let_go.set()
    resumed = await Command.start(root, *words)
    assert await resumed.ends() == 0
    assert Counter(teacher.questions.values()) == {1: 20, 2: 4}


async def test_a_discovery_that_is_stopped_says_what_it_has_taken_and_goes_on(
    root: Path, teacher: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = await Command.start(root, *DISCOVER)
    await teacher.held.wait()
    stopped.process.send_signal(signal.SIGINT)
    await stopped.says("text: stopping: 4 answers under way")
    teacher.let_go.set()
    assert await stopped.ends() == STOPPED
    assert "text: 10 answers asked for, 0 from the journal" in stopped.said
    monkeypatch.setattr(Embedder, "embed", discovering.embed)
    assert await asyncio.to_thread(main, [*DISCOVER, "--project", str(root)]) == 0
    assert set(teacher.questions.values()) == {1}
    assert teacher.calls == 24


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_a_retest_loses_nothing_and_killed_pays_twice_at_most_what_was_under_way(
    root: Path, teacher: Toy, number: signal.Signals
) -> None:
    rubric = load_rubric(root / "rubrics/text.jsonl")
    prompt = load_prompt(root / "prompts/text", rubric).files_sha256
    (root / "work").mkdir()
    known = about(rubric.version, "student", prompt, "scores", 0.0)
    write_table(root / "work/labels-text.parquet", SCHEMA, columns(labels(30)), known)
    words = ("reliability", "--group", "text", "--retest", "20")
    killed = await Command.start(root, *words)
    await teacher.held.wait()
    killed.process.send_signal(number)
    if number != signal.SIGKILL:
        await killed.says("stopping: 4 answers under way")
        teacher.let_go.set()
    assert await killed.ends() == (-number if number == signal.SIGKILL else STOPPED)
    teacher.let_go.set()
    resumed = await Command.start(root, *words)
    await resumed.says("answers asked for")
    resumed.process.kill()  # what comes behind asks nobody
    await resumed.process.wait()
    twice = PLACES if number == signal.SIGKILL else 0
    assert f"{14 if twice else 10} answers asked for, {6 if twice else 10} from the journal" in resumed.said
    assert sorted(teacher.questions.values()) == [1] * (20 - twice) + [2] * twice
