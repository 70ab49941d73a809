"""A cascade in the scorer: who is asked, what the card says of it, and that nothing uncertain stands."""

import re
from math import inf
from pathlib import Path

import pytest
from msgspec.structs import replace

from consumers.scorer import judgings
from mira_stream.cascade import InForce
from mira_stream.config import Project, load_project
from mira_stream.errors import ConfigError, EngineError
from mira_stream.messages import DIMENSIONS, SLOTS, Mark, Mask, ScoreCard, decoder
from mira_stream.quality import lens
from mira_stream.reliability.table import (
    Acceptance,
    Aggregate,
    Cell,
    ModeReliability,
    SourceReliability,
    Table,
    save_table,
)
from mira_stream.scorecard import Reply, write
from mira_stream.scoring.engine import Request, RequestRefused
from mira_stream.scoring.handler import ScoringFactory
from mira_stream.scoring.lineage import lineage
from mira_stream.sections import MaskLimits
from mira_stream.testing.engine import ScriptedEngine
from tests.unit.scoring_project import TOML, make_project, record
from tests.unit.test_scoring_handler import Counts, Stage, reader_of

CASCADE = """
mode = "cascade"
document_tokens_max = 40
[groups.text.cascade]
cheap_mode = "scores"
cheap_document_tokens_max = 5
"""
MASK = Mask(mask="m", group="text", source="s", lineage="l", dimensions=list(SLOTS), means=[0.0] * 15, trim=0.1)
KEEP, DROP = Mark(value=60.0, tie_fraction=0.5), Mark(value=50.0, tie_fraction=0.5)
KNOWN = InForce("stdlib", 7, KEEP, DROP, lens(MASK), 10.0)


class Fixed:
    """Publishes what a test says."""

    def __init__(self, known: InForce | None) -> None:
        self.known = known

    def in_force(self, source: str) -> InForce | None:
        return self.known


def answer(request: Request) -> str:
    """The last number in the view, fifteen times."""
    number = int(re.findall(r"(\d+)", request.messages[-1]["content"].split("Document:")[1])[-1])
    return write(Reply([number] * 15, 50, "downsample"), "scores_first", "scores", [""] * 15)


async def stage_of(root: Path, known: InForce | None) -> Stage:
    project = make_project(root, CASCADE)
    engine, counts = ScriptedEngine(answer), Counts()
    await engine.start()
    factory = ScoringFactory(project, "text", engine, counts, pauses_s=(), published=Fixed(known))
    return Stage(project, engine, counts, factory, factory(record(None).source, await reader_of(project)))


def text(first: int, last: int) -> dict[str, str]:
    return {"text": f"it begins with {first} and goes on for a while to {last}"}


async def test_cheap_scores_far_from_both_thresholds_stand(tmp_path: Path) -> None:
    stage = await stage_of(tmp_path, KNOWN)
    card = await stage.card(record(text(9, 1)))
    assert (card.mode, card.scores, card.view) == ("cascade", [9] * 15, "head")
    assert card.lineage == lineage(stage.project, "text")
    cheap = card.cheap
    assert cheap is not None
    assert (cheap.sent, cheap.quality, cheap.half_width, cheap.epoch_of, cheap.epoch) == ("sure", 90, 10, "stdlib", 7)
    assert (cheap.keep, cheap.drop, cheap.mode, cheap.scores) == (KEEP, DROP, "scores", [9] * 15)
    assert (card.prompt_tokens, card.generation_tokens) == (cheap.prompt_tokens, cheap.generation_tokens)
    assert len(stage.engine.requests) == 1
    assert stage.counts.sent == {"sure": 1}
    assert card.tokens > 10, "of the whole document, not of what the cheap stage saw"


async def test_near_a_threshold_the_full_stage_has_the_last_word(tmp_path: Path) -> None:
    stage = await stage_of(tmp_path, KNOWN)
    card = await stage.card(record(text(4, 1)))
    assert (card.scores, card.view) == ([1] * 15, "whole")
    assert card.cheap is not None
    assert (card.cheap.sent, card.cheap.scores, card.cheap.view) == ("near", [4] * 15, "head")
    assert card.prompt_tokens > card.cheap.prompt_tokens
    assert card.cheap.lineage != stage.factory.stages.full.lineage != card.lineage
    assert len({request.request_id for request in stage.engine.requests}) == 2


@pytest.mark.parametrize(("known", "sent"), [(None, "no_threshold"), (KNOWN._replace(half_width=inf), "uncalibrated")])
async def test_without_a_bound_every_document_goes_on(tmp_path: Path, known: InForce | None, sent: str) -> None:
    stage = await stage_of(tmp_path, known)
    card = await stage.card(record(text(9, 2)))
    assert card.scores == [2] * 15
    assert card.cheap is not None
    assert (card.cheap.sent, card.cheap.half_width) == (sent, None)


