"""Repair episodes: what they record is what running the same code gives."""

import ast
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from statistics import median, quantiles

import msgspec
import pytest

from mira_stream.chance import is_heldout
from mira_stream.demo.corpus_agent import SOURCES, Episode, Outcome, documents, episodes, outcomes, write_outcomes
from mira_stream.demo.episodes.bank import TASKS
from mira_stream.demo.episodes.mutate import Mutant, mutants
from mira_stream.demo.episodes.sandbox import evaluate, read_test, write_test
from mira_stream.demo.episodes.task import Task
from mira_stream.demo.episodes.workspace import Workspace
from mira_stream.errors import UsageError
from mira_stream.messages import Message
from mira_stream.render import render

COUNT = 200
CHARACTERS_PER_TOKEN = 3.2


@pytest.fixture(scope="module", params=sorted(SOURCES))
def played(request: pytest.FixtureRequest) -> list[Episode]:
    return list(episodes(request.param, COUNT))


def turns(episode: Episode) -> list[Message]:
    assert episode.document.messages is not None
    return episode.document.messages


def origin(episode: Episode) -> tuple[Task, Mutant]:
    """The task and the fault that an id names."""
    _, function, mutation, _ = episode.document.id.split("/")
    task = next(task for task in TASKS if task.name == function)
    return task, next(mutant for mutant in mutants(task) if mutant.name == mutation)


def replay(episode: Episode) -> tuple[Workspace, list[tuple[str, str]]]:
    """Make all recorded calls again in a fresh workspace; it, and (recorded, answered now) of each."""
    task, mutant = origin(episode)
    space = Workspace(task, mutant.code, [write_test(task.code, call) for call in task.visible])
    pairs = []
    messages = turns(episode)
    for turn, message in enumerate(messages):
        for call in message.tool_calls:
            recorded = messages[turn + 1]
            assert (recorded.role, recorded.name) == ("tool", call.name)
            pairs.append((recorded.content or "", space.call(call.name, call.arguments)))
    return space, pairs


def plain_run(code: str, call: str) -> tuple[bool, object]:
    """The call in plain Python, nothing of ours: (returned, value or the error's class)."""
    space: dict[str, object] = {"print": lambda *values: None}
    try:
        exec(code, space)
        return True, eval(call, space)
    except Exception as error:
        return False, type(error).__name__


def holds(code: str, test: str) -> bool:
    """Whether a line of a test file holds, found by plain Python."""
    call, expected, raises = read_test(test)
    returned, value = plain_run(code, call)
    if raises:
        return not returned and value == expected
    return returned and value == ast.literal_eval(expected)


def test_replayed_calls_answer_what_was_recorded(played: list[Episode]) -> None:
    for episode in played:
        _, pairs = replay(episode)
        assert [now for _, now in pairs] == [recorded for recorded, _ in pairs], episode.document.id


def test_last_run_of_tests_is_what_plain_python_finds(played: list[Episode]) -> None:
    tried = 0
    for episode in played:
        last_call = [call for message in turns(episode) for call in message.tool_calls][-1:]
        if [call.name for call in last_call] != ["run_tests"]:
            continue
        space, pairs = replay(episode)
        if "Stopped" in pairs[-1][0]:
            continue
        tests = space.files[space.tests_path].splitlines()
        passed = sum(holds(space.code, test) for test in tests)
        assert f"{passed} passed" in pairs[-1][0].splitlines()[-1], episode.document.id
        tried += 1
    assert tried > COUNT // 4


def test_outcomes_are_what_plain_python_finds(played: list[Episode]) -> None:
    for episode in played:
        task, _ = origin(episode)
        space, _ = replay(episode)
        if any(not ended(space.code, call) for call in (*task.visible, *task.hidden)):
            continue
        for calls, (passed, count) in ((task.visible, episode.outcome.visible), (task.hidden, episode.outcome.hidden)):
            assert count == len(calls)
            assert passed == sum(holds(space.code, write_test(task.code, call)) for call in calls)


def json_error(text: str) -> str | None:
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return str(error)
    return None


def ended(code: str, call: str) -> bool:
    """Whether the sandbox saw the call end within its limits (plain Python must not be asked otherwise)."""
    return not evaluate(code, call).shown.startswith("Stopped")


def test_the_first_are_the_same_whatever_the_count(played: list[Episode]) -> None:
    source = played[0].document.source
    assert list(documents(source, 20)) == [episode.document for episode in played[:20]]
    assert list(outcomes(source, 20)) == [episode.outcome for episode in played[:20]]
    assert list(documents(source, 20, seed=1)) != list(documents(source, 20))


