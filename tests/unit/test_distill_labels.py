"""Which views a teacher judges, and the rows its replies become."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mira_stream.chance import is_heldout
from mira_stream.config import GroupSection
from mira_stream.distill.labels import SCHEMA, Augmentation, Label, columns, is_measured, label, rows, views
from mira_stream.errors import DocumentError
from mira_stream.messages import SLOTS, Document
from mira_stream.render import Offsets
from mira_stream.scorecard import Reply, parse, write

SETTINGS = GroupSection(family="text", document_tokens_max=100)
TRAINING = next(f"d{i}" for i in range(99) if not is_heldout(f"d{i}"))
HELDOUT = next(f"d{i}" for i in range(99) if is_heldout(f"d{i}"))
TEXT = "".join(f"line {i} of the text\n" for i in range(200))


def words(text: str) -> Offsets:
    """A token is two characters."""
    return [(start, min(start + 2, len(text))) for start in range(0, len(text), 2)]


def document(identifier: str, text: str = TEXT) -> Document:
    return Document(id=identifier, source="s", text=text)


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
    for broken in (reply.replace("[A4] 7/10\n", ""), reply.replace("overall", "total"), reply.replace("keep", "yes")):
        with pytest.raises(DocumentError, match="reply_unreadable"):
            label(view, parse(broken, "scores_first", SLOTS))
