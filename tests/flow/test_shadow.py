"""A changed project beside the live stream: the same documents, other topics, and no haste."""

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from consumers.shadow import shadow
from mira_stream.audit.compare import Side, compare
from mira_stream.cli.main import main
from mira_stream.config import Project
from mira_stream.messages import Decision, Document, Mask, Policy, decoder, encode
from mira_stream.parquet import read_columns
from mira_stream.scorecard import Reply, write
from mira_stream.scoring.engine import Request
from mira_stream.scoring.lineage import lineage
from mira_stream.selecting.changing import change
from mira_stream.selecting.following import PolicyFollower
from mira_stream.selecting.policies import PolicyLog, Rules
from mira_stream.selecting.publish import commit_policy, publish
from mira_stream.selecting.wanted import rubric_under
from mira_stream.streaming.metrics import Metrics
from mira_stream.testing.broker import MemoryBroker
from mira_stream.testing.engine import ScriptedEngine, scores_of
from tests.flow.pipeline import Pipeline, make_project, question_row, text_row, write_rows

COUNT = 60
"""More than a shadow lets wait: twice the 16 documents that the project has in flight."""


def backwards(request: Request) -> str:
    """Another student: what it scores high, the live one scores low."""
    text = request.messages[-1]["content"]
    if "number 7 " in text:
        return "I would rather not say."
    scores = [11 - score for score in scores_of(text)]
    return write(Reply(scores, 50, "downsample"), "scores_first", "scores", [""] * 15)


async def streaming(root: Path) -> tuple[Pipeline, MemoryBroker]:
    write_rows(root / "notes.jsonl", [text_row(number) for number in range(COUNT)])
    write_rows(root / "questions.jsonl", [question_row(number) for number in range(COUNT)])
    broker = MemoryBroker()
    pipeline = Pipeline(make_project(root), broker, root / "out")
    await pipeline.prepare()
    await pipeline.produce()
    return pipeline, broker


async def test_a_shadow_waits_for_the_live_scorer_and_then_decides_on_every_document(tmp_path: Path) -> None:
    pipeline, broker = await streaming(tmp_path)
    seen: list[ScriptedEngine] = []
    tried = replace(pipeline.project, shadow="bolder")
    stop = asyncio.Event()

    def engine(*_: object) -> ScriptedEngine:
        seen.append(ScriptedEngine(backwards))
        return seen[-1]

    metrics = Metrics()

    def gauge(group: str) -> float:
        return float(metrics.stands_back.labels(group)._value.get())

    def serves(group: str) -> bool:
        return metrics.registry.get_sample_value("mira_engine_up", {"group": group}) == 1

    running = asyncio.ensure_future(shadow(tried, broker, ["qa", "text"], metrics, stop, engine_for=engine))
    pipeline.tasks["shadow"] = running
    await pipeline.until(lambda: all(serves(group) for group in ("qa", "text")))
    probes = sum(len(one.requests) for one in seen)
    await pipeline.until(lambda: [gauge(group) for group in ("qa", "text")] == [1, 1])
    for group in ("qa", "text"):
        await broker.settled(tried.consumer_group(f"scorer.{group}"))
    for _ in range(2_000):
        await asyncio.sleep(0)
    assert sum(len(one.requests) for one in seen) == probes, (
        "it fetches nothing while all documents wait for the live one"
    )
    await ask(pipeline, "source:notes", Policy(retention=0.1, floors={"A3": 6.0}))  # the shadow has not heard of it
    pipeline.start("score")
    pipeline.start("aggregate")
    await pipeline.until(lambda: pipeline.count("decisions") == 2 * COUNT)
    await ask(pipeline, "source:questions", Policy(retention=0.9))  # after all decisions: nothing was asked by it
    decisions = tried.topic("decisions")
    await pipeline.until(lambda: len(broker.records(decisions)) == 2 * COUNT - 1)
    await pipeline.until(lambda: [gauge(group) for group in ("qa", "text")] == [0, 0])
    live = {decision.origin: decision for decision in pipeline.decisions()}
    made = [decoder(Decision).decode(record.value or b"") for record in broker.records(decisions)]
    await pipeline.kill("score")
    del pipeline.tasks["score"]
    for number in range(COUNT):
        document = Document(id=f"more-{number}", source="notes", text="There is more.")
        broker.append(tried.documents_topic("text"), None, encode(document))
    await pipeline.until(lambda: [gauge(group) for group in ("qa", "text")] == [0, 1])
    stop.set()
    await pipeline.shut_down()
    buried = {origin for origin in live if origin not in {decision.origin for decision in made}}
    assert [live[origin].id for origin in buried] == ["note-7"], "unreadable to the tried student alone"
    assert (len(made), len(live)) == (2 * COUNT - 1, 2 * COUNT), "the live stream is none the wiser"

    sides = [
        Side(one.topic("decisions"), one.topic("dead-letters"), one.topic("policy"))
        for one in (pipeline.project, tried)
    ]
    found = (await compare(await broker.reader(), sides[0], sides[1], 10_000)).sources()
    assert [one.asked for one in found] == [["target 0.1 -> 0.4", "floors A3>=6 -> none"], []]
    same = (await compare(await broker.reader(), sides[0], sides[0], 10_000)).sources()
    assert [(one.overlap, one.overlap_ranked, one.asked) for one in same] == [(1.0, 1.0, [])] * 2
    assert [one.source for one in found] == ["notes", "questions"]
    for one in found:
        pairs = [(live[other.origin], other) for other in made if other.source == one.source]
        assert one.both.documents == len(pairs) == COUNT - one.tried_dead
        assert (one.live_dead, one.tried_dead) == (0, 1 if one.source == "notes" else 0)
        assert one.live == (sum(a.selected for a, _ in pairs), sum(a.tokens for a, _ in pairs if a.selected))
        anew = [a.tokens for a, b in pairs if b.selected and not a.selected]
        assert one.kept_anew == (len(anew), sum(anew))
        assert one.rho is not None
        assert one.rho < -0.5
        assert one.overlap is not None
        assert one.overlap < (one.overlap_by_chance or 0), "the other student keeps what this one drops"
        assert one.overlap_ranked is not None
        assert one.overlap_ranked < (one.overlap_by_chance or 0)
        widest = max(abs(a.quality - b.quality) for a, b in pairs if a.selected != b.selected)
        assert abs(one.flips[0].live.quality - one.flips[0].tried.quality) == widest


