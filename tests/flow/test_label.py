"""`mira-stream label` with teachers that fail in every way teachers fail."""

import random
import shlex
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from mira_stream.chance import is_heldout
from mira_stream.cli import labelling, teachers
from mira_stream.cli.labels_place import labelling_again
from mira_stream.cli.main import main
from mira_stream.config import load_project
from mira_stream.demo.featurejudge import judge
from mira_stream.distill.labels import is_measured
from mira_stream.errors import EngineError
from mira_stream.messages import SLOTS, Layout, Mode
from mira_stream.parquet import read_columns, read_metadata
from mira_stream.rubric.anchors import load_rubric
from mira_stream.scorecard import Reply, write
from mira_stream.teaching import Question
from tests.unit.teaching_world import FakeTeacher, Say

DEMO = Path(judge.__file__).parents[1] / "project"
TOML = """
[groups.text]
family = "text"
document_tokens_max = 100
LAYOUT
[sources.notes]
group = "text"
path = "notes.jsonl"
id = "name"
[teacher]
model = "fake"
base_url = "http://localhost:1/v1"
prompt_price = 1.0
generation_price = 1.0
"""
CHANCE = random.Random(3)
WORDS = [f"word{n}" for n in range(900)]
NOTES = [{"name": f"n{i}", "text": " ".join(CHANCE.choices(WORDS, k=60))} for i in range(100)]
Label = Callable[..., dict[str, Any]]


def good(question: Question, attempt: int, layout: Layout = "scores_first") -> str:
    names = load_rubric(DEMO / "rubrics/text.jsonl").names
    reasons = [f"because of {slot}" for slot in SLOTS] if layout == "interleaved" else []
    mode: Mode = "rationale" if reasons else "scores"
    return write(Reply([7] * 15, 70, "keep", "tag", "A brief.", reasons), layout, mode, names)


