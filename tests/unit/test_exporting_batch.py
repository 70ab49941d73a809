"""A batch's files and the thread that writes them, when everything is cancelled at once."""

import asyncio
from pathlib import Path
from threading import Event
from typing import Any, BinaryIO

from mira_stream.exporting.batch import Batch, BatchWriter
from mira_stream.messages import CardPosition, Decision, Origin
from mira_stream.testing.broker import MemoryBroker

DECISION = Decision(
    id="d0", source="docs", group="text",
    origin=Origin(topic="documents.text", partition=0, offset=0, timestamp_ms=1),
    card=CardPosition(partition=0, offset=0), lineage="l", mask="m", epoch_of="docs", epoch=1, policy=0,
    decision="keep", selected=False, reason="above", quality=70.0, dimensions_used=["A1"], scores=[7.0] * 15,
    ref=None, overall=None, recommendation=None, domain_tag=None, brief=None, tokens=10, event_time_ms=1,
)  # fmt: skip


class Table:
    """Writes until it is let go."""

    def __init__(self) -> None:
        self.begun, self.let_go, self.closed = Event(), Event(), Event()
        self.order: list[str] = []

    def __call__(self, sink: BinaryIO, schema: Any) -> "Table":
        return self

    def write(self, columns: Any) -> None:
        self.begun.set()
        assert self.let_go.wait(30)
        self.order.append("written")

    def close(self) -> None:
        self.order.append("closed")
        self.closed.set()


async def test_a_table_is_not_closed_while_a_thread_writes_it(tmp_path: Path) -> None:
    table = Table()
    writer = BatchWriter(tmp_path, Batch(0, 0, 0, [DECISION]), table)
    reader = await MemoryBroker().reader()
    writing = asyncio.create_task(writer.write(reader))
    await asyncio.to_thread(table.begun.wait, 30)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()  # as a loop does that is closed: also the task that waits for the thread
    assert not await asyncio.to_thread(table.closed.wait, 0.2)
    table.let_go.set()
    await asyncio.wait({writing})
    assert await asyncio.to_thread(table.closed.wait, 30)
    assert table.order == ["written", "closed"]
