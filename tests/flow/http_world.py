"""The HTTP producer over the in-memory broker, and requests to it."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from prometheus_client import CollectorRegistry

from mira_stream.config import Project, Settings
from mira_stream.messages import Document, decoder
from mira_stream.sections import GroupSection, IngestSection, SourceSection
from mira_stream.streaming.ingest_metrics import IngestMetrics
from mira_stream.streaming.ports import Broker
from mira_stream.streaming.topics import topic_specs
from mira_stream.testing.broker import MemoryBroker
from producers.http import HttpProducer, Limits

URL = "/v1/documents"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def until(condition: Callable[[], bool]) -> None:
    """Let others run until it holds; they do not wait for time."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - they tell no event
            await asyncio.sleep(0)


class World:
    def __init__(self, folder: Path) -> None:
        settings = Settings(
            groups={name: GroupSection(family=name) for name in ("text", "agent", "qa")},
            sources={name: SourceSection(group=name) for name in ("text", "agent", "qa")}
            | {"web": SourceSection(group="text"), "unplaced": SourceSection(family="text")},
            ingest=IngestSection(inline_bytes_max=2_000),
        )
        self.project = Project(folder, settings)
        self.broker = MemoryBroker()
        self.registry: CollectorRegistry
        self.producer: HttpProducer

    @asynccontextmanager
    async def serving(
        self, limits: Limits | None = None, broker: Broker | None = None
    ) -> AsyncIterator[httpx.AsyncClient]:
        """One life of the producer; left by an error or `kill`, it dies without a word."""
        await self.broker.create_topics(topic_specs(self.project), 1)
        self.registry = CollectorRegistry()
        self.producer = HttpProducer(
            broker or self.broker, self.project, limits or Limits(), IngestMetrics(self.registry)
        )
        self.running = asyncio.create_task(self.producer.intake.run())
        transport = httpx.ASGITransport(app=self.producer.app)
        try:
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                await until(lambda: self.producer.intake.down is None)
                yield client
                self.producer.intake.drain()
                await self.running
        finally:
            self.running.cancel()
            await asyncio.gather(self.running, return_exceptions=True)

    def documents(self, group: str = "text") -> list[Document]:
        """All records that a producer wrote: they alone have a key."""
        decode = decoder(Document).decode
        records = self.broker.records(f"mira.documents.{group}")
        return [decode(record.value or b"") for record in records if record.key is not None]

    def ids(self) -> Counter[str]:
        return Counter(document.id for document in self.documents())


def text(id_: str, content: str = "some text", **more: Any) -> dict[str, Any]:
    return {"id": id_, "source": "web", "text": content, **more}


def lines(*documents: dict[str, Any]) -> dict[str, Any]:
    body = "\n".join(json.dumps(document) for document in documents)
    return {"content": body, "headers": {"content-type": "application/x-ndjson"}}


def statuses(answer: httpx.Response) -> list[str]:
    return [receipt["status"] for receipt in answer.json()["documents"]]
