"""What a stream has done so far, counted from its own topics (read_committed): nothing is taken on trust."""

from collections import Counter
from collections.abc import AsyncIterator
from typing import Final

import msgspec

from mira_stream.config import Project
from mira_stream.messages import DeadLetter, Decision, Epoch, IngestPosition
from mira_stream.records import LogReader, Record, TopicPartition
from mira_stream.selecting.policies import PolicyLog


class Tally:
    """Follows the topics from their beginning; `poll` takes in what was committed since the last call."""

    def __init__(self, project: Project, reader: LogReader) -> None:
        self.positions: dict[str, IngestPosition] = {}
        self.scored: Counter[str] = Counter()
        self.decisions: list[Decision] = []
        self.dead: list[DeadLetter] = []
        self.epochs: dict[str, Epoch] = {}
        self.policies = PolicyLog(project.settings.topics.scores_key)
        self._project = project
        self._reader = reader
        self._next: dict[TopicPartition, int] = {}
        self._decision: Final = msgspec.json.Decoder(Decision)
        self._dead: Final = msgspec.json.Decoder(DeadLetter)
        self._epoch: Final = msgspec.json.Decoder(Epoch)
        self._position: Final = msgspec.json.Decoder(IngestPosition)

    @property
    def produced(self) -> int:
        """Documents that entered the stream, those that were refused at its door included."""
        return sum(position.documents + position.rejected for position in self.positions.values())

    @property
    def settled(self) -> int:
        """Documents that have ended: as a decision or as a dead letter."""
        return len(self.decisions) + len(self.dead)

    @property
    def decisions_end(self) -> dict[TopicPartition, int]:
        """The offset after the last decision of each partition."""
        topic = self._project.topic("decisions")
        return {partition: end for partition, end in self._next.items() if partition.topic == topic}

    async def poll(self) -> None:
        """Read on. Scores and decisions before what they follow from, so that no count runs ahead of its cause."""
        async for record in self._new("decisions"):
            self.decisions.append(self._decision.decode(record.value or b""))
        async for record in self._new("dead-letters"):
            self.dead.append(self._dead.decode(record.value or b""))
        async for record in self._new("scores"):
            self.scored[(record.key or b"").decode()] += 1
        async for record in self._new("epochs"):
            epoch = self._epoch.decode(record.value or b"")
            self.epochs[epoch.epoch_of] = epoch
        self.policies.extend([record async for record in self._new("policy")])
        async for record in self._new("ingest"):
            position = self._position.decode(record.value or b"")
            self.positions[position.feed] = position

    async def _new(self, name: str) -> AsyncIterator[Record]:
        partitions = await self._reader.partitions(self._project.topic(name))
        for partition, (first, end) in (await self._reader.bounds(partitions)).items():
            begin = max(first, self._next.get(partition, 0))
            if begin >= end:
                continue
            async for record in self._reader.read(partition, begin, end):
                self._next[partition] = record.offset + 1
                yield record
