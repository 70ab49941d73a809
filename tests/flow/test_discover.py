"""Discovery with a scripted teacher: what it gets wrong, what is paid once, what is written."""

import asyncio
from collections import Counter
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from mira_stream.config import Project, load_project
from mira_stream.discovery import discover
from mira_stream.discovery.questions import Cutting, by_characters, draw_sample
from mira_stream.discovery.templates import default_templates, prompt_room, write_missing_templates
from mira_stream.errors import BudgetReached, ConfigError, DependencyError
from mira_stream.messages import Document
from mira_stream.prompt import load_prompt
from mira_stream.rubric.anchors import load_rubric
from mira_stream.sections import DiscoverySection
from mira_stream.teaching import Answer, Budget, Journal, Limits, Price, Question

NAMES = [f"Name {number:02}" for number in range(15)]


def reply(score: object, names: list[str] = NAMES) -> str:
    rows = [{"name": name, "score": score, "reason": f"level {score} of {name}"} for name in names]
    return msgspec.json.encode({"dimensions": rows}).decode()


class ScriptedTeacher:
    """Answers by document: a list of replies, the last one again and again; else fifteen good names."""

    model = "scripted"
    temperature = 0.0

    def __init__(self, replies: dict[str, list[str]] | None = None, down_after: int | None = None) -> None:
        self.replies = replies or {}
        self.down_after = down_after
        self.asked: Counter[str] = Counter()

    async def ask(self, question: Question, attempt: int) -> Answer:
        if self.down_after is not None and self.asked.total() >= self.down_after:
            raise DependencyError("teacher_gone", "the key is no longer good", "use another")
        name = question.key.rpartition("/")[2].partition("#")[0]
        self.asked[name] += 1
        scripted = self.replies.get(name, [reply(1 + int(name[1:]) % 10)])
        return Answer(scripted[min(attempt, len(scripted)) - 1], "stop", 100, 50)


def embed(texts: object) -> NDArray[np.float32]:
    """A name's own axis, and a little of its level."""
    rows = np.zeros((len(list(texts)), 16), np.float32)  # type: ignore[call-overload]
    for row, text in enumerate(texts):  # type: ignore[arg-type, var-annotated]
        rows[row, NAMES.index(text.partition(":")[0])] = 1
        rows[row, 15] = 0.01 * len(text)
    return rows


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "mira.toml").write_text(
        "[groups.g]\nfamily = 'text'\n[sources.a]\ngroup = 'g'\npath = 'a'\n[sources.b]\ngroup = 'g'\n"
    )
    return load_project(tmp_path)


DOCUMENTS = [Document(id=f"d{n:02}", source="ab"[n % 2], text=f"text number {n}") for n in range(20)]


def plan_of(project: Project, documents: list[Document] = DOCUMENTS, wanted: int = 20) -> discover.Plan:
    section = DiscoverySection(documents=wanted)
    cutting = Cutting(project.settings.groups["g"], 1000, by_characters)
    sample = draw_sample(documents, "text", wanted, 0)
    return discover.Plan("g", sample, cutting, section, "group")


def run(
    project: Project, teacher: ScriptedTeacher, budget: Budget | None = None, documents: list[Document] = DOCUMENTS
) -> discover.Answers:
    limits = Limits(2, attempts=2)
    with Journal(discover.journal_path(project, "g")) as journal:
        terms = discover.Terms(limits, budget or Budget(), Price())
        asking = discover.ask_sample(lambda: documents, plan_of(project, documents), teacher, journal, terms)
        return asyncio.run(asking)


def made(project: Project, answers: discover.Answers, documents: list[Document] = DOCUMENTS) -> bytes:
    return discover.make_rubric(plan_of(project, documents), answers, "scripted", embed, "axes")


def test_a_rubric_with_provenance(project: Project) -> None:
    data = made(project, run(project, ScriptedTeacher()))
    rubric = discover.save_rubric(project, "g", data)
    assert sorted(rubric.names) == NAMES
    assert (rubric.header.teacher, rubric.header.embedding, rubric.header.name_rule) == ("scripted", "axes", "medoid")
    sample = rubric.header.sample
    assert sample is not None
    assert (sample["documents"], sample["unanswered"]) == (20, 0)
    assert sample["sources"] == {"a": {"short": 10}, "b": {"short": 10}}
    assert write_missing_templates(project, "g") == ["system.txt", "user.txt"]
    assert load_prompt(project.prompts_path("g"), rubric).messages("VIEW")[-1]["content"].count("VIEW") == 1
    assert write_missing_templates(project, "g") == []
    other = data.replace(b"level", b"grade")
    assert discover.save_rubric(project, "g", other).version != rubric.version
    assert discover.replaced_path(project, "g", rubric.version).read_bytes() == data
    assert "examples" in (prompt_room(project, "g", rubric) or "examples")


