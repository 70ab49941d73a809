"""The feature judge: scales, measures, scores and replies."""

from pathlib import Path
from shutil import copytree

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mira_stream.demo
from mira_stream.config import load_project
from mira_stream.demo.featurejudge import judge as judging
from mira_stream.demo.featurejudge import measures
from mira_stream.demo.featurejudge.judge import (
    FEATURES,
    feature_named,
    freeform_reply,
    judge_sha256,
    overall,
    recommendation,
    reply,
    scores,
)
from mira_stream.demo.featurejudge.scale import Feature
from mira_stream.errors import UsageError
from mira_stream.messages import SLOTS, Layout
from mira_stream.prompt import load_prompt
from mira_stream.rubric.anchors import CALIBRATION_ANCHORS, load_rubric
from mira_stream.rubric.freeform import parse_freeform
from mira_stream.scorecard import parse
from mira_stream.sections import Family

PROJECT = load_project(Path(mira_stream.demo.__path__[0]) / "project", {})
GROUPS: list[Family] = sorted(FEATURES)
NAMES = {group: [feature.names[0] for feature in FEATURES[group]] for group in GROUPS}
PROSE = "This is a sentence that explains what the thing is for, and when it should be used.\n"
TABLE = "    (0x%02x, 12, 77, 'q'), (0x%02x, 13, 78, 'r'),\n" * 20


def length(view: str) -> float:
    return float(len(view))


def test_a_score_counts_the_cuts_below_a_value() -> None:
    feature = Feature(("Length",), length, tuple(float(cut) for cut in range(1, 10)), True, "short", "long")
    assert [feature.score("x" * size) for size in (0, 1, 2, 9, 10, 99)] == [1, 1, 2, 9, 10, 10]
    falling = feature._replace(rising=False)
    assert [falling.score("x" * size) for size in (0, 1, 2, 9, 10, 99)] == [10, 10, 9, 2, 1, 1]


def test_words_for_a_score() -> None:
    feature = Feature(("Length",), length, (1.0,) * 9, True, "short", "long")
    assert [feature.justification(score) for score in (1, 3, 8, 10)] == ["short", "short", "long", "long"]
    assert feature.justification(5) == "between: short / long"


@pytest.mark.parametrize("group", GROUPS)
def test_every_group_has_fifteen_features_with_nine_ascending_cuts(group: Family) -> None:
    assert len(FEATURES[group]) == 15
    for feature in FEATURES[group]:
        assert len(feature.cuts) == 9
        assert list(feature.cuts) == sorted(set(feature.cuts))


@pytest.mark.parametrize("group", GROUPS)
@given(view=st.text(min_size=1))
def test_any_view_has_fifteen_scores_of_one_to_ten(group: Family, view: str) -> None:
    found = scores(group, view, NAMES[group])
    assert len(found) == 15
    assert all(1 <= score <= 10 for score in found)
    assert found == scores(group, view, NAMES[group])


def test_prose_is_judged_higher_than_a_table() -> None:
    for group in GROUPS[1:]:
        assert overall(scores(group, PROSE * 5, NAMES[group])) > overall(scores(group, TABLE, NAMES[group])) + 20


def test_a_view_without_words_is_no_error() -> None:
    for group in GROUPS:
        assert len(scores(group, "   \n", NAMES[group])) == len(scores(group, "123 !!", NAMES[group])) == 15


@pytest.mark.parametrize(
    ("measure", "view", "value"),
    [
        (measures.of_characters("()"), "(a) b\n", 500.0),
        (measures.of_words("the of"), "The end of it", 50.0),
        (measures.matches(measures.SENTENCE_END), "one two. Three four?", 1000 * 2 / 17),
        (measures.word_length, "ab cdef 12", 3.0),
        (measures.line_length, "abcd\n\nab  \n", 3.0),
        (measures.log_words, "one", 0.0),
        (measures.capitals, "ABcd", 50.0),
        (measures.variety, "a a A a", 0.5),
        (measures.answer_words, "## Question\nmany words here\n\n## Answer\nyes\n", 0.0),
    ],
)
def test_measures(measure: measures.Measure, view: str, value: float) -> None:
    assert measure(view) == pytest.approx(value)


