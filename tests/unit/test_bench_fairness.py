"""What several sides or sources are given alike: documents from all, and an end; and what is said of where it was
measured."""

from argparse import Namespace
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from bench import modes, peers
from bench.command.last_line import last_line
from bench.peers import distinct, heldout
from mira_stream.benching.sources import in_turn
from mira_stream.cli import bench
from mira_stream.messages import Document

HELD = {"few": 10, "many": 10_000}
PROJECT: Any = SimpleNamespace(settings=SimpleNamespace(sources_of=lambda group: [*HELD]))


def documents(source: str, count: int) -> list[Document]:
    return [Document(id=f"{source}-{at}", source=source, text="t") for at in range(min(count, HELD[source]))]


def test_sources_are_taken_in_turn_until_the_last_has_ended() -> None:
    assert "".join(in_turn(["abc", "", "d", "ef"])) == "adebfc"


def test_a_small_source_leaves_its_share_to_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "_documents", lambda project, name: iter(documents(name, 10_000)))
    found = bench.given_documents(PROJECT, ["text"], 400)
    assert len({one.document.id for one in found}) == 400
    assert [one.document.source for one in found[:4]] == ["few", "many"] * 2


def test_so_it_does_among_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "documents", lambda source, count, wanted: documents(source, count))
    assert distinct(heldout(PROJECT, "text", 400)) == 400


async def test_an_engine_is_stopped_where_the_other_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[str] = []

    class Engine:
        def __init__(self, name: str) -> None:
            self.name = name

        async def start(self) -> None:
            if self.name == "head":
                raise RuntimeError("no head")

        async def stop(self) -> None:
            stopped.append(self.name)

    monkeypatch.setattr(modes, "engines", lambda *given: (Engine("student"), Engine("head")))
    with pytest.raises(RuntimeError, match="no head"):
        await modes.run(Namespace(project=None, groups=["text"]), lambda line: None)
    assert stopped == ["head", "student"]


def test_the_last_line_says_when_and_where(capsys: pytest.CaptureFixture[str]) -> None:
    last_line({"rate": 1.5})
    found = orjson.loads(capsys.readouterr().out)
    assert list(found) == ["rate", "taken_at", "machine", "versions"]
    assert found["machine"]["cores"] > 0
    assert found["versions"]["python"]
