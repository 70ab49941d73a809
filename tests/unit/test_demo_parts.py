"""Progress, metrics, shares and the teacher's agreement: the small parts of a demo run."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest
from rich.console import Console

from mira_stream.chance import is_heldout
from mira_stream.config import Project, Settings
from mira_stream.demo.material import shares, write_source
from mira_stream.demo.progress import Progress, Rate, SourceView, View, line, panel
from mira_stream.demo.scrape import read_gauges
from mira_stream.demo.teacher import agreement, choose
from mira_stream.distill.labels import is_measured
from mira_stream.messages import Document, decoder
from mira_stream.sections import GroupSection, SourceSection
from mira_stream.streaming.admission import Amount
from mira_stream.streaming.metrics import Metrics
from tests.unit.test_report import decision


def view(elapsed_s: float = 12.0, note: str = "streaming") -> View:
    sources = {"stdlib": SourceView(10, 4, 0), "new": SourceView(0, 0, 1)}
    return View(elapsed_s, 40, 30, 15, 10, 1, 2.5, 5, {"text": True, "qa": False}, sources, note)


def test_line_says_it_all() -> None:
    said = line(view())
    for part in ("12 s", "in 30/40", "scored 15", "decided 10", "dead 1", "2.5/s", "lag 19", "stdlib 40 %", "new -"):
        assert part in said


def test_more_documents_than_expected_are_no_part_of_fewer() -> None:
    assert "in 76/76" in line(view()._replace(expected=60, produced=76))
    assert "in 5  " in line(view()._replace(expected=0, produced=5))


def test_panel_shows_engines_and_sources() -> None:
    console = Console(width=100, record=True, quiet=True)
    console.quiet = False
    with console.capture() as captured:
        console.print(panel(view()))
    said = captured.get()
    assert "● text" in said
    assert "○ qa" in said
    assert "stdlib" in said


def test_plain_progress_speaks_every_few_seconds_and_when_something_changes() -> None:
    console = Console(width=200, force_terminal=False)
    with console.capture() as captured, Progress(console) as progress:
        for moment in (0.0, 1.0, 4.9, 5.0, 6.0):
            progress.show(view(moment))
        progress.show(view(6.1, "exporting"))
    assert [text.split("s")[0].strip() for text in captured.get().splitlines()] == ["0", "5", "6"]


def test_rate_forgets_what_is_long_ago() -> None:
    rate = Rate()
    assert rate.at(0.0, 0) == 0.0
    assert rate.at(10.0, 50) == pytest.approx(5.0)
    for moment in range(11, 60):
        last = rate.at(float(moment), 50)
    assert last == 0.0


def test_gauges_are_read_from_what_the_scorer_serves() -> None:
    metrics = Metrics()
    metrics.engine_up.labels("text").set(1)
    metrics.engine_up.labels("qa").set(0)
    metrics.admitted("score.text", Amount(7, 100, 1000), Amount(96, 1000, 10000))
    metrics.admitted("score.qa", Amount(2, 10, 10), Amount(96, 1000, 10000))
    gauges = read_gauges(generate_latest(metrics.registry).decode())
    assert gauges.engines == {"text": True, "qa": False}
    assert gauges.in_flight == 9


@given(st.integers(1, 5000))
def test_shares_add_up(documents: int) -> None:
    names = ("stdlib", "distdocs", "docstrings", "mine")
    groups = {"text": GroupSection(family="text")}
    project = Project(Path(), Settings(groups=groups, sources={name: SourceSection(group="text") for name in names}))
    found = shares(project, ["docstrings"], documents)
    assert list(found) == ["stdlib", "distdocs"]
    assert sum(found.values()) == documents
    assert max(found.values()) - min(found.values()) <= 1


def test_material_was_neither_trained_nor_measured_on(tmp_path: Path) -> None:
    path = tmp_path / "corpus" / "stdlib.jsonl"
    assert write_source(path, "stdlib", 5) == 5
    documents = [decoder(Document).decode(row) for row in path.read_bytes().splitlines()]
    assert len({document.id for document in documents}) == 5
    assert all(is_heldout(document.id) and not is_measured(document.id) for document in documents)


def test_the_teacher_judges_all_sources_alike() -> None:
    made = [decision(i, 50.0, "keep", source="a") for i in range(30)]
    made += [decision(100 + i, 50.0, "keep", source="b") for i in range(3)]
    chosen = choose(made, 20)
    assert len(chosen) == 20
    assert sum(one.source == "b" for one in chosen) == 3
    assert len(choose(made[:4], 20)) == 4


def test_agreement_leaves_out_what_was_not_read() -> None:
    first = ([1.0, None, *[5.0] * 13], [2.0, 3.0, *[5.0] * 13])
    second = ([4.0, None, *[6.0] * 13], [4.0, 3.0, *[6.0] * 13])
    found = agreement("text", "kimi", [first, second])
    assert found.mae[:3] == [0.5, None, 0.0]
    assert found.rho[:3] == [pytest.approx(1.0), None, pytest.approx(1.0)]
    assert found.documents == 2
