"""The probe at start finds template, rubric and student that do not belong together."""

from pathlib import Path

import orjson
import pytest
from msgspec.structs import replace

import mira_stream.demo
from mira_stream.config import Project, load_project
from mira_stream.errors import CheckFailed, ConfigError, DependencyError, EngineError
from mira_stream.messages import Mode
from mira_stream.prompt import load_prompt
from mira_stream.rubric.anchors import load_rubric
from mira_stream.scorecard import Reply, write
from mira_stream.scoring.engine import Completion, Request
from mira_stream.scoring.origin import check_origin
from mira_stream.scoring.probe import probe
from mira_stream.testing.engine import GARBAGE, ScriptedEngine, in_turn, outputs_of
from tests.unit.scoring_project import make_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path)


@pytest.fixture
async def engine() -> ScriptedEngine:
    one = ScriptedEngine()
    await one.start()
    return one


@pytest.mark.parametrize("family", ["text", "qa", "agent"])
async def test_a_fitting_student_passes_unconstrained(tmp_path: Path, engine: ScriptedEngine, family: str) -> None:
    project = make_project(tmp_path)
    toml = tmp_path / "mira.toml"
    toml.write_text(toml.read_text().replace('family = "text"', f'family = "{family}"'))
    await probe(project, "text", engine)
    (request,) = engine.requests
    assert (request.regex, request.temperature) == (None, 0.0)


@pytest.mark.parametrize("name", GARBAGE)
async def test_a_student_that_answers_something_else_fails(project: Project, engine: ScriptedEngine, name: str) -> None:
    engine.answer = in_turn(GARBAGE[name])
    with pytest.raises(CheckFailed, match="probe_failed"):
        await probe(project, "text", engine)


@pytest.mark.parametrize(
    ("trained", "code"), [({"group": "qa"}, "student_group"), ({"rubric": "abc"}, "student_rubric")]
)
async def test_a_student_of_another_group_or_rubric_is_refused(
    project: Project, engine: ScriptedEngine, trained: dict[str, str], code: str
) -> None:
    folder = project.student_path("text")
    folder.mkdir(parents=True)
    (folder / "config.json").write_bytes(orjson.dumps({"mira": trained}))
    with pytest.raises(ConfigError, match=code):
        await probe(project, "text", engine)
    assert engine.requests == []


def trained(project: Project) -> dict[str, str]:
    """What the folder of the group's own student says."""
    rubric = load_rubric(project.rubric_path("text"))
    prompt = load_prompt(project.prompts_path("text"), rubric).files_sha256
    return {"group": "text", "rubric": rubric.version, "prompt": prompt}


def write_config(project: Project, config: object) -> None:
    folder = project.student_path("text")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_bytes(orjson.dumps(config))


async def test_a_student_of_this_group_rubric_and_prompt_is_taken(project: Project, engine: ScriptedEngine) -> None:
    write_config(project, {"mira": trained(project)})
    await probe(project, "text", engine)


async def test_a_student_of_a_prompt_that_was_edited_since_is_refused(project: Project, engine: ScriptedEngine) -> None:
    write_config(project, {"mira": trained(project)})
    user = project.prompts_path("text") / "user.txt"
    user.write_text("Please. " + user.read_text())
    with pytest.raises(ConfigError, match="student_prompt"):
        await probe(project, "text", engine)
    assert engine.requests == []


@pytest.mark.parametrize("said", [None, {}, {"group": "text"}, {"rubric": "its own"}, "text"])
async def test_a_student_that_does_not_say_whose_it_is_needs_somebody_who_does(
    tmp_path: Path, engine: ScriptedEngine, said: object
) -> None:
    """It may be of any group: its fifteen lines come all the same."""
    project = make_project(tmp_path)
    if isinstance(said, dict) and "rubric" in said:
        said = {"rubric": trained(project)["rubric"]}
    write_config(project, {"model_type": "qwen3"} if said is None else {"mira": said})
    with pytest.raises(ConfigError, match=r"student_untagged.*foreign = true in \[groups.text\]"):
        await probe(project, "text", engine)
    assert engine.requests == []
    await probe(make_project(tmp_path, "foreign = true"), "text", engine)


@pytest.mark.parametrize(("said", "code"), [({"group": "qa"}, "student_group"), ({"rubric": "abc"}, "student_rubric")])
async def test_whoever_vouches_is_not_believed_against_the_folder(
    tmp_path: Path, engine: ScriptedEngine, said: dict[str, str], code: str
) -> None:
    project = make_project(tmp_path, "foreign = true")
    write_config(project, {"mira": said})
    with pytest.raises(ConfigError, match=code):
        await probe(project, "text", engine)


REASONED = write(
    Reply([7] * 15, 70, "keep", "code", "Counts words.", [f"seen in line {n}" for n in range(1, 16)]),
    "scores_first",
    "rationale",
    [""] * 15,
)


async def test_a_student_that_justifies_its_scores_may_be_asked_for_them(
    tmp_path: Path, engine: ScriptedEngine
) -> None:
    project = make_project(tmp_path, 'mode = "rationale"')
    engine.answer = in_turn(REASONED)
    await probe(project, "text", engine)


