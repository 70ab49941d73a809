"""Which documents and views a teacher judges, and the rows its replies become."""

import random
from collections.abc import Collection, Iterable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mira_stream.chance import is_heldout, u
from mira_stream.distill.choosing import Candidate, Draw, choose, warnings
from mira_stream.distill.labels import (
    SCHEMA,
    Augmentation,
    Chosen,
    Label,
    check_prompt,
    check_rubric,
    columns,
    is_measured,
    label,
    rows,
    split_of,
    views,
)
from mira_stream.errors import ConfigError, DocumentError
from mira_stream.messages import SLOTS, Document
from mira_stream.render import Offsets
from mira_stream.scorecard import Reply, parse, write
from mira_stream.sections import GroupSection

SETTINGS = GroupSection(family="text", document_tokens_max=100)
TRAINING = next(f"d{i}" for i in range(99) if not is_heldout(f"d{i}"))
HELDOUT = next(f"d{i}" for i in range(99) if is_heldout(f"d{i}"))
TEXT = "".join(f"line {i} of the text\n" for i in range(200))


def words(text: str) -> Offsets:
    """A token is two characters."""
    return [(start, min(start + 2, len(text))) for start in range(0, len(text), 2)]


def document(identifier: str, text: str = TEXT) -> Chosen:
    return Chosen(identifier, "s", text, identifier, split_of(identifier, identifier) or "distill")


def test_a_held_out_document_has_the_students_view_alone() -> None:
    found = list(views(document(HELDOUT), SETTINGS, 1000, words, Augmentation(3, 3)))
    assert [(view.window, view.cut, view.split) for view in found] == [(0, 0, "heldout")]
    assert "characters left out" in found[0].view


def test_a_training_document_gives_windows_and_their_beginnings() -> None:
    found = list(views(document(TRAINING), SETTINGS, 1000, words, Augmentation(3, 2)))
    assert {view.split for view in found} == {"distill"}
    assert [(view.window, view.cut) for view in found] == [(w, c) for w in range(3) for c in range(2)]
    for whole, part in zip(found[::2], found[1::2], strict=True):
        assert whole.view.startswith(part.view)
        assert len(part.view) < len(whole.view)
    assert all(window.view in TEXT and TEXT[TEXT.index(window.view) - 1] == "\n" for window in found[2::2])
    assert found == list(views(document(TRAINING), SETTINGS, 1000, words, Augmentation(3, 2)))


def test_a_window_that_begins_where_another_does_is_not_asked_about_again() -> None:
    found = list(views(document(TRAINING, "a text of one line, " * 9), SETTINGS, 1000, words, Augmentation(4, 1)))
    assert [view.window for view in found] == [0]


@given(text=st.text(max_size=300), more=st.tuples(st.integers(1, 3), st.integers(1, 4)))
@settings(max_examples=80)
def test_no_view_is_empty_or_over_the_budget(text: str, more: tuple[int, int]) -> None:
    found = list(views(document(TRAINING, f"x{text}"), SETTINGS, 1000, words, Augmentation(*more)))
    assert all(view.view.strip() and len(words(view.view)) <= SETTINGS.document_tokens_max for view in found)


def test_what_is_measured_is_held_out_and_about_half_of_it() -> None:
    names = [f"document-{i}" for i in range(4000)]
    measured = [name for name in names if is_measured(name)]
    assert all(map(is_heldout, measured))
    assert 0.4 < len(measured) / sum(map(is_heldout, names)) < 0.6


def test_a_label_goes_through_its_columns() -> None:
    view = next(iter(views(document(HELDOUT), SETTINGS, 1000, words, Augmentation())))
    reply = write(Reply(list(range(1, 11)) + [5] * 5, 53, "downsample"), "scores_first", "scores", SLOTS)
    row = label(view, parse(reply, "scores_first", SLOTS))
    assert (row.scores[9], row.overall, row.recommendation) == (10.0, 53.0, "downsample")
    table = columns([row, row])
    assert list(table) == list(SCHEMA)
    assert rows(table, lambda one: msgspec.convert(one, Label)) == [row, row]


