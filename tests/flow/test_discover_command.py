"""`mira-stream rubric discover` as a whole: a project of files, a scripted teacher, a small embedding."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from numpy.typing import NDArray

from mira_stream.cli import discovering
from mira_stream.cli.main import main
from mira_stream.demo.featurejudge import judge
from mira_stream.embedding import Embedder
from mira_stream.embedding.embedder import Progress
from mira_stream.teaching import Question
from tests.unit.teaching_world import FakeTeacher, Say

DEMO = Path(judge.__file__).parents[1] / "project"
NAMES = [f"Name {number:02}" for number in range(15)]
TOML = """
[groups.text]
family = "text"
document_tokens_max = 40
[sources.notes]
group = "text"
path = "notes.jsonl"
[teacher]
model = "fake"
base_url = "http://localhost:1/v1"
prompt_price = 1.0
generation_price = 1.0
"""


def judged(question: Question, attempt: int) -> str:
    """Fifteen names; reasons that say how much of the document was shown."""
    shown = len(question.messages[-1]["content"])
    rows = [{"name": name, "score": 1 + shown % 10, "reason": f"{shown} characters of {name}"} for name in NAMES]
    return orjson.dumps({"dimensions": rows}).decode()


def embed(self: Embedder, texts: Sequence[str], progress: Progress | None = None) -> NDArray[np.float32]:
    """A name's own axis."""
    return np.array([[name in text for name in NAMES] for text in texts], np.float32)


class World:
    """A project, and the teacher that it asks."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.root = root
        self.teacher = FakeTeacher(judged)
        self.model = "fake"
        self.capsys = capsys
        (root / "mira.toml").write_text(TOML)
        self.write(20)
        monkeypatch.setattr(Embedder, "embed", embed)

        @asynccontextmanager
        async def opened(*_: Any, **__: Any) -> AsyncIterator[FakeTeacher]:
            yield self.teacher

        monkeypatch.setattr(discovering, "open_teacher", opened)

    def write(self, documents: int) -> None:
        rows = [{"id": f"n{i}", "text": f"Note {i} says a word or two. " * (3 + i)} for i in range(documents)]
        (self.root / "notes.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))

    def discover(self, *options: str, say: Say = judged) -> tuple[int, dict[str, Any], str]:
        """Exit code, the JSON result of the group and what was said."""
        self.teacher = FakeTeacher(say)
        self.teacher.model = self.model
        code = main(["rubric", "discover", "--project", str(self.root), "-g", "text", "--json", *options])
        told = self.capsys.readouterr()
        return code, orjson.loads(told.out)["groups"][0] if told.out else {}, told.err

    @property
    def rubric(self) -> bytes:
        return (self.root / "rubrics" / "text.jsonl").read_bytes()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> World:
    return World(tmp_path, monkeypatch, capsys)


def test_a_student_that_came_since_changes_nothing(world: World) -> None:
    """What a later stage makes must not cut the documents of this one: paid for again, and another rubric."""
    code, made, said = world.discover()
    assert (code, made["asked"]) == (0, 20)
    assert "judged by a shortened view (head_tail) (tokens by characters / 4)" in said
    before = world.rubric
    student = world.root / "students" / "text"
    student.mkdir(parents=True)
    (student / "tokenizer.json").write_bytes((DEMO / "students/text/tokenizer.json").read_bytes())
    code, again, _ = world.discover()
    assert (code, again["asked"], again["from_journal"]) == (0, 0, 20)
    assert world.rubric == before


def test_another_teacher_asks_again_only_if_that_is_agreed_to(world: World) -> None:
    world.discover()
    before = world.rubric
    world.model = "other"
    code, _, said = world.discover()
    assert code == 1
    assert "answers_left_behind" in said
    assert world.teacher.asked == []
    assert world.rubric == before
    assert world.discover("--max-tokens", "1")[0] == 1, "a limit agrees up to it"
    assert world.discover("--yes")[1]["asked"] == 20
    assert world.discover()[1]["asked"] == 0


def test_more_documents_ask_only_about_themselves(world: World) -> None:
    world.discover()
    world.write(23)
    assert world.discover()[1]["asked"] == 3


def test_a_teacher_that_answers_nothing_readable_is_not_paid_to_the_end(world: World) -> None:
    toml = world.root / "mira.toml"
    toml.write_text(TOML.replace("[teacher]", "[teacher]\nconcurrency = 1") + "[limits]\ndead_letters_in_a_row = 3\n")
    world.write(200)
    code, _, said = world.discover(say=lambda question, attempt: "prose")
    assert code == 4
    assert "teacher_unreadable: 3 documents in a row were not judged; the last: reply_unreadable" in said
    letters = (world.root / "work").glob("discover-*.unanswered.jsonl")
    assert [path.read_text().count("reply_unreadable") for path in letters] == [3], "it is now that somebody looks"
    paid = len(world.teacher.asked)
    assert paid < 3 * 40, "three attempts each, and what was under way"
    code, made, _ = world.discover("--retry-unread")
    assert (code, made["unanswered"]) == (0, 0)
    toml.write_text(TOML + "[limits]\ndead_letters_in_a_row = 3\n")

    def some(question: Question, attempt: int) -> str:
        return "prose" if "Note 7 says" in question.messages[-1]["content"] else judged(question, attempt)

    (world.root / "work/discover-text.journal").unlink()
    assert world.discover(say=some)[1]["unanswered"] == 1, "one now and then is a dead letter"


def test_long_reasons_are_no_dead_letters(world: World) -> None:
    def say(question: Question, attempt: int) -> str:
        return judged(question, attempt).replace("characters of", "characters and many more words " * 30 + "of")

    code, made, _ = world.discover(say=say)
    assert (code, made["asked"], made["unanswered"]) == (0, 20, 0)


def test_who_the_teacher_is_is_said_once_of_all_groups(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    introduced: list[bool] = []

    @asynccontextmanager
    async def opened(*_: Any, **given: Any) -> AsyncIterator[FakeTeacher]:
        introduced.append(given["introduced"])
        yield FakeTeacher(judged)

    monkeypatch.setattr(discovering, "open_teacher", opened)
    more = '[groups.prose]\nfamily = "text"\n[sources.more]\ngroup = "prose"\npath = "notes.jsonl"\n'
    (world.root / "mira.toml").write_text(TOML + more)
    assert main(["rubric", "discover", "--project", str(world.root), "--all"]) == 0
    assert introduced == [False, True]
