"""Which partition of the score log a source group belongs to: the one that its state of record is on.

Sketch, debt and epoch numbers of a group are known to the owner of one partition. Were its cards to go to another one,
that one's owner would begin anew beside the first: another key, or another number of partitions, moves them.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from mira_stream.errors import DataLossError
from mira_stream.records import LogReader, TopicPartition
from mira_stream.selecting.restore import CHECKPOINT_KEY, WINDOWS_KEY

WAY_OUT: Final = 'deploy/OPERATING.md, "More partitions", says how to go on; [topics] scores_key stays as it began'


class _Grouped(msgspec.Struct):
    group: str


_decoder: Final = msgspec.json.Decoder(_Grouped)


async def homes(reader: LogReader, state_topic: str) -> Mapping[str, frozenset[int]]:
    """By group, the partitions that hold a state of it. What cannot be read is left to `restore`."""
    found: dict[str, set[int]] = {}
    for partition, (first, end) in (await reader.bounds(await reader.partitions(state_topic))).items():
        if first == end:
            continue
        async for record in reader.read(partition, first, end):
            key = record.key or b""
            if key == CHECKPOINT_KEY or key.startswith(WINDOWS_KEY):
                continue
            try:
                found.setdefault(_decoder.decode(record.value or b"").group, set()).add(partition.partition)
            except msgspec.DecodeError:
                continue
    return {group: frozenset(partitions) for group, partitions in found.items()}


class Homes:
    """Whether a group that comes to a partition has its state on another one. `forget` what was read, once a
    transaction."""

    def __init__(self, scores: TopicPartition, state_topic: str, reader: LogReader) -> None:
        self._scores = scores
        self._state_topic = state_topic
        self._reader = reader
        self._known: set[str] = set()
        self._found: Mapping[str, frozenset[int]] | None = None

    async def open(self) -> None:
        """Raises DataLossError(score_log_widened): there is no partition for the state of these cards."""
        there = await self._reader.partitions(self._state_topic)
        if TopicPartition(self._state_topic, self._scores.partition) not in there:
            raise widened(self._scores.topic, self._scores.partition + 1, self._state_topic, len(there), "at least ")

    async def admit(self, group: str) -> None:
        """Before the first card of a group. Raises DataLossError(score_log_moved)."""
        if group in self._known:
            return
        if self._found is None:
            self._found = await homes(self._reader, self._state_topic)
        others = self._found.get(group, frozenset()) - {self._scores.partition}
        if others:
            raise moved(group, self._scores.topic, self._scores.partition, self._state_topic, min(others))
        self._known.add(group)

    def forget(self) -> None:
        self._found = None


def moved(group: str, scores_topic: str, to: int, state_topic: str, home: int) -> DataLossError:
    return DataLossError(
        "score_log_moved",
        f"cards of group {group} go to {scores_topic}/{to}, its state is on {state_topic}/{home}: the topic has more"
        " partitions than at its first card, or scores_key changed",
        WAY_OUT,
    )


def widened(scores_topic: str, partitions: int, other_topic: str, others: int, about: str = "") -> DataLossError:
    return DataLossError(
        "score_log_widened",
        f"{scores_topic} has {about}{partitions} partitions, {other_topic} {others}",
        WAY_OUT,
    )
