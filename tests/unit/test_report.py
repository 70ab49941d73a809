"""The outcome of a run: counts, tables, JSON and the page."""

import re
from collections.abc import Mapping
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from rich.console import Console

from mira_stream.demo.dead import dead_counts, dead_rows
from mira_stream.demo.outcome import Agreement, Audited, Counts, Evidence, GroupStory, Outcome, Seconds, as_json
from mira_stream.demo.report import render_report
from mira_stream.demo.summary import MaskEffect, Source, expected_band, extremes, mask_effect, summarise
from mira_stream.demo.tables import show
from mira_stream.messages import (
    SLOTS,
    CardPosition,
    DeadLetter,
    Decision,
    Epoch,
    Mark,
    Mask,
    Origin,
    Ref,
    Verdict,
)
from mira_stream.quality import lens
from mira_stream.reliability.table import Aggregate, Cell, ModeReliability, SourceReliability
from mira_stream.sections import MaskLimits

NAMES = tuple(f"Dimension {slot}" for slot in SLOTS)
MEANS = [5.0] * 15
MASK = Mask(mask="m1", group="text", source="*", lineage="l1", dimensions=list(SLOTS[:12]), means=MEANS, trim=0.1)
LIMITS = MaskLimits()
assert LIMITS.mae == 1.0


def decision(number: int, quality: float, verdict: Verdict, source: str = "stdlib", **changes: Any) -> Decision:
    fields: dict[str, Any] = {
        "id": f"doc-{number}",
        "source": source,
        "group": "text",
        "origin": Origin(topic="mira.documents.text", partition=0, offset=number, timestamp_ms=0),
        "card": CardPosition(partition=0, offset=number),
        "lineage": "l1",
        "mask": "m1",
        "epoch_of": source,
        "epoch": 1,
        "policy": 0,
        "decision": verdict,
        "selected": verdict == "keep",
        "reason": "above",
        "quality": quality,
        "dimensions_used": list(SLOTS[:12]),
        "scores": [quality / 10] * 15,
        "tokens": 10,
    }
    return Decision(**{**fields, **changes})


def epoch(source: str, keep: float, drop: float) -> Epoch:
    return Epoch(
        epoch_of=source,
        group="text",
        lineage="l1",
        epoch=3,
        cause="count",
        first_offset=0,
        policy=0,
        basis="source",
        n=10,
        weight=10.0,
        target=0.5,
        target_corrected=0.5,
        keep=Mark(value=keep, tie_fraction=0.0),
        drop=Mark(value=drop, tie_fraction=0.0),
    )


def reliability() -> Mapping[str, ModeReliability]:
    def cell(i: int) -> Cell:
        good = i < 12
        return Cell(
            n=200, mae=0.6, rho=0.9 if good else None, mae_hi=0.7, rho_lo=None, skill=0.4, bias=0.0,
            verdict="reliable" if good else "unreliable",
        )  # fmt: skip

    cells = {slot: cell(i) for i, slot in enumerate(SLOTS)}
    source = SourceReliability(n=200, aggregate=Aggregate(rho=0.9, overlap=0.9, gain=0.9), dimensions=cells)
    return {"text": ModeReliability(lineage="l1", means=MEANS, sources={"*": source, "stdlib": source})}


@pytest.fixture
def decisions() -> list[Decision]:
    verdicts: list[Verdict] = ["keep", "keep", "downsample", "drop", "drop"]
    return [decision(i, 90.0 - 10 * i, verdict) for i, verdict in enumerate(verdicts)]


DEAD = [
    DeadLetter(stage="score", reason="wrong_format", error="", source="stdlib", id="doc-9"),
    DeadLetter(stage="score", reason="unknown_source", error="<script>x</script>", source="nobody"),
    DeadLetter(stage="produce", reason="invalid_json", error="", ref=Ref(uri="a.jsonl", byte=77)),
]


def outcome_of(decisions: list[Decision], name: str = "Dimension A1", **changes: Any) -> Outcome:
    sources = [Source("stdlib", "text", 0.5, "documents", MASK), Source("distdocs", "text", 0.3, "documents", MASK)]
    rows = summarise(sources, decisions, DEAD, {"stdlib": epoch("stdlib", 75.0, 65.0)})
    best, worst = extremes(decisions, 2, MEANS, (name, *NAMES[1:]))
    fields: dict[str, Any] = {
        "counts": Counts(produced=8, scored=5, decided=5, dead=3),
        "sources": rows,
        "stories": [GroupStory("text", NAMES, best, worst)],
        "effects": [mask_effect("stdlib", decisions, lens(MASK))],
        "agreements": [Agreement("text", "kimi", 20, [0.5] * 15, [None] * 15)],
        "audited": Audited(True, ["audit: 8 documents = 5 decisions + 3 dead letters; 0 lost, 0 doubled"]),
        "seconds": Seconds(80.1, 100.0, 120.0),
        "out": "mira-demo",
        "dead": DEAD,
    }
    return Outcome(**{**fields, **changes})


