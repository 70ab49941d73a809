"""What a reader that trusts only commits finds in a topic: read by aiokafka alone, whoever wrote it."""

import time
from collections import Counter
from collections.abc import Callable
from typing import Self

from aiokafka import AIOKafkaConsumer, ConsumerRecord

Name = Callable[["ConsumerRecord[bytes, bytes]"], bytes]
POLL_MS = 100


class Reader:
    """Counts the records of a topic under `read_committed`, by a name that is made of each; `seen_at` is the wall clock
    (s) when the last of them came. A context."""

    def __init__(self, bootstrap: str, topic: str, name: Name) -> None:
        self._consumer = AIOKafkaConsumer(
            topic,
            bootstrap_servers=bootstrap,
            group_id=None,  # without a group all partitions are assigned
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            fetch_max_bytes=64 << 20,
            max_partition_fetch_bytes=8 << 20,
        )
        self._name = name
        self.found: Counter[bytes] = Counter()
        self.seen_at = 0.0

    async def __aenter__(self) -> Self:
        await self._consumer.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._consumer.stop()

    async def read(self) -> int:
        """What has come since, or comes soon, as soon as it does; how many different names there are now."""
        came = await self._consumer.getmany(timeout_ms=POLL_MS)
        if came:
            self.seen_at = time.time()
        for records in came.values():
            self.found.update(map(self._name, records))
        return len(self.found)

    async def read_to_end(self) -> int:
        """All that was committed when this was called."""
        ends = await self._consumer.end_offsets(self._consumer.assignment())
        while any([await self._consumer.position(partition) < end for partition, end in ends.items()]):
            await self.read()
        return len(self.found)
