"""`mira-stream dlq list | show | replay`, as they are typed, over the broker in memory."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from mira_stream.cli.main import main
from mira_stream.streaming.ports import Broker
from tests.flow.test_dlq import World


class Typed:
    """A stream with two dead letters, and what the commands say about it."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.root = root
        self._capsys = capsys
        self.world = World(root)
        asyncio.run(self.world.run())
        capsys.readouterr()  # what the services log

        def connect(*_: object) -> Broker:
            return self.world.broker

        monkeypatch.setattr("mira_stream.cli.connect.connect", connect)

    def dlq(self, *words: str) -> tuple[int, str]:
        code = main(["dlq", *words, "--project", str(self.root)])
        return code, self._capsys.readouterr().out

    def json(self, *words: str) -> tuple[int, dict[str, Any]]:
        code, said = self.dlq(*words, "--json")
        return code, orjson.loads(said)


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    return Typed(tmp_path, monkeypatch, capsys)


def test_letters_are_counted_and_shown(typed: Typed) -> None:
    code, said = typed.dlq("list")
    assert code == 0
    assert "2 dead letters" in said
    assert "stranger" in said
    assert "unknown_source" in said
    code, found = typed.json("list", "--stage", "score")
    assert (code, found["letters"], found["newest"][0]["id"]) == (0, 1, "stranger")
    code, said = typed.dlq("show", "stranger")
    assert code == 0
    assert "reason  unknown_source" in said


def test_letters_are_replayed_and_what_is_gone_is_told(typed: Typed) -> None:
    code, found = typed.json("replay", "--all", "--dry-run")
    assert (code, found["counts"]) == (1, {"gone": 1, "would_replay": 1})
    assert typed.world.replayed() == []
    code, said = typed.dlq("replay", "stranger")
    assert (code, said) == (0, "1 replayed\n")
    assert len(typed.world.replayed()) == 1
    code, found = typed.json("replay", "--source", "later")
    assert (code, found["counts"]) == (0, {"replayed_before": 1})
    assert typed.dlq("replay")[0] == 2


def test_of_what_stops_a_stage_only_a_part_is_replayed_at_a_time(
    typed: Typed, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two strangers more: half of two in a row is one."""
    mira = typed.root / "mira.toml"
    mira.write_text(mira.read_text().replace("[limits]", "[limits]\ndead_letters_in_a_row = 2"))
    letters = typed.world.pipeline.project.topic("dead-letters")
    (stranger,) = [one for one in typed.world.broker.records(letters) if b'"stranger"' in (one.value or b"")]
    for _ in range(2):
        typed.world.broker.append(letters, b"stranger", stranger.value or b"", 0)
    code, found = typed.json("replay", "stranger", "--dry-run")
    assert (code, found["counts"]) == (0, {"left": 2, "would_replay": 1})
    code, said = typed.dlq("replay", "stranger")
    assert (code, said.splitlines()[0]) == (0, "2 left, 1 replayed")
    assert "run it again" in said
    assert len(typed.world.replayed()) == 1
    assert main(["dlq", "replay", "stranger", "--dry-run", "--most", "5", "--project", str(typed.root)]) == 0
    done = capsys.readouterr()
    assert done.out == "1 replayed before, 2 would replay\n"
    assert "warning: up to 3 at once died of what stops a stage at 2 in a row" in done.err
    assert main(["dlq", "replay", "--source", "notes", "--most", "5", "--project", str(typed.root)]) == 1
    assert "warning" not in capsys.readouterr().err
