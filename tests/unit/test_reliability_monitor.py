"""The monitor: what raises and clears an alarm, and that nothing but the set of labels decides it."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from mira_stream.label_messages import TeacherLabel
from mira_stream.messages import SLOTS
from mira_stream.reliability.monitor import HOUR_MS, Monitor, Status, evidence, holm
from mira_stream.reliability.proposal import proposals
from mira_stream.sections import MaskLimits, SourceSection
from tests.unit.monitor_labels import Student, blind, good, hours, label

LIMITS = MaskLimits()
ALL_BUT_A1_A2 = SLOTS[2:]


def looked(labels: list[TeacherLabel], end: int) -> Status:
    monitor = Monitor(LIMITS)
    for one in labels:
        monitor.add(one)
    return monitor.look(end * HOUR_MS)


def alarms(status: Status) -> set[tuple[str, str | None]]:
    return {(cell.slot, cell.alarm) for cell in status.alarms}


def test_a_student_as_good_as_measured_raises_nothing() -> None:
    status = looked(hours([good] * 12), 12)
    assert alarms(status) == set()
    assert [cell.window.n for cell in status.cells] == [100] * 15


def test_one_bad_window_is_not_enough_two_of_three_are() -> None:
    assert alarms(looked(hours([good, good, blind, good, good]), 5)) == set()
    raised = looked(hours([good, blind, good, blind]), 4)
    assert alarms(raised) == {("A1", "unreliable"), ("A2", "unreliable")}
    assert {(event.at_ms, event.raised) for event in raised.events} == {(4 * HOUR_MS, True)}


def test_a_corpus_that_entered_within_one_hour_is_laid_by_when_it_was_decided() -> None:
    labels = hours([blind] * 30)
    assert {one.origin.timestamp_ms // HOUR_MS for one in labels} == {0}
    assert alarms(looked(labels, 30)) == {("A1", "unreliable"), ("A2", "unreliable")}
    before = [replace(one, decided_ms=0) for one in labels]  # labels from before the field have the time of entry
    assert looked(before, 30).cells[0].window.n == len(labels)
    assert looked(before, 30).events == []


def test_an_alarm_stands_until_two_of_three_windows_say_the_contrary() -> None:
    course: list[Student] = [blind, blind, good]
    assert len(alarms(looked(hours(course), 3))) == 2
    cleared = looked(hours([*course, good]), 4)
    assert alarms(cleared) == set()
    assert [(event.at_ms // HOUR_MS, event.raised) for event in cleared.events] == [(2, True)] * 2 + [(4, False)] * 2
    again = looked(hours([*course, good, blind]), 5)
    assert alarms(again) == set(), "what was cleared needs new evidence"


def test_a_span_that_is_not_over_and_a_window_that_is_not_full_say_nothing() -> None:
    labels = hours([blind, blind])
    assert looked(labels, 1).cells[0].window.n == 100
    assert looked(labels, 0).cells == []
    assert looked(hours([blind, blind], labels=99), 2).events == []
    assert looked(hours([blind] * 4, labels=50), 4).cells[0].window.n == 100
    assert len(alarms(looked(hours([blind] * 4, labels=50), 4))) == 2


def test_a_dimension_that_was_left_out_and_is_good_may_come_back() -> None:
    out = hours([good] * 3, used=ALL_BUT_A1_A2)
    assert alarms(looked(out, 3)) == {("A1", "reliable"), ("A2", "reliable")}
    assert alarms(looked(hours([blind] * 3, used=ALL_BUT_A1_A2), 3)) == set()


def test_another_mask_begins_anew_and_the_old_alarm_is_gone() -> None:
    before, after = hours([blind] * 3), hours([blind] * 3, first=3, mask="m2", used=ALL_BUT_A1_A2)
    status = looked(before + after, 6)
    assert alarms(status) == set()
    assert {cell.unit.mask for cell in status.cells} == {"m2"}
    assert [event.raised for event in status.events] == [True, True]


def test_another_teacher_is_another_truth() -> None:
    labels = hours([blind]) + [replace(one, teacher="other") for one in hours([blind], first=1)]
    assert alarms(looked(labels, 2)) == set()


def test_labels_without_scores_measure_nothing() -> None:
    labels = [replace(one, scores=None, reason="content_deleted") for one in hours([blind] * 3)]
    assert looked(labels, 3) == Status([], [])


def test_weights_undo_what_the_sample_prefers() -> None:
    """All that is near the threshold is judged badly, and taken eleven times as often; the stream at large is fine."""

    labels = []
    for hour in range(3):
        for number in range(220):
            near = number < 20
            one = label(hour * 1_000 + 2 * number + near, hour, blind if near else good)
            labels.append(one)
    weighted = looked(labels, 3)
    cell = weighted.cells[0].window
    assert cell.n == 220
    assert cell.mae is not None
    assert cell.mae < 0.6
    assert alarms(weighted) == set()
    flat = [replace(one, inclusion=replace(one.inclusion, near=0.0)) for one in labels]
    assert (looked(flat, 3).cells[0].window.mae or 0.0) > cell.mae


COURSES = st.lists(st.sampled_from([good, blind]), min_size=2, max_size=5)


@settings(max_examples=25, deadline=None)
@given(COURSES, COURSES, st.randoms(use_true_random=False), st.lists(st.integers(0, 6), max_size=4))
def test_the_order_of_reading_and_looks_between_change_nothing(
    books: list[Student], wiki: list[Student], chance: random.Random, looks: list[int]
) -> None:
    labels = hours(books, labels=60) + hours(wiki, labels=110, source="wiki")
    expected = looked(labels, 6)
    chance.shuffle(labels)
    monitor = Monitor(LIMITS)
    for piece in range(5):
        for one in labels[piece::5]:
            monitor.add(one)
        for hour in looks:
            monitor.look(hour * HOUR_MS)
    assert monitor.look(6 * HOUR_MS) == expected


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.floats(0.001, 0.5), st.integers(0, 30))
def test_holm_rejects_no_less_than_bonferroni_and_no_more_than_each_by_itself(
    p_values: list[float], level: float, more: int
) -> None:
    tests = len(p_values) + more
    rejected = holm(p_values, level, tests)
    for p, is_rejected in zip(p_values, rejected, strict=True):
        assert is_rejected or p > level / tests
        assert not is_rejected or p <= level
    kept = [p for p, is_rejected in zip(p_values, rejected, strict=True) if not is_rejected]
    assert all(p <= min(kept, default=1.0) for p, is_rejected in zip(p_values, rejected, strict=True) if is_rejected)


def test_holm_steps_down() -> None:
    assert holm([0.03, 0.01, 0.02], 0.05, 3) == [True, True, True]
    assert holm([0.03, 0.01, 0.02], 0.05, 4) == [False, True, False]


@pytest.mark.parametrize("windows", [2, 3])
def test_evidence_is_a_p_value(windows: int) -> None:
    """Of uniform p-values, evidence is under any level as often as the level says."""
    chance = random.Random(windows)
    found = [evidence([chance.random() for _ in range(windows)]) for _ in range(20_000)]
    for level in (0.01, 0.05, 0.3):
        assert sum(one <= level for one in found) / len(found) == pytest.approx(level, rel=0.15)
    assert evidence([1e-9]) == evidence([]) == 1.0


def test_proposals_say_what_to_write_and_apply_nothing() -> None:
    labels = hours([blind] * 3) + hours([good] * 3, source="wiki", used=ALL_BUT_A1_A2) + hours([good] * 3, source="zoo")
    status = looked(labels, 3)
    sections = {"books": SourceSection(group="text", mask_remove=["A15"], mask_add=["A1"])}
    books, wiki = proposals(status.cells, sections, 3)
    assert (books.source, books.policy.mask_remove, books.policy.mask_add) == ("books", ["A1", "A2"], None)
    assert 'mask_remove = [\n    "A1",\n    "A2",\n    "A15",\n]' in books.toml
    assert "mask_add = []" in books.toml
    assert (wiki.policy.mask_add, wiki.dimensions_left, wiki.enough) == (["A1", "A2"], 15, True)
    assert "A1 unreliable: MAE" in books.policy.note
    assert books.as_json()["policy"]["schema"] == "policy.v1"


def test_a_source_with_nothing_left_is_marked() -> None:
    (proposal,) = proposals(looked(hours([blind] * 3, used=("A1", "A2", "A3")), 3).cells, {}, 3)
    assert (proposal.policy.mask_remove, proposal.policy.mask_add is not None) == (["A1", "A2"], True)
    (bare,) = proposals(looked(hours([_only_a3] * 3, used=("A1", "A2", "A3")), 3).cells, {}, 3)
    assert (bare.dimensions_left, bare.enough) == (1, False)


def _only_a3(chance: random.Random, teacher: object) -> list[float]:
    scores = [float(chance.randint(1, 10)) for _ in SLOTS]
    assert isinstance(teacher, list)
    scores[2] = teacher[2]
    return scores