def test_nothing_is_paid_for_twice(project: Project) -> None:
    with pytest.raises(DependencyError):
        run(project, ScriptedTeacher(down_after=7))
    second = ScriptedTeacher()
    first_bytes = made(project, run(project, second))
    assert second.asked.total() == 13
    third = ScriptedTeacher(down_after=0)
    assert made(project, run(project, third)) == first_bytes
    assert third.asked.total() == 0


def test_two_documents_with_one_id_are_both_judged(project: Project) -> None:
    twins = [*DOCUMENTS, Document(id="d00", source="a", text="another text under an id that is taken")]
    with Journal(discover.journal_path(project, "g")) as journal:
        terms = discover.Terms(Limits(2, attempts=2), Budget(), Price())
        plan = plan_of(project, twins, 21)
        answers = asyncio.run(discover.ask_sample(lambda: twins, plan, ScriptedTeacher(), journal, terms))
    assert len(answers.judged) == len(answers.asked) == 21


def test_a_budget_stops_and_a_larger_one_goes_on(project: Project) -> None:
    first = ScriptedTeacher()
    with pytest.raises(BudgetReached):
        run(project, first, Budget(tokens_max=4_500))
    assert 0 < first.asked.total() < 20
    second = ScriptedTeacher()
    assert len(run(project, second).judged) == 20
    assert first.asked.total() + second.asked.total() == 20


BAD = {
    "d00": ["I would rather talk about something else."],
    "d01": [reply(5)[:200]],
    "d02": [reply(5, NAMES[:14])],
    "d03": [reply(5, [*NAMES[:14], NAMES[0]])],
    "d04": [reply("seven")],
    "d05": [reply(11)],
    "d06": ["```json\n" + reply(7) + "\n```"],
    "d07": ["no", reply(8)],
}


def test_what_a_teacher_gets_wrong_is_asked_again_and_then_a_dead_letter(project: Project) -> None:
    teacher = ScriptedTeacher(BAD)
    answers = run(project, teacher)
    assert sorted(letter.id for letter in answers.letters) == ["d00", "d01", "d02", "d03", "d04", "d05"]
    assert {letter.reason for letter in answers.letters} == {"reply_unreadable"}
    assert all(letter.attempts == 2 for letter in answers.letters)
    assert teacher.asked["d07"] == 2
    discover.save_letters(project, "g", answers.letters)
    lines = discover.unanswered_path(project, "g").read_bytes().splitlines()
    assert len(lines) == 6
    assert msgspec.json.decode(lines[0])["error"]
    rubric = discover.save_rubric(project, "g", made(project, answers))
    assert rubric.header.sample is not None
    assert rubric.header.sample["unanswered"] == 6
    discover.save_letters(project, "g", [])
    assert not discover.unanswered_path(project, "g").exists()


def test_more_than_half_unanswered_makes_no_rubric(project: Project) -> None:
    teacher = ScriptedTeacher({f"d{n:02}": ["prose"] for n in range(11)})
    with pytest.raises(ConfigError, match="too_many_unanswered: 11 of 20"):
        made(project, run(project, teacher))
    with pytest.raises(ConfigError, match="nothing_answered"):
        made(project, discover.Answers([], [], []))


def test_three_documents_are_enough_for_fifteen_points(project: Project) -> None:
    few = DOCUMENTS[:3]
    rubric = discover.save_rubric(project, "g", made(project, run(project, ScriptedTeacher(), documents=few), few))
    assert [anchor.cluster_size for anchor in rubric.anchors] == [3] * 15


def test_one_document_many_times_and_a_teacher_without_ideas(project: Project) -> None:
    copies = [Document(id=f"d{n:02}", source="a", text="the same text") for n in range(40)]
    teacher = ScriptedTeacher()
    answers = run(project, teacher, documents=copies)
    assert teacher.asked.total() == 1
    blank = discover.make_rubric
    with pytest.raises(ConfigError, match="points_too_few"):
        blank(plan_of(project, copies), answers, "scripted", lambda texts: np.ones((len(texts), 4), np.float32), "one")


@pytest.mark.parametrize("family", ["text", "qa", "agent"])
def test_every_family_and_layout_has_templates(family: str, tmp_path: Path) -> None:
    for extra in ("", "layout = 'interleaved'\n", "mode = 'rationale'\n"):
        (tmp_path / "mira.toml").write_text(f"[groups.g]\nfamily = '{family}'\n{extra}")
        shipped = default_templates(load_project(tmp_path).settings.groups["g"])
        assert shipped["system.txt"].count("${calibration}") == 1
        assert shipped["user.txt"].endswith("${document}\n")
        assert ("interleaved" in extra) == ("— justification" in shipped["user.txt"])


def test_a_rubric_that_is_not_there(project: Project) -> None:
    with pytest.raises(ConfigError, match="rubric_missing"):
        load_rubric(project.rubric_path("g"))