def test_counts_of_a_source_add_up(decisions: list[Decision]) -> None:
    stdlib, distdocs, unknown = outcome_of(decisions).sources
    assert (stdlib.documents, stdlib.keep, stdlib.downsample, stdlib.drop, stdlib.dead) == (6, 2, 1, 2, 1)
    assert stdlib.retention_achieved == pytest.approx(2 / 5)
    assert stdlib.threshold == 75.0
    assert stdlib.masked == ["A13", "A14", "A15"]
    assert (distdocs.documents, distdocs.retention_achieved, distdocs.threshold) == (0, None, None)
    assert (unknown.name, unknown.documents, unknown.dead, unknown.retention_target) == ("(unknown)", 2, 2, None)


def test_retention_in_tokens_weighs_documents() -> None:
    weighed = [decision(0, 80.0, "keep", tokens=90), decision(1, 20.0, "drop", tokens=10)]
    (row,) = summarise([Source("stdlib", "text", 0.5, "tokens", None)], weighed, [], {})
    assert row.retention_achieved == pytest.approx(0.9)
    assert row.masked == []


def test_extremes_name_what_moved_them_most() -> None:
    scores: list[float | None] = [5.0] * 15
    scores[3], scores[7], scores[14] = 9.0, 2.0, 0.0  # A15 is masked: it moved nothing
    scores[5], scores[6] = None, 5.1
    first = decision(1, 60.0, "keep", scores=scores)
    best, worst = extremes([first], 5, MEANS, NAMES)
    assert worst == []
    assert [(line.slot, line.score) for line in best[0].moved] == [("A4", 9.0), ("A7", 5.1)]
    second = decision(2, 50.0, "drop", scores=scores)
    _, worst = extremes([first, second], 1, MEANS, NAMES)
    assert [(line.slot, line.score) for line in worst[0].moved] == [("A8", 2.0)]


@given(st.lists(st.integers(0, 1000), unique=True, max_size=30), st.integers(1, 5))
def test_best_and_worst_never_overlap(cells: list[int], count: int) -> None:
    made = [decision(i, cell / 10, "keep") for i, cell in enumerate(cells)]
    best, worst = extremes(made, count, MEANS, NAMES)
    assert not {document.id for document in best} & {document.id for document in worst}
    assert len(best) + len(worst) == min(len(made), 2 * count)
    if worst:
        assert min(document.quality for document in best) > max(document.quality for document in worst)
        assert worst[0].quality == min(cells) / 10


def test_band_shrinks_with_the_count() -> None:
    assert expected_band(0.5, 100) == pytest.approx(0.1)
    assert expected_band(0.5, 400) == pytest.approx(0.05)
    assert expected_band(0.5, 0) is None
    assert expected_band(None, 100) is None


def test_mask_effect_counts_what_both_keep() -> None:
    flattered = decision(0, 30.0, "drop", scores=[3.0] * 12 + [10.0] * 3)
    honest = decision(1, 60.0, "keep", scores=[6.0] * 12 + [1.0] * 3)
    effect = mask_effect("stdlib", [flattered, honest], lens(MASK))
    assert (effect.kept, effect.same) == (1, 1)
    blinded = decision(2, 59.0, "drop", scores=[5.9] * 12 + [9.0] * 3)
    assert mask_effect("stdlib", [honest, blinded], lens(MASK)).same == 0


score_rows = st.lists(st.integers(1, 10).map(float), min_size=15, max_size=15)


@given(st.lists(st.tuples(score_rows, st.booleans()), max_size=20), st.lists(st.floats(1, 9), min_size=15, max_size=15))
def test_a_mask_that_leaves_nothing_out_changes_nothing(
    made: list[tuple[list[float], bool]], means: list[float]
) -> None:
    """However the stream itself selected: thresholds move while it runs."""
    decisions = [
        decision(i % 7, 50.0, "keep", scores=scores, selected=taken, card=CardPosition(partition=0, offset=i))
        for i, (scores, taken) in enumerate(made)
    ]
    effect = mask_effect("stdlib", decisions, lens(replace(MASK, dimensions=list(SLOTS), means=means)))
    assert effect.kept == effect.same == sum(taken for _, taken in made)


def test_mask_effect_is_not_the_effect_of_centring() -> None:
    """Uncentred the first is better by far; centred, with the mask or without it, the second is."""
    means = [9.0] * 6 + [1.0] * 9
    through = lens(replace(MASK, means=means, trim=0.0))
    lofty = decision(0, 50.0, "keep", scores=[9.0] * 6 + [1.0] * 9)
    modest = decision(1, 60.0, "drop", scores=[None] * 6 + [3.0] * 6 + [1.0] * 3, selected=False)
    assert mask_effect("stdlib", [lofty, modest], through) == MaskEffect("stdlib", 1, 1)


def test_mask_effect_ranks_what_the_mask_cannot_judge_last() -> None:
    blank = decision(0, 90.0, "keep", scores=[None] * 12 + [9.0] * 3)
    seen = decision(1, 20.0, "drop", scores=[2.0] * 15)
    assert mask_effect("stdlib", [blank, seen], lens(MASK)) == MaskEffect("stdlib", 1, 0)


