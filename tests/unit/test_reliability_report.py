"""The reliability page: what it says of a table, and that data stays data."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from msgspec.structs import replace

from mira_stream.messages import SLOTS
from mira_stream.reliability.charts import HEIGHT, WIDTH, charts
from mira_stream.reliability.measure import Measured, Terms, measure
from mira_stream.reliability.report import between, number, render_report
from mira_stream.reliability.retest import View, retest
from mira_stream.reliability.table import Table
from mira_stream.sections import MaskLimits

WILD = '<script>alert("x")</script>&{{ 7 * 7 }}'
NAMES = [f"Dimension {i}" for i in range(14)] + [WILD]


def rows(source: str, count: int, noise: int, seed: int = 0) -> list[Measured]:
    chance = np.random.default_rng(seed)
    teacher = chance.integers(1, 11, (count, 15)).astype(float)
    student = np.clip(teacher + chance.integers(-noise, noise + 1, teacher.shape), 1, 10)
    student[:, 14] = 5
    return [
        Measured(f"{source}{i}", source, t, s, 50.0, "keep")
        for i, (t, s) in enumerate(zip(teacher.tolist(), student.tolist(), strict=True))
    ]


def table_of(measured: list[Measured]) -> Table:
    terms = Terms(MaskLimits(), 0.1)
    return measure(measured, group="g", rubric="r", lineage="l", labels=b"", mode="scores", terms=terms)


class Page(HTMLParser):
    """Elements that were opened, classes of the map's cells, and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.opened: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.opened.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def measured() -> list[Measured]:
    return [*rows("exact", 120, 0), *rows("wild", 120, 9, 1), *rows(WILD, 3, 0, 2)]


@pytest.fixture(scope="module")
def html(measured: list[Measured]) -> str:
    return render_report(table_of(measured), "scores", NAMES, measured, WILD)


def test_names_are_data_and_nothing_is_fetched(html: str) -> None:
    page = Page(html)
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in page.opened}
    assert not re.search(r'(src|href)="|url\(|@import|https?://', html)
    assert page.text.count(WILD) >= 3
    assert "49" not in re.findall(r"alert\(.x.\)</script>&(\S*)", page.text)


def test_a_verdict_is_told_by_letter_and_border_as_well_as_by_colour(html: str, measured: list[Measured]) -> None:
    mode = table_of(measured).modes["scores"]
    cells = [
        attributes for tag, attributes in Page(html).opened if tag == "td" and "--rho" in str(attributes.get("style"))
    ]
    verdicts = [cell.verdict for source in mode.sources.values() for cell in source.dimensions.values()]
    assert [str(cell["class"]).split()[0] for cell in cells] == verdicts
    letters = re.findall(r"<b>(R|U|\?|–)</b>", html.split("Sources and dimensions")[1])
    assert letters[: len(verdicts)] == [
        {"reliable": "R", "unreliable": "U", "undecided": "?", "no_variance": "–"}[verdict] for verdict in verdicts
    ]
    assert {"reliable", "unreliable", "no_variance"} <= set(verdicts)
    assert ".map td.unreliable, .map td.undecided { border: 2px dashed" in html


def test_warnings_bounds_and_the_missing_ceiling_are_said(html: str, measured: list[Measured]) -> None:
    text = " ".join(Page(html).text.split())
    assert "Before this is used" in text
    assert "undecided: 3 independent held-out documents" in text
    assert "was not measured (reliability --retest N; of the pipeline [reliability] retest)" in text
    views = [View(row.id, row.source, "", row.scores) for row in measured[:40]]
    table = table_of(measured)

    def told(second: float, temperature: float) -> str:
        scores = {view.key: [min(10.0, score + second) for score in view.scores] for view in views}
        page = replace(table, retest=retest(views, scores, "kimi", temperature))
        return " ".join(Page(render_report(page, "scores", NAMES, measured, "kimi")).text.split())

    said = told(1, 0.7)
    assert "teacher, again" in said
    assert "the teacher against itself on 40 views, asked at temperature 0.7: no student can be expected" in said
    assert "says nothing" not in said
    for second, temperature, why in ((0, 0, "trivially 1: 40 of 40"), (1, 0, "not informative"), (0, 1, "trivially 1")):
        said = told(second, temperature)
        assert f"asked at temperature {temperature}: {why}" in said
        assert "teacher, again (says nothing)" in said
        assert "no student can be expected" not in said


def test_charts_are_means_and_counts() -> None:
    measured = rows("s", 200, 2)
    chart = charts(measured, ["s"])[3]
    teacher = np.array([row.scores[3] for row in measured])
    student = np.array([row.student_scores[3] for row in measured])
    assert chart.slot == SLOTS[3]
    for point in chart.curves[0].points:
        mine = student[teacher == point.teacher]
        assert point.documents == len(mine)
        assert point.student == pytest.approx(mine.mean())
        assert point.x == WIDTH * point.teacher / 10
        assert point.y == pytest.approx(HEIGHT * (1 - mine.mean() / 10))
    assert [bar.student for bar in chart.bars] == np.bincount(student.astype(int), minlength=11).tolist()
    assert [bar.teacher for bar in chart.bars] == np.bincount(teacher.astype(int), minlength=11).tolist()
    assert min(min(bar.student_y, bar.teacher_y) for bar in chart.bars) == 0
    assert charts(rows("s", 2, 0), ["s"])[0].curves[0].points == ()


def test_numbers_are_rounded_and_absent_ones_are_a_dash() -> None:
    assert (number(None), number(-0.001), number(-0.25), number(0.999)) == ("–", "0.00", "−0.25", "1.00")
    assert (between(0.1, 0.2), between(None, 0.2)) == ("0.10 to 0.20", "")