def test_a_reply_that_lacks_anything_is_no_label() -> None:
    view = next(iter(views(document(HELDOUT), SETTINGS, 1000, words, Augmentation())))
    reply = write(Reply([7] * 15, 70, "keep"), "scores_first", "scores", SLOTS)
    with pytest.raises(DocumentError, match="no words for A1"):
        label(view, parse(reply, "scores_first", SLOTS), [None] * 15)
    for broken in (reply.replace("[A4] 7/10\n", ""), reply.replace("overall", "total"), reply.replace("keep", "yes")):
        with pytest.raises(DocumentError, match="reply_unreadable"):
            label(view, parse(broken, "scores_first", SLOTS))


def test_words_of_a_rationale_are_kept_and_all_of_them_are_wanted() -> None:
    view = next(iter(views(document(HELDOUT), SETTINGS, 1000, words, Augmentation())))
    reasons = [f"reason {slot}" for slot in SLOTS]
    reply = write(Reply([7] * 15, 70, "keep", "tag", "A brief.", reasons), "scores_first", "rationale", SLOTS)
    row = label(view, parse(reply, "scores_first", SLOTS), reasons)
    assert (row.justifications, row.domain_tag, row.brief) == (reasons, "tag", "A brief.")
    silent = parse(reply.replace("brief: A brief.", ""), "scores_first", SLOTS)
    with pytest.raises(DocumentError, match="no words for A3, brief"):
        label(view, silent, [*reasons[:2], None, *reasons[3:]])


def named(held: bool, number: int, start: str = "") -> list[str]:
    """So many ids that are held out by themselves, or are not."""
    return [name for i in range(400) if is_heldout(name := f"{start}n{i:03}") == held][:number]


def text(seed: int) -> str:
    chance = random.Random(seed)
    return " ".join(f"w{chance.randrange(5000)}" for _ in range(200))


def test_without_copies_the_split_is_that_of_the_id() -> None:
    names = [f"x{i}" for i in range(60)]
    found = choose(Candidate(name, "s", text(i)) for i, name in enumerate(names))
    assert [(one.id, one.split, one.cluster) for one in found.documents] == [
        (name, "heldout" if is_heldout(name) else "distill", name) for name in names
    ]
    assert (found.repeated, found.crossing, found.copies) == (0, 0, 0)


def test_copies_stand_on_the_side_of_their_cluster_and_never_on_both() -> None:
    held, training = named(True, 2, "b"), named(False, 2, "b")
    first_held, first_training = named(True, 1, "a"), named(False, 1, "a")
    candidates = [Candidate(name, "s", text(1)) for name in (*first_held, *training)]
    candidates += [Candidate(name, "s", text(2)) for name in (*first_training, *held)]
    found = choose(candidates)
    splits = {one.id: one.split for one in found.documents}
    assert {splits[name] for name in (*first_held, *training)} == {"heldout"}
    assert splits == {**dict.fromkeys((*first_held, *training), "heldout"), first_training[0]: "distill"}
    assert found.crossing == len(held)
    assert {one.cluster for one in found.documents} == {first_held[0], first_training[0]}


@given(groups=st.lists(st.integers(0, 5), min_size=1, max_size=40))
@settings(max_examples=40, deadline=None)
def test_no_cluster_is_on_both_sides_and_nothing_held_out_is_trained_on(groups: list[int]) -> None:
    found = choose(Candidate(f"c{i}", "s", text(group)) for i, group in enumerate(groups))
    sides: dict[str, set[str]] = {}
    for one in found.documents:
        sides.setdefault(one.cluster, set()).add(one.split)
        assert one.split == "heldout" or not is_heldout(one.id)
        assert (one.split == "heldout") == (u("split", one.cluster) < 0.3)
    assert all(len(split) == 1 for split in sides.values())
    assert len(found.documents) + found.crossing == len(groups)


def test_an_id_may_occur_in_two_sources_but_once_in_each() -> None:
    ids = [name for name in (f"q{i}" for i in range(40)) if not is_heldout(name)][:5]
    candidates = []
    for source in ("s", "t"):
        draw = Draw(3, 0)
        for name in (*ids, *ids, ids[0]):
            draw.add(Document(id=name, source=source, text=name))
        candidates += [Candidate(one.id, source, text(int(one.id[1:])), again) for one, again in draw.drawn()]
    found = choose(candidates)
    names = [(one.source, one.id) for one in found.documents]
    assert len(names) == len(set(names)) == 6
    assert found.repeated == 6 + 2 * (ids[0] in {name for _, name in names})


