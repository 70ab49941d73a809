"""One document's story, and the two commands over a broker in memory."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson
import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

from mira_stream.audit.story import Story, story
from mira_stream.audit.trail import find_trails
from mira_stream.cli.audit import export_folder
from mira_stream.cli.explain import printable
from mira_stream.cli.main import app, main
from mira_stream.config import load_project
from mira_stream.errors import UsageError
from mira_stream.messages import SLOTS, DeadLetter, encode
from mira_stream.scoring.lineage import lineage
from tests.flow.selecting_world import DOCUMENTS, MIRA_TOML, World
from tests.unit.selecting_cards import card, mask

REPLY = "".join(f"[{slot}] 7/10\n" for slot in SLOTS) + "overall: 70\ntraining_recommendation: keep\n"


def write_project(root: Path) -> None:
    root.mkdir(exist_ok=True)
    (root / "mira.toml").write_text(MIRA_TOML.replace('family = "text"', 'family = "text"\nengine = "openai"'))
    (root / "rubrics").mkdir()
    header = {"schema": "rubric.v1", "group": "text", "teacher": "featurejudge", "created_by": "test"}
    examples = [{"score": 7.0, "reason": "says something"}]
    anchors = [
        {"schema": "anchor.v1", "slot": slot, "name": f"Virtue {slot}", "description": "d", "examples": examples}
        for slot in SLOTS
    ]
    (root / "rubrics" / "text.jsonl").write_bytes(b"\n".join(orjson.dumps(line) for line in [header, *anchors]))
    (root / "prompts" / "text").mkdir(parents=True)
    (root / "prompts" / "text" / "system.txt").write_text("Judge.\n${calibration}")
    (root / "prompts" / "text" / "user.txt").write_text("${dimensions}\n---\n${document}")


@pytest.fixture
async def world(tmp_path: Path) -> World:
    root = tmp_path / "project"
    write_project(root)
    toml = (root / "mira.toml").read_text()
    world = await World.create(root)
    (root / "mira.toml").write_text(toml)
    world.project = load_project(root, {})
    now = lineage(world.project, "text")
    world.publish(mask(lineage=now, dimensions=SLOTS[:10]))
    scores: list[float | None] = [7.0, None, *[6.0] * 13]
    for number in range(12):
        origin = world.document(f"doc-{number}")
        world.score(card(number, scores, lineage=now, origin=origin, reply=REPLY))
    world.score(card(90, [None] * 15, lineage=now, id="mute", origin=world.document("mute"), reply="no idea"))
    world.document("fresh")
    await world.aggregate()
    return world


async def told(world: World, document_id: str) -> Story:
    (trail,) = await find_trails(await world.broker.reader(), world.project, document_id)
    return story(world.project, trail)


async def test_a_decided_document_has_all_its_chapters(world: World) -> None:
    found = await told(world, "doc-11")
    assert (found.ended, found.source, found.group, found.head) == ("decision", "books", "text", "text of doc-11")
    assert found.view == "text of doc-11"
    assert found.meta == {"n": "doc-11"}
    assert found.prompt is not None
    assert [message["role"] for message in found.prompt] == ["system", "user"]
    assert found.prompt[1]["content"].endswith("---\ntext of doc-11")
    assert found.card is not None
    assert found.card.reply == REPLY
    assert [d.slot for d in found.dimensions if d.used] == ["A1", *SLOTS[2:10]]
    assert found.dimensions[0] == type(found.dimensions[0])(
        slot="A1", name="Virtue A1", score=7.0, used=True, mean=6.0, difference=1.0
    )
    assert found.decision is not None
    assert found.epoch is not None
    assert (found.quality, found.epoch.epoch, found.epoch.cause) == (found.decision.quality, 2, "count")
    assert found.mask is not None
    assert found.mask.mask == found.decision.mask
    assert found.notes == []


async def test_a_dead_letter_of_the_aggregator_shows_the_card_that_was_refused(world: World) -> None:
    found = await told(world, "mute")
    assert (found.ended, found.quality, found.decision) == ("dead_letter", None, None)
    assert found.dead_letter is not None
    assert found.dead_letter.reason == "no_reliable_score"
    assert found.card is not None
    assert found.card.reply == "no idea"


async def test_a_document_without_outcome_is_found_too(world: World) -> None:
    found = await told(world, "fresh")
    assert (found.ended, found.card, found.head) == ("not_yet", None, "text of fresh")


async def test_a_dead_letter_without_origin_is_found_by_its_id(world: World) -> None:
    letter = DeadLetter(stage="produce", reason="too_large", error="20 MB", id="giant", source="books")
    world.broker.append("mira.dead-letters", b"giant", encode(letter))
    found = await told(world, "giant")
    assert (found.ended, found.source, found.head) == ("dead_letter", "books", None)


async def test_an_unreadable_document_shows_its_first_bytes(world: World) -> None:
    world.broker.append(DOCUMENTS, b"broken", b'{"schema": \xff')
    found = await told(world, "broken")
    assert found.head == '{"schema": �'
    assert found.view is None


async def test_two_documents_of_one_id_are_two_stories(world: World) -> None:
    world.document("twin")
    world.document("twin")
    trails = await find_trails(await world.broker.reader(), world.project, "twin")
    assert len({(t.origin.partition, t.origin.offset) for t in trails if t.origin}) == 2


async def test_a_project_that_has_changed_since_says_so(world: World) -> None:
    (world.project.root / "prompts" / "text" / "system.txt").write_text("Judge otherwise.")
    assert any("the project is now at" in note for note in (await told(world, "doc-1")).notes)


async def test_without_the_projects_files_the_rest_is_still_told(world: World) -> None:
    (world.project.root / "rubrics" / "text.jsonl").unlink()
    found = await told(world, "doc-1")
    assert found.prompt is None
    assert found.decision is not None
    assert found.dimensions[0].name is None
    assert "no view and prompt" in found.notes[0]


def test_a_documents_text_cannot_steer_the_terminal() -> None:
    assert printable("a\x1b[31mb\x07\r\n\tc\u202e") == "a�[31mb��\n\tc�"


@pytest.fixture
def commands(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr("mira_stream.cli.connect.connect", lambda project, servers: world.broker)
    return world


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    return result.exit_code, result.stdout


def test_explain_prints_the_story(commands: World) -> None:
    code, output = run("explain", "doc-11", "--project", str(commands.project.root))
    assert code == 0
    for chapter in ("── content ──", "── prompt: system ──", "[A1] 7/10", "Virtue A1", "masked", "epoch 2 of books"):
        assert chapter in output


def test_explain_json_is_one_object(commands: World) -> None:
    code, output = run("explain", "doc-11", "--json", "--project", str(commands.project.root))
    found = orjson.loads(output)
    assert code == 0
    assert found["documents"][0]["decision"]["schema"] == "decision.v1"


def test_explain_of_an_unknown_id_is_a_usage_error(commands: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "nobody", "--project", str(commands.project.root)]) == 2
    assert "document_unknown" in capsys.readouterr().err


async def exported(world: World) -> Path:
    await world.commit_scorer()
    out = world.project.root
    await world.export(out)
    return out


def audited(world: World, *arguments: str) -> tuple[int, str]:
    return run("audit", "--project", str(world.project.root), *arguments)


async def test_audit_of_a_stream_that_lost_a_document_exits_1(commands: World) -> None:
    await exported(commands)
    code, output = _beside_the_loop(audited, commands, "--json")
    found = orjson.loads(output)
    assert (code, found["ok"], found["lost"]) == (1, False, 1)
    assert found["findings"][0]["code"] == "lost"
    code, output = _beside_the_loop(audited, commands)
    assert code == 1
    assert re.search(r"audit: 14 documents = 12 decisions \+ 1 dead letters; 1 lost, 0 doubled; 2 epochs", output)


async def test_audit_of_a_clean_stream_exits_0(commands: World) -> None:
    now = lineage(commands.project, "text")
    (fresh,) = [record for record in commands.broker.records(DOCUMENTS) if record.key == b"fresh"]
    origin = replace(card(0).origin, partition=fresh.partition, offset=fresh.offset)
    commands.score(card(0, id="fresh", lineage=now, origin=origin))
    await commands.aggregate()
    await exported(commands)
    code, output = _beside_the_loop(audited, commands, "--json")
    found = orjson.loads(output)
    assert (code, found["ok"]) == (0, True)
    assert found["line"].endswith("all equal")


def _beside_the_loop(work: Callable[..., tuple[int, str]], *arguments: object) -> tuple[int, str]:
    """Commands start a loop of their own: run them in a thread."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work, *arguments).result()


def test_the_export_folder_is_found_beside_or_above_the_project(tmp_path: Path) -> None:
    write_project(tmp_path / "project")
    project = load_project(tmp_path / "project", {})
    assert export_folder(project, None) is None
    (tmp_path / "scores").mkdir()
    assert export_folder(project, None) == tmp_path
    (tmp_path / "project" / "scores").mkdir()
    assert export_folder(project, None) == project.root
    with pytest.raises(UsageError):
        export_folder(project, tmp_path / "nowhere")
