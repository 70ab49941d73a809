"""Bring a partition's selector and windows back to where the committed offset says they were: newest states, then a
replay."""

from typing import Final, NamedTuple

import msgspec

from mira_stream.errors import DataLossError
from mira_stream.messages import Checkpoint, M, ScoreCard, SourceState, decoder
from mira_stream.records import LogReader, Record, TopicPartition
from mira_stream.selecting.following import check_states, passed_over
from mira_stream.selecting.policies import PolicyLog
from mira_stream.selecting.selector import Selector
from mira_stream.selecting.windowing import Windowing
from mira_stream.window_messages import WindowsState

CHECKPOINT_KEY: Final = b"@checkpoint"
WINDOWS_KEY: Final = b"@windows|"
_state_decoder: Final = decoder(SourceState)
_windows_decoder: Final = decoder(WindowsState)
_checkpoint_decoder: Final = decoder(Checkpoint)
_card_decoder: Final = decoder(ScoreCard)


class Newest(NamedTuple):
    """The newest record of every key of a state partition. `checkpoint`: next offset of the newest, if there is one."""

    states: list[SourceState]
    windows: list[WindowsState]
    checkpoint: int | None


async def restore(
    selector: Selector,
    windowing: Windowing,
    reader: LogReader,
    scores: TopicPartition,
    state: TopicPartition,
    epochs: TopicPartition,
    policies: PolicyLog,
    next_offset: int,
) -> int:
    """Fill a fresh selector and fresh windows; the number of cards since the last checkpoint.

    Raises DataLossError: state_unreadable, state_lost (epochs without states), state_ahead (the committed offset was
    moved back), score_log_lost (retention took cards that no checkpoint covers), policy_lost.
    """
    states, windows, checkpoint = await _newest(reader, state)
    bounds = await reader.bounds([scores, epochs])
    known = max([checkpoint or 0, *(one.next_offset for one in states), *(one.next_offset for one in windows)])
    if known > next_offset:
        raise DataLossError(
            "state_ahead",
            f"{_name(state)} knows cards up to {known}, but {_name(scores)} is to be read from {next_offset}",
            "decisions would be made twice: set the consumer group's offset back to where it was",
        )
    if not states and await _holds_records(reader, epochs, *bounds[epochs]):
        raise DataLossError(
            "state_lost",
            f"{_name(epochs)} has epochs, {_name(state)} has no state",
            "restore the state topic from a backup; deciding anew would not continue these epochs",
        )
    check_states(states, policies)
    selector.restore([passed_over(state, policies) for state in states], policies.rules)
    windowing.restore(windows)
    first_retained = bounds[scores][0]
    first = checkpoint or 0
    if states and first < min(first_retained, next_offset):
        raise DataLossError(
            "score_log_lost",
            f"{_name(scores)} begins at {first_retained}, the last checkpoint is {first}",
            "keep score cards longer than it takes to reach limits.checkpoint_cards; restore the topic from a backup",
        )
    return await _replay(selector, windowing, reader, scores, max(first, first_retained), next_offset)


async def _holds_records(reader: LogReader, partition: TopicPartition, first: int, end: int) -> bool:
    """Offsets alone do not tell: an aborted transaction takes some, too."""
    async for _ in reader.read(partition, first, end):
        return True
    return False


async def _replay(
    selector: Selector, windowing: Windowing, reader: LogReader, scores: TopicPartition, first: int, end: int
) -> int:
    cards = 0
    if first < end:
        async for record in reader.read(scores, first, end):
            cards += 1
            try:
                card = _card_decoder.decode(record.value or b"")
            except msgspec.DecodeError:
                continue  # its dead letter was committed with its offset
            decision = selector.replay(card, record.offset)
            if decision is not None:
                windowing.replay(decision)
    return cards


async def _newest(reader: LogReader, partition: TopicPartition) -> Newest:
    """Only the newest record of a key is decoded: a topic holds several until it is compacted."""
    first, end = (await reader.bounds([partition]))[partition]
    newest: dict[bytes, Record] = {}
    if first < end:
        async for record in reader.read(partition, first, end):
            newest[record.key or b""] = record
    mark = newest.pop(CHECKPOINT_KEY, None)
    windows = {key: record for key, record in newest.items() if key.startswith(WINDOWS_KEY)}
    return Newest(
        [_decoded(record, _state_decoder) for key, record in newest.items() if key not in windows],
        [_decoded(record, _windows_decoder) for record in windows.values()],
        None if mark is None else _decoded(mark, _checkpoint_decoder).next_offset,
    )


def _decoded(record: Record, of: msgspec.json.Decoder[M]) -> M:
    try:
        return of.decode(record.value or b"")
    except msgspec.DecodeError as error:
        raise DataLossError(
            "state_unreadable",
            f"{_name(record.source)}@{record.offset}: {error}",
            "run the version that wrote it, or restore the topic from a backup",
        ) from None


def _name(partition: TopicPartition) -> str:
    return f"{partition.topic}/{partition.partition}"