@pytest.mark.parametrize(
    ("total", "verdict"), [(100, "keep"), (60, "keep"), (59, "downsample"), (40, "downsample"), (39, "drop")]
)
def test_recommendation(total: int, verdict: str) -> None:
    assert recommendation(total) == verdict


def test_overall_is_the_mean_times_ten() -> None:
    assert overall([7] * 15) == 70
    assert overall([10] * 8 + [1] * 7) == 58


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("layout", ["scores_first", "interleaved"])
def test_a_reply_reads_back_without_repairs(group: Family, layout: Layout) -> None:
    rubric = load_rubric(PROJECT.rubric_path(group))
    reading = parse(reply(group, PROSE, rubric.names, layout), layout, rubric.names)
    assert reading.scores == scores(group, PROSE, rubric.names)
    assert reading.overall == overall(scores(group, PROSE, rubric.names))
    assert not reading.repairs
    assert (reading.brief is None) == (layout == "scores_first")


def test_the_reply_of_the_students() -> None:
    rubric = load_rubric(PROJECT.rubric_path("text"))
    lines = reply("text", PROSE, rubric.names, "scores_first").split("\n")
    assert len(lines) == 17
    assert [line.split()[0] for line in lines] == [
        *(f"[{slot}]" for slot in SLOTS),
        "overall:",
        "training_recommendation:",
    ]


@pytest.mark.parametrize("group", GROUPS)
def test_every_name_is_of_one_feature(group: Family) -> None:
    names = [name for feature in FEATURES[group] for name in feature.names]
    assert len(set(names)) == len(names) == 30
    for feature in FEATURES[group]:
        assert all(feature_named(group, name) is feature for name in feature.names)


def test_a_sub_label_says_more_than_its_base() -> None:
    assert feature_named("text", "Substance (Full sentences)") is feature_named("text", "Full sentences")
    assert feature_named("text", "Substance (of its own)") is feature_named("text", "Substance")


def test_a_name_of_nobody_is_refused() -> None:
    for name in ("Musicality", "Musicality (Rhythm)", "", "Substance)", "substance"):
        with pytest.raises(UsageError, match="featurejudge_dimension"):
            scores("text", PROSE, [name])


@pytest.mark.parametrize("group", GROUPS)
@given(view=st.text(min_size=1))
def test_free_form_it_names_its_own_dimensions(group: Family, view: str) -> None:
    found = parse_freeform(freeform_reply(group, view))
    assert [one.score for one in found] == scores(group, view, [one.name for one in found])


def test_free_form_names_differ_between_views() -> None:
    called = {parse_freeform(freeform_reply("qa", f"view {number}"))[0].name for number in range(50)}
    assert called == set(FEATURES["qa"][0].names)


def test_the_judge_has_a_hash() -> None:
    assert len(judge_sha256()) == 64
    assert judge_sha256() == judge_sha256()


def test_how_the_judge_is_served_is_no_part_of_its_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = judge_sha256()
    copied = copytree(Path(judging.__file__).parent, tmp_path / "judge")
    monkeypatch.setattr(judging, "__file__", str(copied / "judge.py"))
    assert judge_sha256() == before
    (copied / "server.py").write_text("served otherwise")
    assert judge_sha256() == before
    (copied / "scale.py").write_text("judges otherwise")
    assert judge_sha256() != before


@pytest.mark.parametrize("group", GROUPS)
def test_rubric_and_prompt_of_the_demo_project(group: Family) -> None:
    rubric = load_rubric(PROJECT.rubric_path(group))
    assert rubric.header.group == group
    assert rubric.header.teacher == "featurejudge"
    assert rubric.header.created_by == "mira-stream rubric discover"
    assert len(set(rubric.names)) == 15
    for anchor in rubric.anchors:
        assert anchor.description
        assert anchor.examples
        assert all(0 <= example.score <= 10 and example.reason for example in anchor.examples)
    assert all(anchor.examples for anchor in rubric.anchors[:CALIBRATION_ANCHORS])
    prompt = load_prompt(PROJECT.prompts_path(group), rubric)
    assert not prompt.after_document.strip()
    assert prompt.view_of(prompt.user(PROSE)) == PROSE
