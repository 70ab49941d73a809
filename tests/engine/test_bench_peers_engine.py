"""The sides of the comparison with peers that have an engine of their own, in small: that they answer all and count the
tokens of it, also of one that is killed."""

from pathlib import Path

import pytest

from bench.command import DEMO_PROJECT
from bench.peering.judged import Work
from bench.peering.judging import SIDES, Judging
from bench.peering.serving import Server
from bench.peers import asked, heldout
from mira_stream.config import load_project
from mira_stream.vllm_engine.starter import ENVIRONMENT, engine_arguments

pytestmark = [pytest.mark.engine, pytest.mark.broker, pytest.mark.timeout(6000)]
ROOT = Path(__file__).parents[2]
DOCUMENTS = 8
LIMIT_S = 2400.0
"""For a program that never ends; one that starts an engine beside much else takes many minutes."""


async def test_sides_with_an_engine_of_their_own(kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**ENVIRONMENT, "PYTHONPATH": str(ROOT)}.items():
        monkeypatch.setenv(name, value)
    project, nobody = load_project(DEMO_PROJECT, environment={}), Server("http://127.0.0.1:9/v1", "nobody")
    arguments = engine_arguments(project.student_path("text"), project.settings.groups["text"])
    arguments = {**arguments, "max_num_seqs": 2}  # one after the other: a half that is not the end
    found = heldout(project, "text", DOCUMENTS)
    bodies = asked(project, "text", found, nobody)
    work = Work(DEMO_PROJECT, "text", found, bodies, arguments, 8, kafka, nobody, tmp_path / "judge", LIMIT_S)
    judging, sides = Judging(work, tmp_path / "environments"), {side.name: side for side in SIDES}
    offline, stream = sides["LLM.generate"], sides["mira-stream"]
    turns = [await judging.speed(side) for side in (offline, stream)]
    for turn in turns:
        assert turn.seconds > 0
        assert turn.peak_mib > 100
        assert turn.tokens is not None
        assert turn.tokens >= DOCUMENTS * 15
    both = [turn.tokens or 0 for turn in turns]  # in another batch a near tie may fall the other way: 9 for 10
    assert max(both) - min(both) <= DOCUMENTS, "the same documents, student and seeds"
    killed = await judging.kill(offline, turns[0].tokens)
    assert killed[1:] == (0, 0, 0, 0)
    assert killed.ratio is not None
    assert 1.4 < killed.ratio <= 2.0, "it keeps nothing"
