"""Documents that were deleted: which of them a card or an outcome says to have been read."""

from collections.abc import Iterable

from mira_stream.audit.origins import Origins
from mira_stream.messages import Origin
from mira_stream.records import TopicPartition

WEB = TopicPartition("web", 0)


def left(cards: Iterable[tuple[int, int]], *, made_anew: bool) -> int:
    """Of ten that are unread by the Progress, 20 to 29; `cards`: offset and time of their documents."""
    origins = Origins({WEB: (40, 90)}, {WEB: [(20, 29)]}, {WEB} if made_anew else set())
    for offset, timestamp_ms in cards:
        origins.note_deleted(Origin(topic="web", partition=0, offset=offset, timestamp_ms=timestamp_ms))
    return sum(many for _, _, _, many in origins.deleted_unread())


def test_what_has_a_card_was_read_whatever_is_committed() -> None:
    assert left([], made_anew=False) == 10
    assert left([(offset, offset) for offset in (3, 21, 22, 22, 30)], made_anew=False) == 8


def test_cards_of_the_log_before_do_not_stand_for_documents_of_this_one() -> None:
    before = [(offset, 1_000 + offset) for offset in range(40)]
    now = [(offset, 9_000 + offset) for offset in range(20)]
    assert left([*before, *now], made_anew=True) == 10
    assert left([*now, *before], made_anew=True) == 10
    assert left(before, made_anew=False) == 0, "one log: all were read"


def test_of_a_log_made_anew_what_was_read_further_on_was_read() -> None:
    before = [(offset, 1_000 + offset) for offset in range(40)]
    now = [(offset, 9_000 + offset) for offset in range(25)]
    assert left([*before, *now], made_anew=True) == 5


def test_where_nothing_of_a_log_made_anew_was_read_its_first_cards_are_of_the_one_before() -> None:
    origins = Origins({WEB: (40, 90)}, {WEB: [(0, 39)]}, {WEB})
    for offset in range(40):
        origins.note_deleted(Origin(topic="web", partition=0, offset=offset, timestamp_ms=1_000 + offset))
    assert [many for _, _, _, many in origins.deleted_unread()] == [40]


def test_where_no_document_of_a_log_made_anew_is_left_what_is_named_there_is_of_the_one_before() -> None:
    """Retention has left ends of transactions, which take offsets, too."""

    def where(offset: int, *, made_anew: bool) -> str:
        origins = Origins({WEB: (4, 6)}, {}, {WEB} if made_anew else set())
        return origins.find(Origin(topic="web", partition=0, offset=offset, timestamp_ms=1_000))[1]

    assert [where(offset, made_anew=True) for offset in (3, 4, 5, 6)] == ["before", "earlier", "earlier", "after"]
    assert [where(offset, made_anew=False) for offset in (3, 4, 5, 6)] == ["before", "unknown", "unknown", "after"]