async def ask(pipeline: Pipeline, key: str, asked: Policy) -> None:
    """As `policy set` does, of the live stream."""

    def decide(log: PolicyLog) -> list[tuple[str, Policy | Mask]]:
        return change(log, key, asked, "group", lambda mask: None, (), rubric_under(pipeline.project)).records

    await commit_policy(pipeline.broker, pipeline.project, decide)


async def rules_of(broker: MemoryBroker, project: Project) -> dict[str, Rules]:
    """What is in force for each source."""
    follower = PolicyFollower(project.topic("policy"), await broker.reader())
    await follower.start()
    found = {mask.source: follower.log.rules(mask.group, mask.source, mask.lineage) for mask in follower.log.masks()}
    return {source: rules for source, rules in found.items() if rules is not None}


def asked_of(rules: Rules) -> tuple[object, ...]:
    """All but versions, which are the log's own."""
    return rules.target, rules.unit, rules.band, rules.horizon, rules.floors, rules.scope, rules.mask


async def begun(pipeline: Pipeline, tried: Project) -> None:
    """A shadow starts, serves and ends."""
    stop, metrics = asyncio.Event(), Metrics()
    running = shadow(tried, pipeline.broker, ["text"], metrics, stop, engine_for=lambda *_: ScriptedEngine(backwards))
    pipeline.tasks["shadow"] = asyncio.ensure_future(running)
    await pipeline.until(lambda: metrics.registry.get_sample_value("mira_engine_up", {"group": "text"}) == 1)
    stop.set()
    await pipeline.tasks.pop("shadow")


async def test_a_shadow_is_asked_what_was_set_by_command_of_the_live_stream(tmp_path: Path) -> None:
    pipeline, broker = await streaming(tmp_path)
    tried = replace(pipeline.project, shadow="bolder")
    await ask(pipeline, "source:notes", Policy(retention=0.1, floors={"A3": 6.0}))
    await ask(pipeline, "group:text", Policy(floors={"A11": 2.0}, mask_remove=["A7"]))
    await begun(pipeline, tried)
    live, own = await rules_of(broker, pipeline.project), await rules_of(broker, tried)
    assert (own["notes"].target, own["notes"].floors) == (0.1, {"A3": 6.0, "A11": 2.0})
    assert {name: asked_of(rules) for name, rules in own.items()} == {
        name: asked_of(rules) for name, rules in live.items()
    }
    written = len(broker.records(tried.topic("policy")))
    await begun(pipeline, tried)
    assert len(broker.records(tried.topic("policy"))) == written, "all of it is in force already"
    await publish(broker, pipeline.project, lineage, read_columns, override=True)
    await begun(pipeline, tried)
    own = await rules_of(broker, tried)
    assert (own["notes"].target, own["notes"].floors) == (0.4, {}), "what is taken back is taken back of it, too"
    await pipeline.shut_down()


async def test_a_shadow_is_not_told_of_sources_that_its_project_lacks(tmp_path: Path) -> None:
    pipeline, broker = await streaming(tmp_path)
    settings = pipeline.project.settings
    less = replace(settings, sources={"notes": settings.sources["notes"]}, groups={"text": settings.groups["text"]})
    tried = replace(pipeline.project, shadow="fewer", settings=less)
    await ask(pipeline, "source:questions", Policy(retention=0.1))
    await ask(pipeline, "*", Policy(horizon_documents=70))
    await begun(pipeline, tried)
    own = await rules_of(broker, tried)
    assert (sorted(own), own["notes"].horizon) == (["notes"], 70)
    assert b"source:questions" not in [record.key for record in broker.records(tried.topic("policy"))]
    await pipeline.shut_down()


def test_a_comparison_needs_a_shadow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_project(tmp_path)
    assert main(["compare", "No Name", "--project", str(tmp_path)]) == 2
    assert "shadow_invalid" in capsys.readouterr().err
    assert main(["score", "--shadow", "new\n", "--project", str(tmp_path)]) == 2
    assert "shadow_invalid" in capsys.readouterr().err
    assert main(["score", "--instance", "new\n", "--project", str(tmp_path)]) == 2
    assert "instance_invalid" in capsys.readouterr().err
    assert main(["score", "--eager", "--project", str(tmp_path)]) == 2
    assert "eager_alone" in capsys.readouterr().err
    for command in (["compare", "bolder"], ["score", "--shadow", "bolder"]):
        assert main([*command, "--project", str(tmp_path)]) == 4
        err = " ".join(capsys.readouterr().err.split())
        assert "a shadow is on the live stream's Kafka" in err
        assert "broker start" not in err