def test_dead_letters_are_counted_by_where_and_why() -> None:
    letters = [
        DeadLetter(stage="produce", reason="invalid_json", error="", source="mine"),
        DeadLetter(stage="score", reason="too_long", error="", source="mine"),
        DeadLetter(stage="produce", reason="invalid_json", error="", source="mine"),
        DeadLetter(stage="score", reason="invalid_utf8", error=""),
        DeadLetter(stage="score", reason="unknown_source", error="", source="\x1b[2J" + 99 * "x"),
    ]
    unknown, *mine, steering = dead_counts(letters)
    assert steering.source == "\N{REPLACEMENT CHARACTER}[2J" + 59 * "x" + "…"
    assert unknown == ("(unknown)", "score", "invalid_utf8", 1)
    assert mine == [("mine", "produce", "invalid_json", 2), ("mine", "score", "too_long", 1)]


def test_a_dead_letter_is_found_by_its_id_or_its_place() -> None:
    origin = Origin(topic="mira.documents.text", partition=1, offset=7, timestamp_ms=0)
    places: list[dict[str, Any]] = [
        {"id": "doc-1", "ref": Ref(uri="a.jsonl", byte=3)},
        {"ref": Ref(uri="a.jsonl", byte=3)},
        {"ref": Ref(uri="a.parquet", row=0), "origin": origin},
        {"ref": Ref(uri="a.txt")},
        {"origin": origin},
        {},
    ]
    rows, more = dead_rows([DeadLetter(stage="score", reason="r", error="e" * 201, **place) for place in places])
    documents = ["-", "a.jsonl byte 3", "a.parquet row 0", "a.txt", "doc-1", "mira.documents.text/1@7"]
    assert ([row.document for row in rows], more) == (documents, 0)
    assert rows[0].error == "e" * 199 + "…"


def test_json_has_the_promised_form(decisions: list[Decision]) -> None:
    found = as_json(outcome_of(decisions, agreements=[]))
    assert list(found) == ["documents", "sources", "seconds", "documents_per_s", "out"]
    assert found["documents"] == {"produced": 8, "scored": 5, "decided": 5, "dead": 3}
    assert found["documents_per_s"] == pytest.approx(0.08)
    assert found["seconds"] == {"to_first_decision": 80.1, "stream": 100.0, "total": 120.0}
    row = found["sources"]["stdlib"]
    assert list(row) == [
        "group", "documents", "keep", "downsample", "drop", "selected", "dead",
        "retention_target", "retention_achieved", "threshold", "masked",
    ]  # fmt: skip
    totals = [entry["documents"] for entry in found["sources"].values()]
    assert sum(totals) == found["documents"]["produced"]


@pytest.mark.parametrize("width", [60, 80, 160])
def test_table_shows_every_source_and_no_markup(decisions: list[Decision], width: int) -> None:
    console = Console(width=width)
    with console.capture() as captured:
        show(outcome_of(decisions, name="[bold]Name[/bold]"), console)
    text = captured.get()
    for part in (
        "stdlib",
        "(unknown)",
        "Dead letters",
        "invalid_json",
        "nobody",
        "A13, A14, A15",
        "[A1] [bold]Name[/bold] 9 (5.0)",
        "0 lost, 0 doubled",
    ):
        assert part in text
    if width >= 80:
        assert "50 ± 45" in text
        assert "…" not in text


class Page(HTMLParser):
    """Collects tags, ids and where links lead."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.leads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id" and value:
                self.ids.append(value)
            if name in ("src", "href", "xlink:href") and value:
                self.leads.append(value)


def test_page_stands_alone_and_escapes_what_documents_say(decisions: list[Decision]) -> None:
    outcome = outcome_of(decisions, name="<script>alert(1)</script>")
    evidence = Evidence(decisions, {"stdlib": epoch("stdlib", 75.0, 65.0)})
    html = render_report(outcome, evidence, reliability())
    page = Page()
    page.feed(html)
    assert "script" not in page.tags
    assert "&lt;script&gt;" in html
    assert page.tags.count("svg") == 3
    assert len(page.ids) == len(set(page.ids))
    assert [lead for lead in page.leads if not lead.startswith(("#", "data:image/png"))] == []
    assert not re.search(r"url\((?!#)", html)
    assert "prefers-color-scheme: dark" in html
    for part in ("doc-9", "a.jsonl byte 77", "wrong_format", "&lt;script&gt;x"):
        assert part in html


def test_page_shows_a_hundred_dead_letters_and_counts_the_others() -> None:
    letters = [DeadLetter(stage="score", reason="too_long", error="", id=f"long-{i}") for i in range(103)]
    html = render_report(outcome_of([], stories=[], effects=[], agreements=[], dead=letters), Evidence([], {}), {})
    assert html.count(">long-") == 100
    assert "And 3 more" in html
    html = render_report(outcome_of([], stories=[], effects=[], agreements=[], dead=[]), Evidence([], {}), {})
    assert "Dead letters" not in html


def test_page_of_a_run_in_which_nothing_was_judged() -> None:
    html = render_report(outcome_of([], stories=[], effects=[], agreements=[]), Evidence([], {}), {})
    assert "(unknown)" in html
    assert "<svg" not in html