class World:
    """A project, and the teacher that it asks."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.root = root
        self.teacher = FakeTeacher(good)
        self.capsys = capsys
        self.write(NOTES)
        self.configure("")
        for part in ("rubrics/text.jsonl", "prompts/text/system.txt", "prompts/text/user.txt"):
            (root / part).parent.mkdir(parents=True, exist_ok=True)
            (root / part).write_bytes((DEMO / part).read_bytes())

        @asynccontextmanager
        async def opened(*_: Any, **__: Any) -> AsyncIterator[FakeTeacher]:
            yield self.teacher

        self.patch = monkeypatch
        monkeypatch.setattr(labelling, "open_teacher", opened)

    def configure(self, layout: str, more: str = "") -> None:
        (self.root / "mira.toml").write_text(TOML.replace("LAYOUT", layout) + more)

    def write(self, notes: Sequence[dict[str, str]]) -> None:
        (self.root / "notes.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in notes))

    def label(self, *options: str, say: Say | None = None) -> tuple[int, dict[str, Any], str]:
        """Exit code, the JSON result and what was said."""
        self.teacher = FakeTeacher(say or good)
        self.teacher.prompt_tokens = 1000
        code = main(["label", "--project", str(self.root), "--group", "text", "--json", *options])
        told = self.capsys.readouterr()
        return code, orjson.loads(told.out) if told.out else {}, told.err

    @property
    def labels(self) -> Path:
        return self.root / "work/labels-text.parquet"

    @property
    def dead(self) -> list[dict[str, Any]]:
        path = self.root / "work/label-text.dead.jsonl"
        return [orjson.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> World:
    return World(tmp_path, monkeypatch, capsys)


def test_labels_their_metadata_and_what_was_spent(world: World) -> None:
    code, result, said = world.label("--documents", "20", "--heldout", "5", "--cuts", "2")
    assert code == 0
    table = read_columns(world.labels)
    assert table["split"].count("distill") == result["training"] > 20
    assert table["split"].count("heldout") == result["heldout"] == 5
    assert all(is_heldout(name) == (side == "heldout") for name, side in zip(table["id"], table["split"], strict=True))
    assert all(is_measured(name) for name in table["id"] if is_heldout(name))
    assert table["cluster"] == table["id"]
    assert table["justifications"] == [None] * len(table["id"])
    rubric = load_rubric(world.root / "rubrics/text.jsonl").version
    assert read_metadata(world.labels).items() >= {"rubric": rubric, "teacher": "fake", "mode": "scores"}.items()
    assert result["spent"] == {"cost": 1005 * result["asked"] / 1e6, "tokens": 1005 * result["asked"]}
    assert "questions to ask" in said
    assert "under 100" in said


def test_mira_toml_says_how_many_and_an_option_goes_before_it(world: World) -> None:
    measured = world.root / "labels/text.parquet"
    measured.parent.mkdir()
    measured.write_bytes((DEMO / "labels/text.parquet").read_bytes())
    before = measured.read_bytes()
    world.configure("", "[labels]\ndocuments = 12\nheldout = 4\ncuts = 2\n")
    code, result, said = world.label()
    assert (code, result["documents"], result["heldout"]) == (0, 16, 4)
    assert result["training"] > 12, "two cuts"
    assert "for this run" not in said
    _, result, said = world.label("--documents", "6", "--heldout", "4")
    assert (result["documents"], result["asked"]) == (10, 0)
    assert "--documents 6 for this run; the pipeline keeps to [labels] documents = 12 of mira.toml" in said
    assert "--heldout" not in said
    assert measured.read_bytes() == before, "what was measured is not written over"


def test_labels_with_views_of_ones_own_stay_where_they_are(world: World) -> None:
    own = world.root / "labels/text.parquet"
    world.label("--documents", "5")
    own.parent.mkdir()
    world.labels.rename(own)
    assert world.label("--documents", "5")[1]["labels"] == str(own)


def test_labels_are_drawn_from_all_of_a_source_whatever_its_order(world: World) -> None:
    options = ("--documents", "20", "--heldout", "5")
    world.label(*options)
    first = read_columns(world.labels)["id"]
    assert first != [note["name"] for note in NOTES][: len(first)]
    world.write(NOTES[::-1])
    assert world.label(*options)[1]["asked"] == 0
    assert sorted(read_columns(world.labels)["id"]) == sorted(first)
    _, result, said = world.label("--documents", "30", "--heldout", "5")
    assert (result["from_journal"], result["asked"]) == (25, 10)
    assert "not drawn by chance" not in said


def test_answers_about_documents_that_chance_would_not_draw_are_used(world: World) -> None:
    """As a version that labelled the first documents of a file has left them."""
    options = ("--documents", "20", "--heldout", "5")
    world.write(NOTES[:40])
    paid = world.label(*options)[1]["asked"]
    world.write(NOTES)
    _, result, said = world.label(*options)
    assert result["from_journal"] == paid
    assert result["asked"] == 25 - paid
    assert "notes: " in said
    assert "documents were asked about before and are kept for that, not drawn by chance" in said
    _, result, said = world.label(*options, "--anew")
    assert result["asked"] == 25
    assert "not drawn by chance" not in said


def test_advice_to_label_names_a_file_only_where_it_is_another(world: World) -> None:
    project = load_project(world.root, {})
    plain = f"mira-stream label --group text --project {world.root}"
    assert labelling_again(project, "text", world.labels) == plain
    assert (
        labelling_again(project, "text", world.root / "mine.parquet") == f"{plain} --labels {world.root}/mine.parquet"
    )


def test_what_the_demo_ships_teaches_nothing_and_the_command_that_is_said_makes_what_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "project"
    shutil.copytree(DEMO, root)
    place = ["--project", str(root), "--group", "text"]
    for more in (["--plan"], ["--head", "--plan"], ["--head"]):
        assert main(["distill", *place, *more]) == 3
        said = " ".join(capsys.readouterr().err.split())
        assert "labels_without_views" in said
        command = said.partition("label the group: ")[2].partition(";")[0]
        assert command == f"mira-stream label --group text --project {root}"
    assert main([*shlex.split(command)[1:], "--documents", "4", "--heldout", "2"]) == 0
    for more in ([], ["--head"]):
        assert main(["distill", *place, "--plan", *more]) == 0


def test_another_teacher_asks_again_only_if_that_is_agreed_to(world: World) -> None:
    world.label("--documents", "20", "--heldout", "5")
    paid = (world.root / "work/label-text.journal").read_bytes()

    class Other(FakeTeacher):
        model = "other"

    def ask(*options: str) -> tuple[int, dict[str, Any], str]:
        world.patch.setattr("tests.flow.test_label.FakeTeacher", Other)
        return world.label("--documents", "20", "--heldout", "5", *options)

    code, _, said = ask()
    assert code == 1
    assert "answers_left_behind" in said
    assert "25 answers (25,125 tokens)" in said
    assert (world.root / "work/label-text.journal").read_bytes() == paid
    code, result, _ = ask("--yes")
    assert (code, result["asked"]) == (0, 25)
    assert ask()[1]["asked"] == 0


def test_what_was_stopped_early_goes_on_without_a_question(world: World) -> None:
    assert world.label("--max-tokens", "30000")[0] == 1
    world.write([*NOTES, {"name": "new", "text": "a document that came since"}])
    code, result, _ = world.label()
    assert code == 0
    assert result["from_journal"] > 0


def test_a_template_that_is_missing_is_the_shipped_one(world: World) -> None:
    (world.root / "prompts/text/user.txt").unlink()
    code, _, said = world.label("--documents", "3")
    assert code == 0
    assert "was missing, is the shipped one now" in said
    assert (world.root / "prompts/text/user.txt").is_file()


def test_again_nothing_is_asked_and_the_file_is_the_same(world: World) -> None:
    world.label("--documents", "20", "--heldout", "5")
    before = world.labels.read_bytes()
    code, result, _ = world.label("--documents", "20", "--heldout", "5")
    assert (code, result["asked"], result["from_journal"]) == (0, 0, 25)
    assert world.teacher.asked == []
    assert world.labels.read_bytes() == before


def test_copies_are_on_one_side(world: World) -> None:
    copies = [{"name": f"m{i}", "text": NOTES[i % 6]["text"]} for i in range(40)]
    world.write([*NOTES[:20], *copies])
    _, result, said = world.label()
    table = read_columns(world.labels)
    sides = dict(zip(table["cluster"], table["split"], strict=True))
    assert [sides[cluster] for cluster in table["cluster"]] == table["split"]
    assert not any(
        is_heldout(name) for name, side in zip(table["id"], table["split"], strict=True) if side != "heldout"
    )
    assert result["clusters"] < result["documents"]
    assert "near-duplicates among them" in said


@pytest.mark.parametrize(
    "broken",
    ["I think it is quite good.", "[A1] 7/10\n[A2] 5/10", good(Question("", [], 0), 1).replace("7/10", "17/10"),
     good(Question("", [], 0), 1).replace("7/10", "seven"), ""],
    ids=["prose", "half", "range", "words", "nothing"],
)  # fmt: skip
def test_some_unreadable_replies_are_dead_letters_with_reasons(world: World, broken: str) -> None:
    def say(question: Question, attempt: int) -> str:
        return broken if question.key.startswith("label/text/notes/n1") else good(question, attempt)

    code, result, said = world.label(say=say)
    assert code == 0
    names = {f"n{i}" for i in (1, *range(10, 20)) if not is_heldout(f"n{i}") or is_measured(f"n{i}")}
    assert {row["id"] for row in world.dead} == names
    assert {(row["reason"], row["attempts"]) for row in world.dead} == {("reply_unreadable", 3)}
    assert result["dead"] == len(names)
    assert not names & set(read_columns(world.labels)["id"])
    assert "have no label" in said
    # The teacher is better now, the bad answers are paid for: they stay unread, until asked for anew.
    assert world.label()[1]["asked"] == 0
    assert world.label("--anew")[1]["dead"] == 0
    assert world.dead == []
    assert (world.root / "work/label-text.journal.1").exists()


def test_nobody_pays_for_what_the_scorer_would_refuse(world: World) -> None:
    name = next(f"r{n}" for n in range(99) if not is_heldout(f"r{n}"))
    world.write([{"name": name, "text": '[{"role": "user", "content": "not a text"}]'}, *NOTES[:20]])
    assert world.label()[0] == 0
    assert [(row["id"], row["reason"]) for row in world.dead] == [(name, "wrong_format")]
    assert not any(key.startswith(f"label/text/notes/{name}/") for key, _ in world.teacher.asked)


def test_a_teacher_that_refuses_or_babbles_without_end_stops_it(world: World) -> None:
    code, _, said = world.label(say=lambda question, attempt: "prose")
    assert code == 4
    assert "teacher_unreadable" in said
    assert not world.labels.exists()
    assert world.dead

    def refuse(question: Question, attempt: int) -> str:
        raise EngineError("HTTP 413 too long", retriable=False)

    assert world.label("--documents", "2", "--heldout", "1", "--anew", say=refuse)[0] == 4
    assert {(row["reason"], row["error"]) for row in world.dead} == {("engine_refused", "HTTP 413 too long")}


def test_a_budget_stops_it_and_a_larger_one_goes_on(world: World) -> None:
    code, _, said = world.label("--max-tokens", "30000")
    assert code == 1
    assert "budget_reached: the next question could pass --max-tokens 30,000; so far" in said
    assert "with a higher --max-tokens" in said
    assert not world.labels.exists()
    paid = len(world.teacher.asked)
    assert paid > 0
    code, result, _ = world.label("--max-cost", "5")
    assert (code, result["from_journal"]) == (0, paid)
    (world.root / "mira.toml").write_text((world.root / "mira.toml").read_text().replace("price = 1.0", "price = 0"))
    code, _, said = world.label("--max-cost", "5")
    assert code == 2
    assert "price_unknown" in said


def test_a_prompt_edited_since_is_refused_until_asked_for_anew(world: World) -> None:
    world.label("--documents", "5")
    user = world.root / "prompts/text/user.txt"
    before = user.read_text()
    user.write_text(f"Be strict.\n{before}")
    code, _, said = world.label("--documents", "5")
    assert code == 3
    assert "prompt_mismatch" in said
    assert f"mira-stream label --group text --project {world.root} --anew" in said
    assert world.teacher.asked == []
    user.write_text(before)
    assert world.label("--documents", "5")[0] == 0
    user.write_text(f"Be strict.\n{before}")
    assert world.label("--documents", "5", "--anew")[0] == 0


def test_a_labelling_anew_that_was_stopped_goes_on_behind_what_it_paid_for(world: World) -> None:
    world.label()
    user = world.root / "prompts/text/user.txt"
    user.write_text(f"Be strict.\n{user.read_text()}")
    code, _, said = world.label("--anew", "--max-tokens", "30000")
    assert code == 1
    assert "budget_reached" in said
    paid = len(world.teacher.asked)
    assert paid > 0
    code, result, said = world.label("--anew")
    assert (code, result["from_journal"]) == (0, paid)
    assert "goes on with the labelling anew" in said
    # That one is done: the next is another.
    assert world.label("--anew")[1]["from_journal"] == 0


def test_a_rubric_edited_since_is_refused_until_asked_for_anew(world: World) -> None:
    world.label("--documents", "5")
    rubric = world.root / "rubrics/text.jsonl"
    header, rest = rubric.read_text().split("\n", 1)
    edited = {**orjson.loads(header), "created_by": "another"}
    rubric.write_text(orjson.dumps(edited).decode() + "\n" + rest)
    again = f"mira-stream label --group text --project {world.root} --anew"
    code, _, said = world.label("--documents", "5")
    assert code == 3
    assert "rubric_mismatch" in said
    assert again in said, "a command that can be copied"
    world.labels.unlink()
    code, _, said = world.label("--documents", "5")
    assert code == 3
    assert "rubric_mismatch" in said
    assert again in said
    assert world.label("--documents", "5", "--anew")[0] == 0
    assert read_metadata(world.labels)["rubric"] == load_rubric(rubric).version


def test_what_does_not_fit_is_said_before_anything_is_paid_for(world: World) -> None:
    long = [{"name": f"long{i}", "text": " ".join(CHANCE.choices(WORDS, k=900))} for i in range(30)]
    world.write([*NOTES[:10], *long])
    world.configure("context_tokens_max = 300")
    _, _, said = world.label("--max-tokens", "1")
    assert "longer than document_tokens_max = 100 and judged by a shortened view (head_tail)" in said
    assert "exceed context_tokens_max = 300 with prompt and reply" in said
    assert not world.teacher.asked
    world.configure("context_tokens_max = 9000\nreply_tokens_max = 8990")
    _, _, said = world.label("--max-tokens", "1")
    assert "exceed" not in said, "a student is taught replies as long as they are, not as they may be"
    world.configure('too_long = "reject"\ncontext_tokens_max = 9000')
    _, _, said = world.label("--max-tokens", "1")
    assert "refused: too_long" in said
    assert "exceed" not in said


def test_a_rationale_keeps_its_words(world: World) -> None:
    world.configure('layout = "interleaved"\nmode = "rationale"')
    code, _, _ = world.label("--documents", "3", "--heldout", "0", say=lambda q, a: good(q, a, "interleaved"))
    assert code == 0
    table = read_columns(world.labels)
    assert table["justifications"] == [[f"because of {slot}" for slot in SLOTS]] * 3
    assert (table["domain_tag"], table["brief"]) == (["tag"] * 3, ["A brief."] * 3)
    assert read_metadata(world.labels)["mode"] == "rationale"
    code, _, said = world.label("--mode", "scores")
    assert code == 3
    assert "mode_invalid" in said


def test_three_documents_are_few_and_none_is_an_error(world: World) -> None:
    world.write([{"name": name, "text": f"a short text of {name}"} for name in ("a", "b", "c")])
    code, result, said = world.label()
    assert code == 0
    assert result["documents"] >= 1
    assert "warning: notes" in said
    world.write([{"name": "a", "text": "   "}])
    code, _, said = world.label()
    assert code == 3
    assert "documents_missing" in said
    assert world.dead == [] or world.dead[0]["reason"] == "empty_document"


@pytest.mark.parametrize("mode", ["scores", "rationale"])
def test_the_feature_judge_is_asked_over_http_like_any_other(world: World, mode: str) -> None:
    world.patch.setattr(labelling, "open_teacher", teachers.open_teacher)
    toml = world.root / "mira.toml"
    toml.write_text(toml.read_text().replace('"fake"', '"featurejudge"').replace('"http://localhost:1/v1"', '""'))
    code, result, _ = world.label("--documents", "4", "--heldout", "1", "--mode", mode)
    assert (code, result["dead"]) == (0, 0)
    table = read_columns(world.labels)
    names = load_rubric(world.root / "rubrics/text.jsonl").names
    for view, scores, reasons in zip(table["view"], table["scores"], table["justifications"], strict=True):
        assert scores == judge.scores("text", view, names)
        assert (reasons is None) == (mode == "scores")
    assert world.label("--documents", "4", "--heldout", "1", "--mode", mode)[1]["asked"] == 0


def test_a_teacher_without_a_url_is_missing(world: World) -> None:
    world.patch.setattr(labelling, "open_teacher", teachers.open_teacher)
    toml = world.root / "mira.toml"
    toml.write_text(toml.read_text().replace('"http://localhost:1/v1"', '""'))
    code, _, said = world.label("--documents", "3")
    assert code == 3
    assert "teacher_missing" in said
    assert world.label("--group", "prose")[0] == 2