def test_ids_and_contents_are_distinct(played: list[Episode]) -> None:
    assert len({episode.document.id for episode in played}) == COUNT
    assert len({msgspec.json.encode(episode.document.messages) for episode in played}) == COUNT
    assert all(episode.document.id == episode.outcome.id for episode in played)
    assert all(episode.document.id.startswith(episode.document.source + "/") for episode in played)


def test_no_planted_label_is_in_a_document(played: list[Episode]) -> None:
    for episode in played:
        text = msgspec.json.encode(episode.document).decode()
        labels = {label for label in (*episode.outcome.deeds, episode.outcome.repair) if "_" in label}
        assert not [label for label in labels if label in text]
        assert "hidden test" not in text
        assert episode.document.meta == {}


def test_both_agents_do_well_and_badly(played: list[Episode]) -> None:
    deeds = Counter(deed for episode in played for deed in episode.outcome.deeds)
    vices = "invalid_json failed_call repeated_failing_call sprawling_edit fitted_to_tests weakened_tests false_claim"
    virtues = "ran_tests verified read_before_edit probed"
    for deed in f"{vices} {virtues} edited_blind empty_thought wrong_attempt gave_up claimed_unverified".split():
        assert 0 < deeds[deed] < COUNT, deed
    unsolved = [episode.outcome for episode in played if not episode.outcome.solved]
    assert any(outcome.visible[0] == outcome.visible[1] for outcome in unsolved), "a fix that only hidden tests catch"
    assert COUNT // 5 < len(unsolved) < 4 * COUNT // 5 or played[0].document.source == "agent_careful"


def test_careful_solves_more_than_hasty() -> None:
    solved = {source: sum(outcome.solved for outcome in outcomes(source, COUNT)) for source in SOURCES}
    assert solved["agent_careful"] > 1.2 * solved["agent_hasty"]


def test_invalid_json_is_answered_by_the_parser(played: list[Episode]) -> None:
    found = 0
    for episode in played:
        messages = turns(episode)
        for turn, message in enumerate(messages):
            for call in message.tool_calls:
                answer = messages[turn + 1].content or ""
                said = json_error(call.arguments)
                found += said is not None
                assert answer.startswith("error: arguments are no JSON") == (said is not None)
                assert said is None or answer.endswith(said)
    assert found > 0


def test_views_are_compact(played: list[Episode]) -> None:
    tokens = [len(render(episode.document, "agent")) / CHARACTERS_PER_TOKEN for episode in played]
    tenths = quantiles(tokens, n=10)
    assert 200 < tenths[0] < tenths[-1] < 1500
    assert 400 < median(tokens) < 900


def test_no_address_or_path_of_the_machine(played: list[Episode]) -> None:
    for episode in played:
        text = render(episode.document, "agent")
        assert not [mark for mark in (" at 0x", "site-packages", 'File "') if mark in text]


def test_same_bytes_under_any_hash_seed() -> None:
    program = (
        "import sys; from hashlib import sha256; from mira_stream.demo.corpus_agent import documents, SOURCES;"
        "from mira_stream.messages import encode;"
        "print(sha256(b''.join(encode(d) for s in SOURCES for d in documents(s, 40))).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1
    assert len(digests.pop().strip()) == 64


def test_outcomes_are_written_apart_for_the_wanted_documents(tmp_path: Path) -> None:
    path = write_outcomes(tmp_path / "outcomes", "agent_hasty", 8, is_heldout)
    written = [msgspec.json.decode(line, type=Outcome) for line in path.read_bytes().splitlines()]
    assert written == [found for found in outcomes("agent_hasty", 200) if is_heldout(found.id)][:8]
    assert [file.name for file in path.parent.iterdir()] == ["agent_hasty.jsonl"]


def test_unknown_source_is_refused() -> None:
    with pytest.raises(UsageError, match="agent_hasty"):
        next(episodes("agent_lazy", 1))


def test_bank_is_wide_and_its_code_runs_in_plain_python() -> None:
    assert 40 <= len(TASKS) == len({task.name for task in TASKS})
    for task in TASKS:
        assert len(task.visible) >= 4
        assert len(task.hidden) >= 3
        assert not set(task.visible) & set(task.hidden), task.name
        for call in (*task.visible, *task.hidden):
            returned, value = plain_run(task.code, call)
            assert returned or value == "ValueError", (task.name, call)
