"""schemathesis makes requests out of /openapi.json, good and bad ones: every answer is one that it describes."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from prometheus_client import CollectorRegistry
from schemathesis.specs.openapi.checks import positive_data_acceptance
from starlette.types import Message, Receive, Scope, Send

from mira_stream.config import Project, Settings
from mira_stream.sections import GroupSection, SourceSection
from mira_stream.streaming.ingest_metrics import IngestMetrics
from mira_stream.streaming.topics import topic_specs
from mira_stream.testing.broker import MemoryBroker
from producers.http import HttpProducer, Limits

PROJECT = Project(
    Path(),
    Settings(
        groups={"text": GroupSection(family="text")},
        sources={"web": SourceSection(group="text")},
    ),
)
BROKER = MemoryBroker()
STATUSES: set[int] = set()


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Each request meets a producer of its own, which knows the log alone: schemathesis has a loop for each."""

    async def noted(message: Message) -> None:
        if message["type"] == "http.response.start":
            STATUSES.add(message["status"])
        await send(message)

    await BROKER.create_topics(topic_specs(PROJECT), 1)
    producer = HttpProducer(BROKER, PROJECT, Limits(), IngestMetrics(CollectorRegistry()))
    running = asyncio.create_task(producer.intake.run())
    while producer.intake.down is not None:  # noqa: ASYNC110
        await asyncio.sleep(0)
    await producer.app(scope, receive, noted)
    producer.intake.drain()
    await running


@schemathesis.serializer("application/x-ndjson")
def ndjson(context: schemathesis.SerializationContext, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


schema = schemathesis.openapi.from_asgi("/openapi.json", app)


@pytest.fixture(autouse=True)
def documents_are_read() -> Iterator[None]:
    """The fuzzer has come further than the first check. How far depends on what it draws."""
    STATUSES.clear()
    yield
    assert 422 in STATUSES


@schema.parametrize()
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_every_answer_is_described(case: "schemathesis.Case[Any]") -> None:
    """Also what fits the schema may be refused: a text may be empty, or the content is not what the group judges."""
    case.call_and_validate(excluded_checks=[positive_data_acceptance])
