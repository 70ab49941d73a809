"""The agent group's features: any text gets fifteen scores, and each feature measures what it says."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mira_stream.demo
from mira_stream.demo.corpus_agent import SOURCES, documents
from mira_stream.demo.featurejudge.agent import FEATURES, blocks, observed, prose, turns
from mira_stream.messages import SLOTS
from mira_stream.render import cut, render

PROJECT = Path(mira_stream.demo.__path__[0]) / "project"
VIEW = """### user
Please fix f.

### assistant
The fault sits at line 2.
-> view_file {"path": "f.py", "start": 1}

### tool view_file
 1| def f(x):
 2|     return x

### assistant
-> str_replace {"path": "f.py", "old": "return x", "new": "return -x"}

### tool str_replace
edited f.py at line 2

### tool run_tests
PASS 1 f(1)
FAIL 2 f(2)
  expected -2, got 2
1 passed, 1 failed

### assistant
The work on f is complete."""

CHANGES = [
    ("A1", "The work", "As the next step of the plan, the work", 1),
    ("A2", "The work", "Perhaps, I guess, the work", -1),
    ("A3", "FAIL 2", "PASS 2", 1),
    ("A4", "is complete.", "is complete, and nothing of it is left for another day in this week or any.", 1),
    ("A5", "is complete.", "is complete, I verify it and check each case.", 1),
    ("A6", "is complete.", "is complete again, as already seen before.", 1),
    ("A7", "PASS 1", "FAIL 1", -1),
    ("A8", '"start": 1', '"start": 1, "end": 2, "wrap": false, "numbers": true', 1),
    ("A9", "edited f.py at line 2", "edited f.py\n\n### tool again\nat line 2", -1),
    ("A10", "is complete.", "is complete as the user asked and the issue requires.", 1),
    ("A11", "is complete.", "is complete, I also rename everything else.", -1),
    ("A12", "edited f.py at line 2", "edited f.py at line 2 and wrote a file of two lines, all of it new", 1),
    ("A13", '"new": "return -x"', '"new": "result = -x\\n    return result  # the negative of what came in"', -1),
    ("A14", " 2|     return x", " 2|     y = x\n 3|     z = y\n 4|     return z", 1),
    ("A15", "on f is", "on `f` is", 1),
]


def measured(slot: str, view: str) -> float:
    """Rises with the score, whichever way the feature counts."""
    feature = FEATURES[SLOTS.index(slot)]
    return feature.measure(view) if feature.rising else -feature.measure(view)


@given(st.text() | st.lists(st.sampled_from(VIEW.splitlines()), max_size=40).map("\n".join))
def test_any_text_gets_scores(view: str) -> None:
    assert all(1 <= feature.score(view) <= 10 for feature in FEATURES)


@pytest.mark.parametrize(("slot", "old", "new", "sign"), CHANGES, ids=[change[0] for change in CHANGES])
def test_a_feature_follows_what_it_measures(slot: str, old: str, new: str, sign: int) -> None:
    assert VIEW.count(old) == 1
    changed = VIEW.replace(old, new)
    assert sign * (measured(slot, changed) - measured(slot, VIEW)) > 0


def test_every_dimension_is_tried() -> None:
    assert [slot for slot, *_ in CHANGES] == list(SLOTS)


def test_blocks_of_a_view() -> None:
    found = blocks(VIEW)
    assert found.turns == 7
    assert found.prose == len("The fault sits at line 2.\n" + "\n" + "\n" + "The work on f is complete.")
    assert found.edits == len('-> str_replace {"path": "f.py", "old": "return x", "new": "return -x"}\n')
    assert prose("") == observed("") == turns("") == 0.0


def test_a_cut_view_without_its_first_header_is_read() -> None:
    assert blocks("left over\n### tool x\nabc").observed == 3


def test_cuts_ascend_and_words_are_given() -> None:
    assert len(FEATURES) == len(SLOTS)
    for feature in FEATURES:
        assert len(feature.cuts) == 9
        assert sorted(set(feature.cuts)) == list(feature.cuts)
        assert "" != feature.low != feature.high != ""


@pytest.mark.parametrize("source", sorted(SOURCES))
def test_scores_spread_within_each_source(source: str) -> None:
    views = [
        cut(
            render(document, "agent"),
            lambda text: [(i, i + 3) for i in range(0, len(text), 3)],
            32_768,
            480,
            "head_tail",
        )
        for document in documents(source, 300)
    ]
    for slot, feature in zip(SLOTS, FEATURES, strict=True):
        counts = Counter(feature.score(view.text) for view in views)
        assert max(counts.values()) <= 0.45 * len(views), (slot, counts)
        assert len(counts) >= 6, (slot, counts)
