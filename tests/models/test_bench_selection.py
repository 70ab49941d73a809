"""The selection benchmark's parts: what is planted is what is said, and what is counted is right."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from bench.selection import decoys, defects, findings, pool, statistics
from bench.selection.arms import Arm, Pool, kept, shares
from bench.selection.foreign import export_documents, read_scores
from bench.selection.planted_cells import mask_quality
from bench.selection.pool import Known
from mira_stream.demo.episodes.bank import TASKS
from mira_stream.demo.episodes.mutate import mutants, surviving_mutants
from mira_stream.demo.episodes.sandbox import check, write_test
from mira_stream.errors import UsageError
from mira_stream.messages import Document, Message, Parts, ToolCall
from mira_stream.render import render

pytestmark = pytest.mark.models

SENTENCES = " ".join(f"Sentence number {i} says that value_{chr(97 + i)}_name is {i * 7}." for i in range(10))
TURNS = [
    Message(role="user", content="Please repair the function."),
    *(
        message
        for i in range(6)
        for message in (
            Message(
                role="assistant",
                content=f"Thought {i}. I look at it. Then I act.",
                tool_calls=[
                    ToolCall(name="view_file" if i < 5 else "str_replace", arguments=json.dumps({"path": "a.py"}))
                ],
            ),
            Message(role="tool", name="view_file", content=f"answer {i}"),
        )
    ),
    Message(role="assistant", content="Done. It works now."),
]
DOCUMENTS = {
    "text": Document(id="t", source="s", text=SENTENCES),
    "qa": Document(id="q", source="s", parts=Parts(question="What?", answer=SENTENCES)),
    "agent": Document(id="a", source="s", messages=TURNS),
}
CASES = [(family, name) for family, own in defects.DEFECTS.items() for name in own]


@pytest.mark.parametrize(("family", "name"), CASES)
def test_a_defect_changes_a_document_at_every_level_and_the_same_way_every_time(family: str, name: str) -> None:
    document, defect = DOCUMENTS[family], defects.DEFECTS[family][name]  # type: ignore[index]
    views = [render(document, family)]  # type: ignore[arg-type]
    for level in range(1, defects.LEVELS + 1):
        made = defect(document, level, Random("seed"))
        assert made == defect(document, level, Random("seed"))
        views.append(render(made, family))  # type: ignore[arg-type]
    assert all(view != views[0] for view in views[1:])
    assert views[-1] != views[1]


def broken_calls(document: Document) -> set[int]:
    found = set()
    for index, message in enumerate(document.messages or []):
        for call in message.tool_calls:
            try:
                json.loads(call.arguments)
            except json.JSONDecodeError:
                found.add(index)
    return found


def test_a_higher_level_breaks_what_a_lower_one_broke_and_more() -> None:
    levels = [broken_calls(defects.invalid_tool_json(DOCUMENTS["agent"], level, Random(1))) for level in range(1, 6)]
    assert levels[0]
    assert all(lower <= higher for lower, higher in pairwise(levels))
    assert len(levels[-1]) == 6


@pytest.mark.parametrize(
    ("change", "count"),
    [
        (defects.contradiction, lambda text: sum(text.count(line) for line in defects.NEGATIONS)),
        (defects.boilerplate, lambda text: sum(text.count(line) for line in defects.BOILERPLATE)),
        (defects.mixed_language, lambda text: sum(text.count(line) for line in defects.FOREIGN)),
    ],
)
def test_a_fifth_of_the_sentences_a_level(change: defects.Change, count: Callable[[str], int]) -> None:
    assert [count(change(SENTENCES, level, Random(2))) for level in range(1, 6)] == [2, 4, 6, 8, 10]


def test_shuffling_loses_no_sentence_and_moves_every_chosen_one() -> None:
    before = SENTENCES.replace(". ", ".\n").splitlines()
    for level in range(1, 6):
        after = defects.shuffled(SENTENCES, level, Random(3)).splitlines()
        assert sorted(after) == sorted(before)
        assert sum(a != b for a, b in zip(before, after, strict=True)) == 2 * level


def test_one_sentence_cannot_be_shuffled_so_the_defect_does_not_apply() -> None:
    assert defects.shuffled("Only one.", 5, Random(4)) == "Only one."


def test_a_third_of_the_defects_is_held_back_whatever_their_order() -> None:
    names = {name for own in defects.DEFECTS.values() for name in own}
    assert len(defects.held_back()) == len(names) // 3
    assert set(defects.held_back()) < names


def test_rare_names_stay_different_names() -> None:
    names = [f"old_name_{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(250)]
    made = decoys.rare_names([Document(id="d", source="s", text=" ".join(names))], Random(5))
    assert made.text is not None
    assert len(set(made.text.split())) == len(names)
    assert not set(made.text.split()) & set(names)


def test_wrong_calls_are_good_json_and_answered_as_wrong() -> None:
    made = decoys.fluent_wrong_calls([DOCUMENTS["agent"]], Random(6))
    assert made.messages is not None
    assert not broken_calls(made)
    calls = [json.loads(call.arguments) for message in made.messages for call in message.tool_calls]
    assert all(call["path"] == decoys.WRONG for call in calls)
    assert all("error" in (message.content or "") for message in made.messages if message.role == "tool")
    assert [m.content for m in made.messages if m.role == "assistant"] == [
        m.content for m in TURNS if m.role == "assistant"
    ]


def test_a_long_decoy_is_four_documents() -> None:
    texts = [Document(id=str(i), source="s", text=f"text {i}") for i in range(4)]
    assert decoys.four_times_as_long(texts, Random(7)).text == "text 0\n\ntext 1\n\ntext 2\n\ntext 3"


def test_mutants_are_killed_or_not_by_the_tests_themselves() -> None:
    for task in TASKS[:6]:
        tests = [write_test(task.code, call) for call in (*task.visible, *task.hidden)]
        assert all(all(check(one.code, test).status == "pass" for test in tests) for one in surviving_mutants(task))
        assert all(any(check(one.code, test).status != "pass" for test in tests) for one in mutants(task))


def test_the_area_is_that_of_scikit_learn_and_its_bounds_hold_it() -> None:
    chance = np.random.default_rng(8)
    good = chance.random(200) < 0.4
    scores = np.round(chance.normal(size=200) + good, 1)
    found = statistics.auc(scores, good, [str(i) for i in range(200)])
    assert found.area == pytest.approx(roc_auc_score(good, scores))
    assert 0.5 < found.low < found.area < found.high < 1
    wider = statistics.auc(scores, good, [str(i // 20) for i in range(200)])
    assert wider.area == found.area
    assert np.isnan(statistics.auc([1.0], [True], ["a"]).area)


def test_paired_intervals_are_students() -> None:
    differences = [0.1, 0.3, -0.05, 0.2]
    found, test = statistics.paired(differences), stats.ttest_1samp(differences, 0.0)
    assert found.p == pytest.approx(test.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(test.confidence_interval()))


def test_holm_multiplies_the_smallest_most_and_never_reverses_an_order() -> None:
    assert statistics.holm([0.04, 0.01]) == pytest.approx([0.04, 0.02])
    assert statistics.holm([0.03, 0.02]) == pytest.approx([0.04, 0.04])


def test_kendall_is_one_when_every_step_down_is_seen() -> None:
    assert statistics.kendall(range(6), [9, 8, 7, 6, 5, 4]) == pytest.approx(1)
    assert statistics.kendall(range(6), [4, 5, 6, 7, 8, 9]) == pytest.approx(-1)
    assert statistics.kendall(range(6), [5] * 6) == 0


def some_pool() -> Pool:
    """Ten documents of two sources, 100 tokens each, every second one damaged."""
    known = [
        Known(
            Document(id=str(i), source=f"s{i % 4 // 2}", text=f"text {i}"), "g", "noise" if i % 2 else "", i % 2, str(i)
        )
        for i in range(20)
    ]
    flat = np.zeros(20)
    return Pool(known, [f"text {i}" for i in range(20)], np.full(20, 100), flat, flat, flat, {}, 0)


def test_the_oracle_keeps_clean_documents_and_half_of_the_tokens() -> None:
    made = some_pool()
    chosen = kept(made, Arm("oracle", -made.levels, "global"))
    assert made.tokens[chosen].sum() == 1000
    assert shares(made, chosen) == (1.0, 1.0)
    assert shares(made, ~chosen) == (0.0, 0.0)


def test_a_threshold_a_source_keeps_half_of_every_source() -> None:
    made = some_pool()
    scores = np.array([float(one.document.source == "s0") for one in made.known])
    by_source = kept(made, Arm("x", scores, "source"))
    everywhere = kept(made, Arm("x", scores, "global"))
    first = scores > 0
    assert made.tokens[by_source & first].sum() == 500
    assert made.tokens[everywhere & first].sum() == 1000


def test_defects_are_counted_by_document_and_marked_when_held_back() -> None:
    known = [Known(Document(id="b", source="s", text="b"), "g", "", 0, "b")]
    names = ("noise", defects.held_back()[0])
    known += [Known(Document(id=f"{n}{i}", source="s", text=n), "g", n, i, "b") for n in names for i in range(1, 6)]
    seen = {one.document.id: -float(one.level) for one in known}
    blind = {name: -score if name.startswith("noise") else score for name, score in seen.items()}
    table = findings.defect_table(known, {"seen": seen, "blind": blind})
    assert table["g/noise"]["tau"]["seen"]["mean"] == pytest.approx(1)
    assert table["g/noise"]["tau"]["blind"]["mean"] == pytest.approx(-1)
    assert findings.defect_means(table)["held_back"]["blind"] == pytest.approx(1)
    assert findings.defect_means(table)["open"]["blind"] == pytest.approx(-1)


def test_a_missed_defect_is_laid_at_the_right_door() -> None:
    taus = {"a": (-0.5, 0.0), "b": (0.1, 0.9), "c": (0.8, 0.1), "d": (0.8, 0.7)}
    defects_found = {
        name: {"tau": {"teacher": {"mean": teacher}, "mira": {"mean": student}}}
        for name, (teacher, student) in taus.items()
    }
    assert findings.why(defects_found) == {
        findings.REWARDED: ["a"],
        findings.UNSEEN: ["b"],
        findings.LOST: ["c"],
        findings.SEEN: ["d"],
    }


@pytest.mark.parametrize(
    ("name", "move", "verdict"),
    [
        ("rare_names", 0.0, "as it should"),
        ("rare_names", -9.0, "moved"),
        ("fluent_wrong_calls", -9.0, "as it should"),
        ("fluent_wrong_calls", 9.0, "moved"),
    ],
)
def test_a_decoy_may_not_move_a_score_and_a_fluent_mistake_not_lift_it(name: str, move: float, verdict: str) -> None:
    fakes = [
        Known(Document(id=f"f{i}", source="s", text="f"), "agent", f"decoy:{name}", 0, f"b{i}", like=(f"b{i}",))
        for i in range(8)
    ]
    quality = {f"f{i}": 50.0 + i + move + 0.1 * (i % 2) for i in range(8)}
    table = findings.decoy_table(fakes, quality, {f"b{i}": 50.0 + i for i in range(8)})
    assert table[f"agent/{name}"]["verdict"] == verdict


def test_the_mask_keeps_planted_cells_and_takes_out_noise() -> None:
    found = mask_quality(sources=2, documents=300, seed=2)
    assert found.precision > 0.9
    assert found.recall > 0.9


def test_exported_documents_tell_nothing_of_their_truth(tmp_path: Path) -> None:
    made = pool._opaque(Document(id="stdlib/x#1", source="s", text="hello"), "noise3")
    assert export_documents(tmp_path / "d.jsonl", [Known(made, "g", "noise", 3, "x")] * 2, lambda _: "text") == 1
    assert json.loads((tmp_path / "d.jsonl").read_text()) == {"id": made.id, "source": "s", "text": "hello"}
    assert "noise" not in made.id


def test_scores_are_read_from_three_kinds_of_files(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    (tmp_path / "a.jsonl").write_text('{"id": "x", "score": 1}\n{"id": "y", "score": -2.5}\n')
    (tmp_path / "a.csv").write_text("id,score\nx,1\ny,-2.5\n")
    parquet.write_table(pa.table({"id": ["x", "y"], "score": [1.0, -2.5]}), tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.csv", "a.parquet"):
        assert read_scores(tmp_path / name, {"x", "y"}) == {"x": 1.0, "y": -2.5}


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ('{"id": "x", "score": 1}', "arm_incomplete"),
        ('{"id": "x", "score": 1}\n{"id": "x", "score": 1}', "arm_unreadable"),
        ('{"id": "x", "score": "high"}', "arm_unreadable"),
        ('{"id": "x", "score": null}', "arm_unreadable"),
        ('{"id": "x", "score": "nan"}', "arm_unreadable"),
        ('{"id": "x"}', "arm_unreadable"),
        ("prose", "arm_unreadable"),
        ("[1]", "arm_unreadable"),
    ],
)
def test_a_file_that_does_not_score_every_document_is_refused(tmp_path: Path, content: str, code: str) -> None:
    path = tmp_path / "scores.jsonl"
    path.write_text(content + "\n")
    with pytest.raises(UsageError) as caught:
        read_scores(path, {"x", "y"})
    assert caught.value.code == code


def test_one_seed_alone_shows_nothing() -> None:
    assert statistics.paired([0.01]) == (0.01, -np.inf, np.inf, 1.0)
