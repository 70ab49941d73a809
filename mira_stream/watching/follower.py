"""Reads `mira.teacher-labels` to its end, again and again, whoever wrote it: all the monitor knows is from there."""

from collections.abc import Collection

from mira_stream.label_messages import TeacherLabel
from mira_stream.records import LogReader, TopicPartition
from mira_stream.reliability.monitor import Monitor
from mira_stream.watching.handler import read_label


class LabelFollower:
    """Keeps a Monitor up with the topic; labels of other groups are passed over. Counts what labels have cost."""

    def __init__(self, reader: LogReader, topic: str, groups: Collection[str], monitor: Monitor) -> None:
        self._reader = reader
        self._topic = topic
        self._groups = frozenset(groups)
        self._monitor = monitor
        self._next: dict[TopicPartition, int] = {}
        self.answered = 0
        self.prompt_tokens = 0
        self.generation_tokens = 0
        self.unanswered: dict[str, int] = {}

    async def refresh(self) -> int:
        """Take in all that was committed since the last call; how many labels that were."""
        partitions = await self._reader.partitions(self._topic)
        if not partitions:
            return 0
        count = 0
        for partition, (first, end) in sorted((await self._reader.bounds(partitions)).items()):
            start = max(first, self._next.get(partition, 0))
            async for record in self._reader.read(partition, start, end):
                label = read_label(record)
                if label.group in self._groups:
                    self._count(label)
                    count += 1
            self._next[partition] = max(start, end)
        return count

    def _count(self, label: TeacherLabel) -> None:
        self._monitor.add(label)
        self.prompt_tokens += label.prompt_tokens
        self.generation_tokens += label.generation_tokens
        if label.reason is None:
            self.answered += 1
        else:
            self.unanswered[label.reason] = self.unanswered.get(label.reason, 0) + 1
