"""The messages of how far a consumer group is, and what it was told to do without."""

from typing import Final

from msgspec import Struct, field

from mira_stream.messages import Wire


class WrittenOff(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a person went on without (`--accept-loss`): deleted unread, or scored into a log that is gone, for good, or
    passed over by an offset that was moved, until it is moved back; markers of transactions too.

    `offsets`: how many, as far as that is known. `ranges`: the newest of them, first and last inclusive, in the order
    in which they were written off. One without a last is the rest of a log that was made anew, of which nobody knows
    how much there was; ranges before it are of that log or of one before. `rests`: how often that was so.
    """

    offsets: int = 0
    rests: int = 0
    ranges: list[tuple[int, int | None]] = field(default_factory=list)


class Progress(Wire, frozen=True, kw_only=True, tag="progress.v1"):
    """How far a consumer group is with one partition: every offset before `next_offset` is finished, and above it the
    ranges `finished` (first and last inclusive). Written in the transaction of the results and of the offset.
    `topic_id`: the broker's for the topic, where it gives one; a topic that is deleted and made anew has another.
    `written_off`: of the partition since its first Progress; each one carries it on. So does `results_id`, a scorer's:
    the broker's id of the score log that its cards went to; one that is made anew shows so, though nobody has read it.
    """

    topic: str
    partition: int
    next_offset: int
    finished: list[tuple[int, int]] = field(default_factory=list)
    topic_id: str = ""
    written_off: WrittenOff | None = None
    results_id: str = ""


PROGRESS_MESSAGES: Final[tuple[type[Wire], ...]] = (Progress,)