def drawn(names: Iterable[str], documents: int, heldout: int, asked: Collection[str] = ()) -> list[str]:
    draw = Draw(documents, heldout, asked.__contains__)
    for name in names:
        draw.add(Document(id=name, source="s", text=""))
    others = draw.not_by_chance
    found = [one.document.id for one in draw.drawn()]
    assert others == len(set(found) - set(drawn(names, documents, heldout)) if asked else ())
    return found


NAMES = [f"q{i}" for i in range(400)]


@given(order=st.permutations(NAMES), documents=st.integers(0, 300), heldout=st.integers(0, 80))
@settings(max_examples=30, deadline=None)
def test_a_draw_rests_on_ids_alone_and_a_larger_one_contains_it(order: list[str], documents: int, heldout: int) -> None:
    found = drawn(order, documents, heldout)
    assert found == sorted(found, key=order.index), "in the order of reading"
    sides = [is_heldout(name) for name in found]
    assert sides.count(False) == min(documents, sum(not is_heldout(name) for name in NAMES))
    assert sides.count(True) == min(heldout, sum(is_heldout(name) and is_measured(name) for name in NAMES))
    assert all(is_measured(name) for name in found if is_heldout(name))
    assert set(found) == set(drawn(NAMES, documents, heldout))
    assert set(found) <= set(drawn(NAMES, documents + 7, heldout + 3))


def test_a_draw_is_spread_over_all_that_a_source_has() -> None:
    found = drawn(NAMES, 100, 20)
    places = [NAMES.index(name) for name in found]
    assert 160 < sum(places) / len(places) < 240
    assert found != NAMES[:120]


@given(asked=st.sets(st.sampled_from(NAMES)), documents=st.integers(1, 200))
@settings(max_examples=30, deadline=None)
def test_what_was_asked_about_before_is_drawn_first(asked: set[str], documents: int) -> None:
    """A labelling that was begun in the order of its file goes on with what it paid for."""
    before = {name for name in asked if not is_heldout(name)}
    found = set(drawn(NAMES, documents, 0, asked))
    assert before <= found or found <= before
    assert found == set(drawn(NAMES, documents, 0)) or before


HOW_MANY = " (some 15 of 100 documents of a source are measured on)"


def test_what_is_neither_trained_nor_measured_on_is_counted() -> None:
    draw = Draw(1_000, 1_000)
    for name in NAMES:
        draw.add(Document(id=name, source="s", text=""))
    assert draw.set_aside == sum(is_heldout(name) and not is_measured(name) for name in NAMES) > 0
    assert draw.set_aside + len(list(draw.drawn())) == len(NAMES)


def test_small_sources_are_warned_of() -> None:
    found = choose(Candidate(name, "tiny", text(i)) for i, name in enumerate(named(False, 3)))
    assert warnings(found, ["tiny", "void"]) == [
        "tiny: 0 held-out documents; under 100 a reliability table is a lottery" + HOW_MANY,
        "void: no document to train on",
        "void: 0 held-out documents; under 100 a reliability table is a lottery" + HOW_MANY,
    ]


def test_labels_of_another_rubric_are_refused() -> None:
    check_rubric(Path("l"), {"rubric": "a"}, "a", "")
    check_rubric(Path("l"), {}, "a", "")
    with pytest.raises(ConfigError, match="rubric_mismatch"):
        check_rubric(Path("l"), {"rubric": "a"}, "b", "")


def test_labels_of_another_prompt_are_refused_by_every_later_stage() -> None:
    check_prompt(Path("l"), {"prompt": "a"}, "a", "")
    check_prompt(Path("l"), {}, "a", "")
    with pytest.raises(ConfigError, match=r"prompt_mismatch.*mira-stream label --group g --anew"):
        check_prompt(Path("l"), {"prompt": "a"}, "b", "mira-stream label --group g")
