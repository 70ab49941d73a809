"""`mira-stream pipeline --plan` says what the steps before it will ask of the teacher."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from mira_stream.cli.main import main
from mira_stream.demo.featurejudge import judge

DEMO = Path(judge.__file__).parents[1] / "project"
TOML = """
[groups.text]
family = "text"
[sources.notes]
group = "text"
path = "notes.jsonl"
[teacher]
model = "featurejudge"
prompt_price = 2.0
generation_price = 3.0
[labels]
documents = 20
heldout = 6
[reliability]
retest = 4
"""


class World:
    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root = root
        self.capsys = capsys
        (root / "mira.toml").write_text(TOML)
        rows = [{"id": f"n{i}", "text": f"note {i} says {i * 7} things about rivers"} for i in range(90)]
        (root / "notes.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))

    def give(self, *parts: str) -> None:
        for part in parts:
            (self.root / part).parent.mkdir(parents=True, exist_ok=True)
            (self.root / part).write_bytes((DEMO / part).read_bytes())

    def plan(self) -> tuple[dict[str, dict[str, Any]], str]:
        """What is asked, by step, and what was said. Nothing is written by it."""
        before = self.files()
        assert main(["pipeline", "--project", str(self.root), "--plan", "--json"]) == 0
        assert self.files() == before
        told = self.capsys.readouterr()
        return {one["step"]: one for one in orjson.loads(told.out)["asking"]}, told.err

    def files(self) -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in self.root.rglob("*") if path.is_file()}

    def own_estimate(self, *words: str) -> str:
        """What a command says of itself before it asks."""
        main([*words, "--group", "text", "--project", str(self.root)])
        said = self.capsys.readouterr().err
        return next(line for line in said.splitlines() if "questions to ask" in line)


@pytest.fixture
def world(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> World:
    return World(tmp_path, capsys)


def test_a_step_is_estimated_as_its_command_does_it(world: World) -> None:
    found, said = world.plan()
    assert (found["discover text"]["questions"], found["discover text"]["sure"]) == (90, True)
    assert "its rubric is made first; 20 + 6 documents of each source at most" in said
    assert said.count("text: reading all documents of notes, to say what will be asked about them") == 1
    assert "cost" not in found["label text"]
    assert world.own_estimate("rubric", "discover", "--max-tokens", "1").removeprefix("text: ") in said

    world.give("rubrics/text.jsonl", "prompts/text/system.txt")
    found, said = world.plan()
    assert list(found) == ["label text", "reliability text"]
    label, again = found["label text"], found["reliability text"]
    assert (label["questions"], again["questions"]) == (26, 4)
    assert label["cost"] == pytest.approx((2 * label["prompt_tokens"] + 3 * label["generation_tokens"]) / 1e6, rel=0.01)
    assert "in all, as far as known" in said
    assert "30 questions to ask" in said
    assert world.own_estimate("label") in said

    found, said = world.plan()
    assert list(found) == ["reliability text"], "labels are there"
    assert found["reliability text"]["questions"] == 4
    world.give("prompts/text/user.txt")
    (world.root / "prompts/text/user.txt").write_text("Be strict. ${dimensions} ${document}")
    found, said = world.plan()
    assert "holds labels of prompt" in found["reliability text"]["unknown"]
    assert "warning: refused: prompt_mismatch" in said


def test_what_the_journal_answers_is_not_counted(world: World) -> None:
    world.give("rubrics/text.jsonl", "prompts/text/system.txt", "prompts/text/user.txt")
    main(["label", "--group", "text", "--project", str(world.root), "--documents", "10"])
    (world.root / "work/labels-text.parquet").unlink()
    world.capsys.readouterr()
    found, said = world.plan()
    assert found["label text"]["questions"] == 10
    assert world.own_estimate("label") in said


def test_why_it_cannot_be_known_is_said(world: World) -> None:
    (world.root / "notes.jsonl").unlink()
    found, said = world.plan()
    assert "notes.jsonl" in found["discover text"]["unknown"]
    assert "; do: " in found["discover text"]["unknown"]
    assert "in all" not in said
    (world.root / "mira.toml").write_text('[sources.notes]\nfamily = "text"\npath = "notes.jsonl"\n')
    found, said = world.plan()
    assert list(found) == ["new groups"]
    assert "which groups there will be" in said