async def test_a_student_without_justifications_is_not_made_to_babble(tmp_path: Path, engine: ScriptedEngine) -> None:
    project = make_project(tmp_path, 'mode = "rationale"')
    with pytest.raises(CheckFailed, match="justifications_missing"):
        await probe(project, "text", engine)  # it says the score block, and stops


@pytest.mark.parametrize("group", ["text", "qa", "agent"])
def test_the_demo_students_are_refused_in_mode_rationale_before_an_engine_starts(group: str) -> None:
    project = load_project(Path(mira_stream.demo.__file__).parent / "project", environment={})
    rubric = load_rubric(project.rubric_path(group))

    def check(mode: Mode) -> None:
        groups = {**project.settings.groups, group: replace(project.settings.groups[group], mode=mode)}
        check_origin(Project(project.root, replace(project.settings, groups=groups)), group, rubric)

    check("scores")
    check("expected")
    with pytest.raises(ConfigError, match=r"student_mode.*taught mode scores"):
        check("rationale")


async def test_mode_expected_needs_an_endpoint_with_log_probabilities(tmp_path: Path, engine: ScriptedEngine) -> None:
    project = make_project(tmp_path, 'mode = "expected"')
    await probe(project, "text", engine)
    generate = engine.generate

    async def bare(request: Request) -> Completion:
        return (await generate(request))._replace(logprobs=())

    engine.generate = bare  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match="logprobs_missing"):
        await probe(project, "text", engine)


async def test_prompt_document_and_reply_must_fit_together(tmp_path: Path, engine: ScriptedEngine) -> None:
    project = make_project(tmp_path)
    user = tmp_path / "prompts" / "text" / "user.txt"
    user.write_text("word " * 3900 + user.read_text())
    with pytest.raises(ConfigError, match="context_too_small"):
        await probe(project, "text", engine)


async def test_a_context_the_engine_refuses_is_named(project: Project, engine: ScriptedEngine) -> None:
    engine.context_tokens_max = 100
    with pytest.raises(ConfigError, match="context_too_small"):
        await probe(project, "text", engine)


async def test_an_engine_that_fails_is_a_dependency(project: Project, engine: ScriptedEngine) -> None:
    engine.answer = in_turn(EngineError("503", retriable=True))
    with pytest.raises(DependencyError, match="engine_down"):
        await probe(project, "text", engine)


def head_at(project: Project, **more: object) -> None:
    """The config.json of a head of the group text."""
    folder = project.head_path("text")
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["Qwen3ForSequenceClassification"],
        "id2label": {str(number): f"LABEL_{number}" for number in range(16)},
        "mira": {**trained(project), "mode": "head"},
    }
    (folder / "config.json").write_bytes(orjson.dumps(config | more))


async def test_a_head_is_known_by_what_it_gave_when_it_was_trained(tmp_path: Path, engine: ScriptedEngine) -> None:
    project = make_project(tmp_path, 'mode = "head"')
    await probe(project, "text", engine)
    (request,) = engine.requests
    prompt_tokens = sum(len(engine.tokenize(message["content"])) for message in request.messages)
    outputs = outputs_of(request.messages[-1]["content"])
    known = {"prompt_tokens": prompt_tokens, "outputs": [value + 0.4 for value in outputs]}
    head_at(project, mira={**trained(project), "mode": "head", "known": known})
    await probe(project, "text", engine)
    engine.head = lambda text: (*outputs[:7], outputs[7] - 0.4, *outputs[8:])
    with pytest.raises(CheckFailed, match=r"probe_failed.*0\.80 points"):
        await probe(project, "text", engine)
    engine.head = lambda text: outputs
    shorter = {**known, "prompt_tokens": prompt_tokens - 1}
    head_at(project, mira={**trained(project), "mode": "head", "known": shorter})
    with pytest.raises(CheckFailed, match=f"probe_failed.*it had {prompt_tokens - 1}"):
        await probe(project, "text", engine)


async def test_a_head_that_gives_no_numbers_fails_the_probe(tmp_path: Path, engine: ScriptedEngine) -> None:
    project = make_project(tmp_path, 'mode = "head"')
    engine.head = lambda text: (*outputs_of(text)[:15], float("nan"))
    with pytest.raises(CheckFailed, match=r"probe_failed.*not_a_number:overall"):
        await probe(project, "text", engine)


def test_head_and_student_are_not_taken_for_one_another(tmp_path: Path) -> None:
    project = make_project(tmp_path, 'mode = "head"')
    rubric = load_rubric(project.rubric_path("text"))
    head_at(project)
    check_origin(project, "text", rubric)
    for mode in ("scores", "rationale", "expected"):
        other = make_project(tmp_path, f'mode = "{mode}"\nstudent = "students/text.head"')
        with pytest.raises(ConfigError, match=r"student_mode.*regression head"):
            check_origin(other, "text", rubric)
    head_at(project, id2label={"0": "a", "1": "b"})
    with pytest.raises(ConfigError, match=r"student_mode.*it has 2"):
        check_origin(project, "text", rubric)
    head_at(project, architectures=["Qwen3ForCausalLM"], mira={**trained(project), "mode": "scores"})
    with pytest.raises(ConfigError, match=r"student_mode.*taught mode scores"):
        check_origin(project, "text", rubric)