async def test_a_cheap_reply_that_cannot_be_read_is_no_verdict(tmp_path: Path) -> None:
    stage = await stage_of(tmp_path, KNOWN)
    stage.engine.answer = lambda request: "no" if "-cheap-" in request.request_id else answer(request)
    card = await stage.card(record(text(9, 3)))
    assert card.scores == [3] * 15
    assert card.cheap is not None
    assert (card.cheap.sent, card.cheap.scores) == ("unread", [None] * DIMENSIONS)


async def test_a_document_that_only_the_full_stage_cannot_judge_is_a_dead_letter(tmp_path: Path) -> None:
    stage = await stage_of(tmp_path, None)
    stage.engine.answer = lambda request: answer(request) if "-cheap-" in request.request_id else "no"
    assert (await stage.letter(record(text(9, 3)))).reason == "reply_unreadable"

    def refuse(request: Request) -> str:
        raise RequestRefused("too long")

    stage.engine.answer = refuse
    assert (await stage.letter(record(text(9, 3), 1))).reason == "engine_refused"


async def test_an_engine_that_fails_in_the_cheap_stage_fails_the_document(tmp_path: Path) -> None:
    stage = await stage_of(tmp_path, KNOWN)
    stage.engine.die()
    with pytest.raises(EngineError):
        await stage.handler.handle(record(text(9, 3)))


def test_cards_of_other_modes_have_no_word_of_it() -> None:
    card = decoder(ScoreCard).decode(
        b'{"schema":"score_card.v1","id":"a","source":"s","group":"g","origin":{"topic":"t","partition":0,"offset":0,'
        b'"timestamp_ms":0},"lineage":"l","mode":"scores","scores":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]}'
    )
    assert card.cheap is None


@pytest.mark.parametrize("change", ["loss = 0.1", 'full_mode = "rationale"', "cheap_document_tokens_max = 6"])
def test_what_makes_another_cascade_is_another_lineage(tmp_path: Path, change: str) -> None:
    before = lineage(make_project(tmp_path, CASCADE), "text")
    lines = [line for line in CASCADE.splitlines() if line.split(" = ")[0] != change.split(" = ")[0]]
    assert lineage(make_project(tmp_path, "\n".join([*lines, change, ""])), "text") != before


def test_a_cheap_view_beyond_half_the_full_one_is_refused(tmp_path: Path) -> None:
    wide = CASCADE.replace("cheap_document_tokens_max = 5", "cheap_document_tokens_max = 21")
    (tmp_path / "mira.toml").write_text(TOML.format(group=wide))
    with pytest.raises(ConfigError, match="at most half"):
        load_project(tmp_path, environment={})


def fall_back(project: Project, accepted: tuple[str, ...]) -> None:
    """A table in which the cascade is accepted for these sources alone."""
    verdict = {name: Acceptance(against="scores", n=600, accepted=name in accepted) for name in ("*", "stdlib", "docs")}
    cell = Cell(n=600, mae=0.5, rho=0.9, mae_hi=0.6, rho_lo=0.8, skill=0.5, bias=0.0, verdict="reliable")
    nothing = Aggregate(rho=None, overlap=None, gain=None)
    sources = {
        name: SourceReliability(n=600, aggregate=nothing, dimensions=dict.fromkeys(SLOTS, cell), acceptance=one)
        for name, one in verdict.items()
    }
    part = ModeReliability(lineage=lineage(project, "text"), means=[5.0] * DIMENSIONS, sources=sources)
    save_table(
        project.reliability_path("text"),
        Table(
            group="text", rubric="r", labels_sha256="", split="heldout", limits=MaskLimits(), modes={"cascade": part}
        ),
    )


async def test_a_source_that_it_is_not_accepted_for_is_judged_by_the_full_stage(tmp_path: Path) -> None:
    fall_back(make_project(tmp_path, CASCADE), ("stdlib",))
    stage = await stage_of(tmp_path, KNOWN)
    fast = await stage.card(record(text(9, 1)))
    slow = await stage.card(record({**text(9, 1), "source": "docs"}, 1))
    assert (fast.mode, fast.scores) == ("cascade", [9] * 15)
    assert (slow.mode, slow.scores, slow.cheap) == ("scores", [1] * 15, None)
    alone = replace(stage.project.settings.groups["text"], mode="scores")
    assert slow.lineage == lineage(stage.project.judged_as("text", alone), "text")
    assert stage.counts.sent == {"sure": 1}
    stage.engine.answer = lambda _: "no"
    assert (await stage.letter(record({**text(9, 1), "source": "docs"}, 2))).lineage == slow.lineage
    shown = [one.settings.groups["text"].document_tokens_max for one in judgings(stage.project, "text")]
    assert shown == [5, 40], "the full stage is what sources fall back to: it is probed once"


async def test_where_it_is_accepted_for_no_source_the_full_stage_stands_alone(tmp_path: Path) -> None:
    fall_back(make_project(tmp_path, CASCADE), ())
    stage = await stage_of(tmp_path, KNOWN)
    card = await stage.card(record(text(9, 1)))
    assert (card.mode, card.scores, card.cheap) == ("scores", [1] * 15, None)
    assert [one.settings.groups["text"].mode for one in judgings(stage.project, "text")] == ["scores"]
